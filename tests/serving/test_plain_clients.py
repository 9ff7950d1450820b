"""What a client sees that knows MLflow and nothing of Textmill, in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_chain import chain_of, make_evaluation, make_model, make_registered

from pipeline.registry.tracking import prepare, tracking_uri

pytestmark = pytest.mark.slow

CLIENT = """
import sys
import mlflow, pandas as pd
from mlflow import MlflowClient

mlflow.set_tracking_uri(sys.argv[1])
version = MlflowClient().get_model_version_by_alias("gpt", "champion").version
model = mlflow.pyfunc.load_model("models:/gpt@champion")
params = {"max_new_tokens": 6, "temperature": 0.0}
first = model.predict(pd.DataFrame({"prompt": ["the red fox", "a small"]}), params=params)
again = model.predict({"prompt": ["the red fox", "a small"]}, params=params)
assert first == again
import pipeline
print(version, len(first), first[0].split()[0], "/code/pipeline/" in pipeline.__file__)
"""


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a registry with a champion."""
    folder = tmp_path_factory.mktemp("registered")
    store, corpus, tokenizer, shards = chain_of(folder)
    prepare(tracking_uri(folder))
    model = make_model(store, shards, tokenizer, num_steps=120)
    make_registered(store, make_evaluation(store, model, corpus, shards), model, corpus, shards)
    return tracking_uri(folder)


def environment(**more: str) -> dict[str, str]:
    """This one without Textmill, and with the commands of this interpreter's environment on the path."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MLFLOW", "TEXTMILL"))}
    return {**kept, "PATH": f"{Path(sys.executable).parent}:{kept.get('PATH', '')}", **more}


def test_a_fresh_process_without_textmill_loads_and_asks_the_champion_with_pickle_forbidden(
    registered: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", CLIENT, registered],
        cwd=tmp_path,
        env=environment(MLFLOW_ALLOW_PICKLE_DESERIALIZATION="false"),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    words = done.stdout.split()
    assert words[:2] == ["1", "2"], done.stderr
    assert words[2] in {"sees", "opens", "follows", "hears"}
    assert words[3] == "True"  # the code that ran is the one that travelled with the model


def test_no_file_of_a_registered_model_is_a_pickle(registered: str) -> None:
    files = [path for path in Path(registered.removeprefix("sqlite:///")).parent.rglob("*") if path.is_file()]
    assert any(path.name == "model.safetensors" for path in files)
    assert not [path for path in files if path.suffix in {".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib"}]
    assert not [path for path in files if path.read_bytes()[:1] == b"\\x80"]


@pytest.fixture
def served(registered: str, tmp_path: Path) -> Iterator[str]:
    """`mlflow models serve` on a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [
        "models",
        "serve",
        "-m",
        "models:/gpt@champion",
        "--env-manager",
        "local",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    log = tmp_path / "serve.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words],
            cwd=tmp_path,
            env=environment(MLFLOW_TRACKING_URI=registered),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2):
                    break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def post(address: str, body: object) -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(  # noqa: S310 - an address of this machine
        address, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_mlflow_serves_the_champion_over_http(served: str) -> None:
    params = {"max_new_tokens": 6, "temperature": 0.0}
    status, answer = post(
        served, {"dataframe_records": [{"prompt": "the red fox"}, {"prompt": "a small"}], "params": params}
    )
    assert status == 200, answer
    predictions = answer["predictions"]
    assert isinstance(predictions, list)
    assert predictions[0].split()[0] in {"sees", "opens", "follows", "hears"}
    assert post(served, {"inputs": {"prompt": ["the red fox", "a small"]}, "params": params}) == (200, answer)
    status, answer = post(served, {"dataframe_records": [{"prompt": 7}]})
    assert status == 400, answer
    status, answer = post(served, {"inputs": {"prompt": ["a"]}, "params": {"temperature": -1.0}})
    assert status == 400, answer
    assert "temperature is -1.0; it must be 0 or more" in str(answer)
