"""kbexp searches for faster kernels and judges every one of them."""

__version__ = "0.1.0"
