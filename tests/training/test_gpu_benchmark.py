"""benchmarks/gpu.sh goes to machines where nobody mends it: what it says to the trainer is what the trainer takes."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from argparse import Namespace
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.training.spec import TrainingSpec

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("gpu")


def test_its_run_sets_what_a_spec_needs_and_nothing_unknown(gpu: Any) -> None:
    own = {"shape", "shards_folder", "tokenizer_file", "output_folder", "checkpoint_folder", "spool_folder"}
    own |= {"num_steps", "batch_windows", "compile", "device", "validate_every_steps"}
    needed = {field.name for field in fields(TrainingSpec) if field.default is MISSING}
    assert needed <= gpu.DEFAULTS.keys() | own <= {field.name for field in fields(TrainingSpec)}
    assert not gpu.DEFAULTS.keys() & own


def test_it_imports_only_what_a_bare_machine_has() -> None:
    code = (
        "import sys, gpu, pipeline.training.trainer;"
        "print([m for m in ('dagster', 'mlflow', 'pydantic', 'duckdb', 'matplotlib', 'yaml') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(BENCHMARKS), str(BENCHMARKS.parent)))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU it runs at its whole size")
def test_without_a_gpu_its_parts_run_at_toy_size(gpu: Any, tmp_path: Path) -> None:
    options = Namespace(data=tmp_path / "none", results=tmp_path)
    found = gpu.resume(options)
    assert found["resumed_equals_straight"] and found["two_straight_runs_equal"]
    assert "is not there" in gpu.shakespeare(options)["left_out"]
    assert gpu.lstm(options)["ours"]["mfu"] is None
    (tmp_path / "lstm.json").write_text("{}")
    gpu.summary(options)
    assert json.loads((tmp_path / "gpu.json").read_text())["parts"] == {"lstm": {}}
