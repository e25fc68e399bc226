"""Videos as implicit neural representations: DIGAN's networks on fast, checked kernels.

Importing this package loads no kernel and touches no device.
"""

__version__ = "0.1.0"
