"""Random histories of people, on real stores and beside a naive account of them."""
