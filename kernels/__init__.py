"""Triton kernels, one file per op; installed as ``digan_fast.kernels``.

Why both Triton and CUDA kernels: Triton's need no nvcc, only the compiler that comes with torch, and also take int8 and
operands of several types; the CUDA kernels, first where they were built, keep the activations of all levels of a grid
in shared memory, where Triton's keep those of the last level alone.
"""
