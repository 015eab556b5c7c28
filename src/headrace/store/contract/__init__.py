"""The interface of a store to the rest of Headrace, in verbs of the domain.

Two stores keep this contract: the embedded one (`headrace.store.sqlite`) and PostgreSQL. Reads are
coroutines and safe to call from the event loop; each returns within 2 s or raises
`StoreBusyError`. What a method writes is on stable storage when it returns.
"""
