"""Where links into MLflow lead."""

from __future__ import annotations

import pytest

from assets.mlflow_pages import ADDRESS_VARIABLE, mlflow_page

RUN = "/#/experiments/1/runs/abc?workflowType=machine_learning"


def test_a_link_leads_to_the_page_that_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv(ADDRESS_VARIABLE, raising=False)
    assert mlflow_page() == "http://127.0.0.1:5000"
    assert mlflow_page("experiments/1/runs/abc") == "http://127.0.0.1:5000" + RUN
    monkeypatch.setenv(ADDRESS_VARIABLE, "http://127.0.0.1:5050")
    assert mlflow_page("experiments/1/runs/abc") == "http://127.0.0.1:5050" + RUN


def test_a_link_to_a_server_elsewhere_shows_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADDRESS_VARIABLE, "http://127.0.0.1:5050")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@tracker:5000/mlflow/")
    assert mlflow_page() == "https://tracker:5000/mlflow"
    assert mlflow_page("experiments/1/runs/abc") == "https://tracker:5000/mlflow" + RUN
