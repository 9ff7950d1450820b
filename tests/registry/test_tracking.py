"""A training's numbers reach MLflow completely and once, whatever happens to the server or the shipper in between."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import RegistryError
from pipeline.registry import tracking
from pipeline.registry.connection import connection, displayed, why_unreachable
from pipeline.registry.tracking import find_run, ship, ship_all, tracking_uri

START = {
    "kind": "start",
    "time_ms": 1_000,
    "experiment": "demo",
    "run_name": "gpt abc",
    "params": {"depth": 4, "long": "x" * 200},
    "tags": {"git": "1234"},
    "inputs": [
        {"name": "english_tokens", "digest": "f" * 64, "source": "token_shards/english_tokens", "context": "training"}
    ],
}


def metrics(step: int, **values: float) -> dict[str, Any]:
    return {"kind": "metrics", "time_ms": 1_000 + step, "step": step, "metrics": values}


FINISH = {"kind": "finish", "time_ms": 9_000, "status": "FINISHED"}


def append(folder: Path, *events: dict[str, Any] | str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "events.jsonl").open("a") as file:
        for event in events:
            file.write(event if isinstance(event, str) else json.dumps(event) + "\n")


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "data" / "spool" / "gpt" / "version1"


@pytest.fixture
def uri(tracking: str) -> str:
    return tracking


def client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(uri, uri)


def steps(uri: str, key: str) -> list[int]:
    run = find_run(client(uri), "gpt", "version1")
    return [metric.step for metric in client(uri).get_metric_history(run.info.run_id, key)]


def test_models_of_equal_settings_have_a_run_each(spool: Path, uri: str) -> None:
    twin = spool.parents[1] / "twin" / spool.name
    append(spool, START, metrics(1, loss=3.0), FINISH)
    append(twin, START | {"run_name": "twin abc"}, metrics(1, loss=3.0), FINISH)
    runs = [ship(folder, uri).run_id for folder in (spool, twin)]
    assert runs == [find_run(client(uri), name, "version1").info.run_id for name in ("gpt", "twin")]
    assert len(set(runs)) == 2


def test_a_whole_run_arrives_with_parameters_tags_inputs_curve_texts_and_times(
    spool: Path, uri: str, tmp_path: Path
) -> None:
    append(
        spool,
        START,
        metrics(1, loss=3.0),
        metrics(2, loss=2.5, validation=2.6),
        {"kind": "tags", "tags": {"a": "b"}},
        {"kind": "text", "time_ms": 1_003, "path": "samples/step-00000002.txt", "text": "<b>it writes</b>\n"},
        FINISH,
    )
    result = ship(spool, uri)
    assert (result.problem, result.num_metrics, result.num_bytes_pending) == (None, 3, 0)
    run = find_run(client(uri), "gpt", "version1")
    assert run.info.run_id == result.run_id
    assert run.info.run_name == "gpt abc"
    assert (run.info.start_time, run.info.end_time, run.info.status) == (1_000, 9_000, "FINISHED")
    assert run.data.params == {"depth": "4", "long": "x" * 200}
    assert run.data.tags["git"] == "1234"
    assert run.data.tags["a"] == "b"
    sample = Path(client(uri).download_artifacts(run.info.run_id, "samples/step-00000002.txt", str(tmp_path)))
    assert sample.read_text() == "<b>it writes</b>\n"
    assert run.data.tags["textmill.training_version"] == "version1"
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("english_tokens", "f" * 36)
    assert [(tag.key, tag.value) for tag in dataset.tags] == [("mlflow.data.context", "training")]
    assert steps(uri, "loss") == [1, 2]
    assert client(uri).get_experiment_by_name("demo").artifact_location.startswith("file:///")


def test_what_comes_later_is_added_and_nothing_is_sent_twice(spool: Path, uri: str) -> None:
    append(spool, START, metrics(1, loss=3.0))
    first = ship(spool, uri)
    assert ship(spool, uri).num_metrics == 0
    append(spool, metrics(2, loss=2.0), FINISH)
    second = ship(spool, uri)
    assert (second.run_id, second.num_metrics) == (first.run_id, 1)
    assert steps(uri, "loss") == [1, 2]


def test_steps_a_resumed_training_repeats_are_sent_once(spool: Path, uri: str) -> None:
    append(spool, START, metrics(1, loss=3.0), metrics(2, loss=2.0), metrics(3, loss=1.5))
    ship(spool, uri)
    again = [{**metrics(step, loss=value), "time_ms": 5_000 + step} for step, value in ((2, 2.0), (3, 1.5), (4, 1.2))]
    append(spool, {**START, "time_ms": 5_000}, *again, FINISH)
    assert ship(spool, uri).num_metrics == 1
    assert steps(uri, "loss") == [1, 2, 3, 4]


def test_a_crash_before_the_mark_is_written_stores_nothing_twice(
    spool: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(spool, START, metrics(1, loss=3.0), metrics(2, loss=2.0), FINISH)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tracking._Shipper, "_mark", crash)
        with pytest.raises(KeyboardInterrupt):
            ship(spool, uri)
    ship(spool, uri)
    ship(spool, uri)
    assert steps(uri, "loss") == [1, 2]
    assert len(client(uri).search_runs([client(uri).get_experiment_by_name("demo").experiment_id])) == 1


def test_a_lost_mark_is_made_good_from_what_the_server_has(spool: Path, uri: str) -> None:
    append(spool, START, metrics(1, loss=3.0), metrics(2, loss=2.0), FINISH)
    ship(spool, uri)
    (spool / "shipped.json").unlink()
    append(spool, {**metrics(2, loss=2.0), "time_ms": 7_777}, metrics(3, loss=1.0))
    assert ship(spool, uri).num_metrics == 1
    assert steps(uri, "loss") == [1, 2, 3]


def test_a_torn_line_waits_until_it_ends_and_is_passed_over(spool: Path, uri: str) -> None:
    append(spool, START, metrics(1, loss=3.0), '{"kind": "metrics", "time_ms": 3, "st')
    result = ship(spool, uri)
    assert (result.num_metrics, result.num_bytes_pending) == (1, 0)
    append(spool, "\n", metrics(2, loss=2.0), FINISH)  # as the resumed trainer goes on
    ship(spool, uri)
    assert steps(uri, "loss") == [1, 2]


def test_a_server_that_was_wiped_gets_everything_again(spool: Path, uri: str) -> None:
    append(spool, START, metrics(1, loss=3.0), FINISH)
    gone = ship(spool, uri).run_id
    client(uri).delete_run(gone)
    append(spool, metrics(2, loss=2.0))
    assert ship(spool, uri).num_metrics == 2
    assert steps(uri, "loss") == [1, 2]


def test_a_run_that_goes_on_is_running_again(spool: Path, uri: str) -> None:
    append(spool, START, {**FINISH, "status": "KILLED"})
    ship(spool, uri)
    assert find_run(client(uri), "gpt", "version1").info.status == "KILLED"
    append(spool, {**START, "time_ms": 20_000}, metrics(1, loss=1.0))
    ship(spool, uri)
    assert find_run(client(uri), "gpt", "version1").info.status == "RUNNING"


def test_more_metrics_than_a_request_takes_go_in_several(spool: Path, uri: str) -> None:
    append(spool, START, *(metrics(step, loss=1.0, rate=2.0, norm=3.0) for step in range(1, 701)), FINISH)
    assert ship(spool, uri).num_metrics == 2_100
    assert steps(uri, "norm") == list(range(1, 701))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_server_nobody_runs_is_a_result_within_seconds_and_keeps_the_spool(spool: Path) -> None:
    append(spool, START, metrics(1, loss=3.0), FINISH)
    started = time.monotonic()
    result = ship(spool, f"http://someone:secret@127.0.0.1:{free_port()}")
    assert time.monotonic() - started < 5
    assert result.problem is not None
    assert "cannot be reached" in result.problem
    assert "secret" not in result.problem
    assert result.num_bytes_pending == (spool / "events.jsonl").stat().st_size


class Forbidding(BaseHTTPRequestHandler):
    """Knows nobody, and keeps who asked for what."""

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))  # type: ignore[attr-defined]
        self.send_response(401)
        self.end_headers()

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def forbidding() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Forbidding) as server:
        server.asked = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def test_user_and_password_of_the_address_reach_the_server_in_a_header_and_no_message(spool: Path) -> None:
    append(spool, START)
    with forbidding() as server:
        result = ship(spool, f"http://someone:se%2Fcret@127.0.0.1:{server.server_port}")
        (probed, _), (path, header), *_ = server.asked
    assert (probed, path) == ("/health", "/api/2.0/mlflow/experiments/search")
    assert header == f"Basic {b64encode(b'someone:se/cret').decode()}"
    assert result.problem is not None
    assert f"MLflow at http://127.0.0.1:{server.server_port} refuses the metrics of gpt" in result.problem
    assert "cret" not in result.problem


def test_what_mlflow_says_of_a_server_that_went_away_is_told_without_the_password(monkeypatch, spool: Path) -> None:
    monkeypatch.setattr("pipeline.registry.connection.why_unreachable", lambda uri: None)
    monkeypatch.setattr(tracking, "why_unreachable", lambda uri: None)
    uri = f"http://someone:secret@127.0.0.1:{free_port()}"
    append(spool, START)
    result = ship(spool, uri)
    assert result.is_outage
    assert "API request to http://127.0.0.1" in str(result.problem)
    assert "secret" not in str(result.problem)
    with (
        pytest.raises(RegistryError, match="API request to http://127.0.0.1") as caught,
        connection(uri, doing="x") as asked,
    ):
        asked.search_experiments()
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None, "Dagster shows the text of a cause too"


@contextmanager
def answering(line: bytes) -> Iterator[int]:
    """A port where the first one to connect is told one line."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connected, _ = server.accept()
            with connected:
                connected.recv(4096)
                connected.sendall(line)

        threading.Thread(target=answer, daemon=True).start()
        yield server.getsockname()[1]


def test_a_port_where_another_program_answers_is_a_result(spool: Path) -> None:
    append(spool, START)
    with answering(b"SSH-2.0-OpenSSH_9.2\r\n") as port:
        result = ship(spool, f"http://127.0.0.1:{port}")
    assert "cannot be reached (what answers there does not speak HTTP)" in str(result.problem)
    assert result.is_outage


@pytest.mark.parametrize("uri", ["http://tracker:port", "http://me:secret@[::1", "http://me:secret@tracker:port"])
def test_an_address_that_is_none_is_a_sentence(spool: Path, uri: str) -> None:
    append(spool, START)
    problem = str(ship(spool, uri).problem)
    assert "cannot be reached (" in problem
    assert "secret" not in problem
    with pytest.raises(RegistryError, match="nobody answers at http://") as caught, connection(uri, doing="models"):
        pass
    assert "secret" not in str(caught.value)


class Silent(BaseHTTPRequestHandler):
    """Accepts a request and never answers it."""

    def do_GET(self) -> None:
        time.sleep(30)


@pytest.mark.slow
def test_a_server_that_never_answers_is_given_up_within_seconds() -> None:
    with HTTPServer(("127.0.0.1", 0), Silent) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        started = time.monotonic()
        assert "timed out" in str(why_unreachable(f"http://127.0.0.1:{server.server_port}"))
        assert time.monotonic() - started < 5


def test_shipping_all_stops_at_the_first_outage_and_goes_on_when_it_is_over(
    spool: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = spool.parents[2]
    append(spool, START, metrics(1, loss=3.0), FINISH)
    append(spool.with_name("version2"), START, metrics(1, loss=3.0), FINISH)
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
        assert len(ship_all(storage)) == 1
    assert [result.problem for result in ship_all(storage)] == [None, None]
    assert ship_all(storage) == []
    assert steps(uri, "loss") == [1]


def test_a_spool_that_cannot_be_shipped_holds_up_no_other(spool: Path, uri: str) -> None:
    storage = spool.parents[2]
    append(spool.with_name("version0"), metrics(1, loss=3.0))
    append(spool, START, metrics(1, loss=3.0), FINISH)
    append(spool.with_name("version2"), START, {"kind": "metrics", "metrics": {"loss": 3.0}})
    append(spool.with_name("version3"), START, {"kind": "tags", "tags": {"x" * 251: "too long for MLflow"}})
    (spool.with_name("version4") / "events.jsonl").mkdir(parents=True)
    append(spool.with_name("version5"), START, metrics(1, loss=3.0), FINISH)
    results = {result.folder.name: result for result in ship_all(storage)}
    assert steps(uri, "loss") == [1]
    assert [name for name, result in results.items() if result.problem is None] == ["version1", "version5"]
    assert not any(result.is_outage for result in results.values())
    assert "does not begin with a start" in str(results["version0"].problem)
    whole = (spool.with_name("version2") / "events.jsonl").stat().st_size
    assert f"the event that ends at byte {whole} cannot be sent (KeyError('step'))" in str(results["version2"].problem)
    assert "refuses the metrics of gpt" in str(results["version3"].problem)
    assert "cannot be read" in str(results["version4"].problem)


def test_nothing_to_ship_does_not_import_mlflow(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from pipeline.registry.tracking import ship_all; print(ship_all(Path('.')), 'mlflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "[] False", done.stderr


def test_a_damaged_spool_is_left_alone(spool: Path, uri: str) -> None:
    append(spool, metrics(1, loss=3.0))
    result = ship(spool, uri)
    assert result.problem is not None
    assert "does not begin with a start" in result.problem


def test_messages_show_no_password() -> None:
    assert displayed("https://me:secret@host:5000/x") == "https://host:5000/x"
    assert displayed("https://me:not/encoded@host") == "https://host"
    assert displayed("sqlite:////data/me@home/mlflow.db") == "sqlite:////data/me@home/mlflow.db"


def test_the_address_of_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker:5000")
    assert tracking_uri(tmp_path) == "http://tracker:5000"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow/mlflow.db"


@pytest.mark.slow
def test_four_processes_at_once_prepare_a_fresh_database(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}"
    code = f"from pipeline.registry.tracking import prepare; prepare({uri!r}); from mlflow import MlflowClient; print(MlflowClient({uri!r}).search_experiments()[0].name)"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert out.strip() == "Default", err


def test_a_broken_database_is_a_result(spool: Path, uri: str) -> None:
    append(spool, START, metrics(1, loss=3.0))
    database = spool.parents[2] / "mlflow" / "mlflow.db"
    database.write_bytes(b"no database at all" * 100)
    problem = ship(spool, uri).problem
    assert problem is not None
    assert "file is not a database" in problem
    append(spool.with_name("version2"), START)
    assert [result.is_outage for result in ship_all(spool.parents[2])] == [True], "no spool can get there"
