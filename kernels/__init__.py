"""Triton kernels, one file per op; installed as ``digan_fast.kernels``.

Why both Triton and CUDA kernels: Triton's need no nvcc, only the compiler that comes with torch, and also support int8
and operands of mixed types; the CUDA kernels, which take precedence if they were built, keep the activations of all
levels of a grid in shared memory, where Triton's keep only those of the last level.
"""
