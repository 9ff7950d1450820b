"""Training that is interrupted, in any way, ends with the same bits as training that is not."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from test_whole_chain import content_hashes
from tiny_project import PROJECT, command, environment, textmill, wait_until

pytestmark = pytest.mark.slow


def trainers(folder: Path) -> list[psutil.Process]:
    """The training processes of a project that are alive."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if "pipeline.training" in words and any(str(folder) in word for word in words):
            found.append(process)
    return found


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_leaves_no_process_and_the_next_ends_with_the_same_bits(
    finished_project: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, sent: signal.Signals
) -> None:
    finished, _ = finished_project
    (tmp_path / "dagster_project.yaml").write_text(PROJECT)
    shutil.copytree(finished / "data", tmp_path / "data")
    for stage in ("trained_model", "evaluation", "registered_model", "checkpoints"):
        shutil.rmtree(tmp_path / "data" / stage / "gpt", ignore_errors=True)
    with subprocess.Popen(command("run"), cwd=tmp_path, env=environment()) as run:
        checkpoints = tmp_path / "data" / "checkpoints"
        wait_until(lambda: any(checkpoints.rglob("model.safetensors")), seconds=120)
        run.send_signal(sent)
        assert run.wait(timeout=60) != 0
    wait_until(lambda: not trainers(tmp_path), seconds=30)
    assert "trained_model/gpt" not in content_hashes(tmp_path), "the stop came too late to test anything"
    again = textmill(tmp_path, "run")
    assert again.returncode == 0, again.stdout + again.stderr
    assert content_hashes(tmp_path)["trained_model/gpt"] == content_hashes(finished)["trained_model/gpt"]
