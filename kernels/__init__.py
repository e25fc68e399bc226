"""Triton kernels, one file per op; installed as ``digan_fast.kernels``."""
