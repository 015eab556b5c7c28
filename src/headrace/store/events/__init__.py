"""Events as other parts of the store write and read them."""
