"""Ships a training run's spool to MLflow: late if need be, completely, and each number once.

In: `<storage>/spool/<name>/<version>/events.jsonl`, which the trainer appends to. Out: an MLflow run, and
`shipped.json` beside the events: how far each tracking server got.

- The run is found by its tag, never by an id that could be lost; a server that is new or was wiped gets everything.
- Steps that a resumed training repeats are sent once: for each metric the last step sent is kept.
- A crash between sending and writing that down repeats a batch with its old timestamps, which MLflow stores once.
- Nothing raises: an outage is a result, and the next call goes on where this one stopped.

Trade-off: metrics arrive when somebody ships, seconds after they happened.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StorageError
from pipeline.files import write_json
from pipeline.registry.connection import (
    displayed,
    find_or_create_experiment,
    first_line,
    is_refusal,
    prepare,
    set_bounds,
    tracker_faults,
    tracking_uri,
    why_unreachable,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["ShipResult", "find_run", "prepare", "ship", "ship_all", "tracking_uri"]

EVENTS, SHIPPED = "events.jsonl", "shipped.json"
MODEL_TAG, TRAINING_TAG = "textmill.model", "textmill.training_version"
MAX_METRICS = 1000
"""A request of MLflow's log_batch takes no more."""
MAX_TAGS = 100
MAX_DIGEST = 36
"""Characters of a dataset's digest in MLflow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShipResult:
    """What became of one spool."""

    folder: Path
    run_id: str | None
    """None until the run exists on the server."""
    num_metrics: int
    """Sent by this call."""
    num_bytes_pending: int
    """Of the spool, still to be shipped."""
    problem: str | None
    """One sentence where the server could not be reached or refused, or the spool is at fault."""
    is_outage: bool
    """Whether that is because the server was not reached: any other spool would wait for it too."""


@dataclass(slots=True, kw_only=True)
class _State:
    """How far one server got with one spool."""

    offset: int = 0
    run_id: str | None = None
    last_steps: dict[str, int] = field(default_factory=dict)


def ship(spool_folder: Path, uri: str) -> ShipResult:
    """Sends what one spool holds and the server lacks; never raises for a fault of the server, the disk or the spool."""
    shipper = _Shipper(spool_folder, uri)
    try:
        shipper.read_state()
        with (spool_folder / "ship.lock").open("a", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return shipper.result(problem=None)  # another process ships this one
            return shipper.run()
    except (OSError, StorageError) as error:
        return shipper.result(
            problem=f"{spool_folder}: the spool cannot be read or marked as sent: {first_line(error, uri)}."
        )


def ship_all(storage: Path) -> list[ShipResult]:
    """`ship` for every spool that holds something unsent, whatever is wrong with another; MLflow is not even imported when
    none does."""
    uri = tracking_uri(storage)
    results = []
    for events in sorted((storage / "spool").glob(f"*/*/{EVENTS}")):
        if holds_unsent(events, uri):
            results.append(ship(events.parent, uri))
            if results[-1].is_outage:
                break  # the next would wait for the same server
    return results


def holds_unsent(events: Path, uri: str) -> bool:
    """A spool that cannot be read counts, so that `ship` says why."""
    try:
        return _num_whole_bytes(events, _read_state(events.parent, uri).offset) > 0
    except OSError:
        return True


def find_run(client: MlflowClient, name: str, training_version: str) -> Any | None:
    """The MLflow run of a model's training, wherever its experiment, or None. Models of equal settings have equal versions."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    if not experiments:
        return None
    filter_string = f"tags.`{TRAINING_TAG}` = '{training_version}' and tags.`{MODEL_TAG}` = '{name}'"
    found = client.search_runs(experiments, filter_string, max_results=1, order_by=["attributes.start_time ASC"])
    return found[0] if found else None


class _Shipper:
    """One call of `ship`."""

    def __init__(self, folder: Path, uri: str) -> None:
        self._folder, self._uri = folder, uri
        self._name, self._version = folder.parent.name, folder.name
        self._state = _State()
        self._num_metrics = 0
        self._batch: list[Any] = []
        self._client: MlflowClient

    def read_state(self) -> None:
        self._state = _read_state(self._folder, self._uri)

    def result(self, *, problem: str | None, is_outage: bool = False) -> ShipResult:
        try:
            num_bytes = _num_whole_bytes(self._folder / EVENTS, self._state.offset)
        except OSError:
            num_bytes = 0
        return ShipResult(
            folder=self._folder,
            run_id=self._state.run_id,
            num_metrics=self._num_metrics,
            num_bytes_pending=num_bytes,
            problem=problem,
            is_outage=is_outage,
        )

    def run(self) -> ShipResult:
        self.read_state()  # as the last holder of the lock left it
        if not _num_whole_bytes(self._folder / EVENTS, self._state.offset):
            return self.result(problem=None)
        reason = why_unreachable(self._uri)
        if reason is not None:
            return self._outage(reason)
        set_bounds()
        from mlflow import MlflowClient

        try:
            prepare(self._uri)
            self._client = MlflowClient(self._uri, self._uri)
            self._find_run()
            return self.result(problem=self._send_events())
        except tracker_faults() as error:
            reason = first_line(error, self._uri)
            return self._refusal(reason) if is_refusal(error) else self._outage(reason)

    def _send_events(self) -> str | None:
        """Sends what the server lacks; returns one sentence where the spool itself is at fault, else None."""
        last = self._state.offset
        for last, event in _events(self._folder / EVENTS, self._state.offset):
            if self._state.run_id is None and event["kind"] != "start":
                return f"{self._folder}: the spool does not begin with a start; it is left alone."
            try:
                self._apply(event)
            except (AttributeError, KeyError, TypeError, ValueError) as error:  # it is not as the trainer writes it
                return (
                    f"{self._folder / EVENTS}: the event that ends at byte {last} cannot be sent ({error!r}); it and what "
                    "follows are left alone until that line is mended or removed."
                )
            if event["kind"] != "metrics" or len(self._batch) >= MAX_METRICS // 2:
                self._send_metrics()
                self._mark(last)
        self._send_metrics()
        if last > self._state.offset:
            self._mark(last)
        return None

    @property
    def _run_id(self) -> str:
        assert self._state.run_id is not None, "a run comes with the first event"
        return self._state.run_id

    def _outage(self, reason: str) -> ShipResult:
        return self.result(
            problem=f"MLflow at {displayed(self._uri)} cannot be reached ({reason}); the metrics of {self._folder.parent.name} "
            f"wait in {self._folder.name}/{EVENTS} and are sent by the next run.",
            is_outage=True,
        )

    def _refusal(self, reason: str) -> ShipResult:
        return self.result(
            problem=f"MLflow at {displayed(self._uri)} refuses the metrics of {self._folder.parent.name} ({reason}); they wait "
            f"in {self._folder.name}/{EVENTS}, and the next run tries again."
        )

    def _mark(self, offset: int) -> None:
        self._state.offset = offset
        _write_state(self._folder, self._uri, self._state)

    def _find_run(self) -> None:
        """Checks that the server knows the run; if it does not, everything is sent from the start."""
        run = find_run(self._client, self._name, self._version)
        run_id: str | None = None if run is None else run.info.run_id
        if run_id == self._state.run_id and run_id is not None:
            return
        self._state = _State(run_id=run_id)
        if (
            run is not None and run_id is not None
        ):  # the server knows it and the record here is lost: take its word for what it has
            for key in run.data.metrics:
                history = self._client.get_metric_history(run_id, key)
                self._state.last_steps[key] = max((m.step for m in history if m.model_id is None), default=-1)

    def _apply(self, event: dict[str, Any]) -> None:
        kind = event["kind"]
        if kind == "metrics":
            self._add_metrics(event)
            return
        self._send_metrics()
        if kind == "start":
            self._start(event)
        elif kind == "tags":
            self._log_tags(event["tags"])
        elif kind == "text":
            self._client.log_text(self._run_id, event["text"], event["path"])
        elif kind == "finish":
            self._client.set_terminated(self._run_id, status=event["status"], end_time=event["time_ms"])

    def _start(self, event: dict[str, Any]) -> None:
        client = self._client
        if self._state.run_id is None:
            experiment = find_or_create_experiment(client, self._uri, event["experiment"])
            run = client.create_run(
                experiment,
                start_time=event["time_ms"],
                tags={MODEL_TAG: self._name, TRAINING_TAG: self._version},
                run_name=event["run_name"],
            )
            self._state.run_id = run.info.run_id
        else:
            run = client.get_run(self._run_id)
            if run.info.status != "RUNNING":
                client.update_run(self._run_id, status="RUNNING")
        self._log_params({key: value for key, value in event.get("params", {}).items() if key not in run.data.params})
        self._log_tags({**event.get("tags", {}), MODEL_TAG: self._name, TRAINING_TAG: self._version})
        self._log_inputs(event.get("inputs", []))

    def _log_params(self, params: dict[str, Any]) -> None:
        from mlflow.entities import Param

        entries = [Param(key, str(value)) for key, value in sorted(params.items())]
        for first in range(0, len(entries), MAX_TAGS):
            self._client.log_batch(self._run_id, params=entries[first : first + MAX_TAGS])

    def _log_tags(self, tags: dict[str, Any]) -> None:
        from mlflow.entities import RunTag

        entries = [RunTag(key, str(value)) for key, value in sorted(tags.items())]
        for first in range(0, len(entries), MAX_TAGS):
            self._client.log_batch(self._run_id, tags=entries[first : first + MAX_TAGS])

    def _log_inputs(self, inputs: list[dict[str, str]]) -> None:
        if inputs:
            self._client.log_inputs(self._run_id, [dataset_input(**entry) for entry in inputs])

    def _add_metrics(self, event: dict[str, Any]) -> None:
        from mlflow.entities import Metric

        step, time_ms = int(event["step"]), int(event["time_ms"])
        for key, value in event["metrics"].items():
            if step > self._state.last_steps.get(key, -1):
                self._batch.append(Metric(key, float(value), time_ms, step))
                self._state.last_steps[key] = step

    def _send_metrics(self) -> None:
        for first in range(0, len(self._batch), MAX_METRICS):
            chunk = self._batch[first : first + MAX_METRICS]
            self._client.log_batch(self._run_id, metrics=chunk)
            self._num_metrics += len(chunk)
        self._batch = []


def dataset_input(*, name: str, digest: str, source: str, context: str) -> Any:
    """A dataset by name and digest, as MLflow records a run's inputs; nothing is loaded."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return DatasetInput(
        dataset=Dataset(name=name, digest=digest[:MAX_DIGEST], source_type="local", source=json.dumps({"uri": source})),
        tags=[InputTag("mlflow.data.context", context)],
    )


def _events(file: Path, offset: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Whole lines from `offset` on, each with the offset after it; a line torn by a kill is passed over."""
    with file.open("rb") as lines:
        lines.seek(offset)
        for line in lines:
            if not line.endswith(b"\n"):
                return  # still being written
            offset += len(line)
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and "kind" in event:
                yield offset, event


def _num_whole_bytes(file: Path, offset: int) -> int:
    """Bytes of whole lines after `offset`; none where nothing was written yet."""
    try:
        lines = file.open("rb")
    except FileNotFoundError:
        return 0
    with lines:
        lines.seek(offset)
        return lines.read().rfind(b"\n") + 1


def _read_state(folder: Path, uri: str) -> _State:
    try:
        return _State(**json.loads((folder / SHIPPED).read_text(encoding="utf-8"))[_key(uri)])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return _State()


def _write_state(folder: Path, uri: str, state: _State) -> None:
    try:
        known = json.loads((folder / SHIPPED).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        known = {}
    known[_key(uri)] = {"offset": state.offset, "run_id": state.run_id, "last_steps": state.last_steps}
    write_json(folder / SHIPPED, known)


def _key(uri: str) -> str:
    """Names a server without its password."""
    return hashlib.sha256(uri.encode()).hexdigest()[:16]
