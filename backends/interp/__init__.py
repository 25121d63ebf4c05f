"""NumPy evaluation of both IRs: the oracle that every backend is compared with."""
