"""Addresses of MLflow's pages, for links and for people."""

from __future__ import annotations

import os

from pipeline.registry.connection import displayed

ADDRESS_VARIABLE = "TEXTMILL_MLFLOW_ADDRESS"
"""Where MLflow is served; set by `textmill ui`."""
_ADDRESS = "http://127.0.0.1:5000"


def mlflow_page(path: str = "") -> str:
    """Where a browser finds MLflow, or in it the page of an experiment, a run or a model's version, as those see it who train
    models: otherwise it opens at the traces of chats, and nothing there leads to its registry. Without user and password."""
    tracking = os.environ.get("MLFLOW_TRACKING_URI", "")
    local = os.environ.get(ADDRESS_VARIABLE, _ADDRESS)
    address = displayed(tracking).rstrip("/") if tracking.startswith("http") else local
    return f"{address}/#/{path}?workflowType=machine_learning" if path else address
