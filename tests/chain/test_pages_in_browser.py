"""What a user sees: the asset graph, an asset's page, a materialisation by a click, and MLflow's registry."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_project import running_ui

from assets.mlflow_pages import ADDRESS_VARIABLE, mlflow_page
from pipeline.artifacts import ArtifactStore

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def served(finished_project: tuple[Path, Any]) -> Iterator[tuple[Path, str, str]]:
    """`textmill ui` on a finished project: its folder, Dagster's address and MLflow's."""
    folder, _ = finished_project
    with running_ui(folder) as (dagster, mlflow):
        yield folder, dagster, mlflow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium; install it (Debian: apt-get install chromium) to drive the pages")
    from playwright.sync_api import sync_playwright

    quiet = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=quiet)
        yield chromium
        chromium.close()


def test_the_graph_shows_the_chain_in_its_groups(served: tuple[Path, str, str], browser: Any, tmp_path: Path) -> None:
    _, dagster, _ = served
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.goto(f"{dagster}/asset-groups")
    for group in ("ingestion", "cleaning", "corpus", "tokenizer", "shards", "training", "evaluation", "registry"):
        page.get_by_text(group, exact=True).first.wait_for(timeout=60_000)
    page.screenshot(path=tmp_path / "graph.png")
    assert (tmp_path / "graph.png").stat().st_size > 10_000


def test_a_click_materialises_an_asset_and_its_page_shows_figures_plot_and_links(
    served: tuple[Path, str, str], browser: Any, tmp_path: Path
) -> None:
    folder, dagster, _ = served
    stats = ArtifactStore(folder / "data").current("corpus_stats", "docs")
    assert stats is not None
    shutil.rmtree(stats.folder)
    page = browser.new_page(viewport={"width": 1600, "height": 1400})
    page.goto(f"{dagster}/assets/corpus_stats/docs")
    page.get_by_role("button", name="Materialize").first.click(timeout=60_000)
    deadline = time.monotonic() + 180
    while (again := ArtifactStore(folder / "data").current("corpus_stats", "docs")) is None:
        assert time.monotonic() < deadline, "the click built nothing"
        time.sleep(0.5)
    assert again.ref == stats.ref
    page.reload()
    page.get_by_text("num_distinct_words").first.wait_for(timeout=60_000)
    page.goto(f"{dagster}/assets/registered_model/gpt")
    page.get_by_text("mlflow_run").first.wait_for(timeout=60_000)
    page.screenshot(path=tmp_path / "asset.png")


def test_mlflow_shows_the_registered_model_with_its_alias(served: tuple[Path, str, str], browser: Any) -> None:
    _, _, mlflow = served
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.goto(f"{mlflow}/#/models/gpt")
    page.get_by_text("@ champion").first.wait_for(timeout=60_000)


def test_links_into_mlflow_show_it_as_those_need_it_who_train_models(
    served: tuple[Path, str, str], browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, mlflow = served
    monkeypatch.setenv(ADDRESS_VARIABLE, mlflow)
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.goto(mlflow_page("models/gpt/versions/1"))
    # what stands at the side there, and does not where MLflow shows chats and traces
    page.get_by_role("link", name="Model registry", exact=True).wait_for(timeout=60_000)
