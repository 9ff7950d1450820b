"""The tiny run's fixture."""

from tiny_run import tiny_data

__all__ = ["tiny_data"]
