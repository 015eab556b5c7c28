"""What the rest of Headrace may ask of a store, in verbs of the domain.

Two stores keep this contract: the embedded one (`headrace.store.sqlite`) and PostgreSQL. Reads are
coroutines and safe to call from the event loop; each answers within 2 s or raises
`StoreBusyError`. Whatever a method is said to write is on stable storage when it returns.
"""
