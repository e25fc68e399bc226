"""Executes compiled GPU kernels on the CPU; see README.md."""
