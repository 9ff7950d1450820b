"""The tiny project's fixtures."""

from tiny_project import finished_project, tiny_project

__all__ = ["finished_project", "tiny_project"]
