"""Parallel data work: one pure function over independent parts, on local processes or on a Ray cluster."""

from pipeline.engine.local import server_is_prepared, start_server
from pipeline.engine.parts import IN_THIS_PROCESS, map_parts

__all__ = ["IN_THIS_PROCESS", "map_parts", "server_is_prepared", "start_server"]
