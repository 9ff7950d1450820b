"""The last stage: an evaluated model in, a registry version and a decision about the champion alias out.

Files: `decision.json` (what was compared on which documents, both scores, how sure, who held the alias, promoted or not
and why) and `registration.json` (the registry's numbers, which differ between servers and so are not content).

- The champion, and the model that must be beaten, are scored again on the challenger's test documents that they were
  not trained on, with their own tokenizers.
- What a person took the alias from, by a rollback or for another version, does not get it back by the gate.
- A decision is written to the registry before the alias moves, under this artifact's version: a run that was killed in
  between takes the decision up instead of meeting itself as the champion, and what was decided is not decided again.

Trade-off: one more evaluation pass for each rival at each promotion.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifacts import Artifact, Draft, Report
from pipeline.config.training import PromoteConfig
from pipeline.errors import RegistryError
from pipeline.evaluation.metrics.scored import groups_of
from pipeline.evaluation.test_split import read_pairs, read_texts
from pipeline.files import write_json
from pipeline.progress import Progress
from pipeline.registry.aliases import ALIAS, Move, history, holder, move, taken_away
from pipeline.registry.connection import connection, displayed, registry_lock
from pipeline.registry.gate import Comparison, Verdict, compare_bits, decide
from pipeline.registry.registering import Registration, is_attached, register
from pipeline.registry.rivals import Registered, find_champion, hashes, read_before, score_rival
from pipeline.registry.tracking import EVENTS, ship, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

DECISION = "textmill.decision."
FORMAT = 1
ATTEMPTS = 3
"""To decide again when somebody else moved the alias meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Test:
    """The challenger's test documents, ordered by id."""

    ids: list[str]
    text_hashes: list[str]
    num_bytes: np.ndarray[Any, Any]
    bits: np.ndarray[Any, Any]
    unigram_bits: np.ndarray[Any, Any]
    groups: list[str | None]
    """What each hangs together with."""
    file: Path
    is_pairs: bool

    def contents(self) -> tuple[list[str], list[str] | None]:
        """The texts, and of pairs the targets."""
        if not self.is_pairs:
            return list(read_texts(self.file, set(self.ids))), None
        rows = read_pairs(self.file, set(self.ids))
        return [row.text for row in rows], [row.target for row in rows]


def build_registered_model(
    draft: Draft,
    *,
    name: str,
    config: PromoteConfig,
    evaluation: Artifact,
    model: Artifact,
    corpus: Artifact,
    shards: Artifact,
    baseline: Artifact | None,
    storage: Path,
    lineage_tags: Mapping[str, str],
    progress: Progress,
) -> Artifact:
    """Registers the model, decides, and moves the alias if it is better.

    Raises:
        RegistryError: the tracking server cannot be reached or refuses; nothing is lost, the next run goes on.
    """
    uri = tracking_uri(storage)
    spool = storage / "spool" / name / model.ref.version
    if (spool / EVENTS).is_file():  # so that the model is registered in the run its training made
        shipped = ship(spool, uri)
        if shipped.problem is not None:
            progress.note(shipped.problem)
    with connection(uri, doing=f"registered_model/{name}") as client:
        with registry_lock(uri):
            registration = register(
                client,
                uri,
                name=name,
                model=model,
                evaluation=evaluation,
                corpus=corpus,
                shards=shards,
                lineage_tags=lineage_tags,
            )
        progress.note(f"{name} is version {registration.version} of the registry")
        test = _read_test(evaluation, corpus, model)
        rival_name = None if baseline is None else baseline.ref.name
        decision = _recorded(client, name, registration, draft.version)
        for _ in range(ATTEMPTS):
            champion = find_champion(client, name)
            if decision is None:
                removal = taken_away(history(client, name), registration.version)
                decision = _decide(
                    client, uri, name, config, model, evaluation, test, champion, rival_name, removal, progress
                )
            with registry_lock(uri):
                if _apply(client, name, registration, draft.version, decision, champion):
                    break
            decision = None
        else:
            raise RegistryError(f"{name}: the alias {ALIAS} keeps moving while it is decided about; run again.")
        client.log_dict(registration.run_id, decision, f"decisions/{draft.version}.json")
        champion_now = holder(client, name)
    progress.note(decision["reason"])
    write_json(draft.path("decision.json"), decision)
    write_json(
        draft.path("registration.json"),
        {
            "tracking_uri": displayed(uri),
            "experiment_id": registration.experiment_id,
            "run_id": registration.run_id,
            "model_id": registration.model_id,
            "version": registration.version,
            "champion_version": champion_now,
            "lineage_tags": dict(lineage_tags),
        },
    )
    counts = {"promoted": decision["promoted"], "holds_alias": decision["holds_alias"], "reason": decision["reason"]}
    return draft.commit(counts=counts, report=_report(decision), volatile=("registration.json",))


def is_registered(artifact: Artifact, uri: str) -> bool:
    """Whether the registry still has what a `registered_model` says it put there; True where it cannot be asked."""
    record = json.loads(artifact.file("registration.json").read_text(encoding="utf-8"))
    inputs, name = artifact.manifest.inputs, artifact.ref.name
    try:
        with connection(uri, doing=f"registered_model/{name}") as client:
            return is_attached(client, name, record["version"], model=inputs["model"], evaluation=inputs["evaluation"])
    except RegistryError:
        return True


def _read_test(evaluation: Artifact, corpus: Artifact, model: Artifact) -> _Test:
    table = pq.read_table(evaluation.file("documents.parquet"))
    known = np.isin(hashes(table["text_hash"].to_pylist()), read_before(model))  # by what it began with
    table = table.filter(pa.array(~known))
    return _Test(
        ids=table["id"].to_pylist(),
        text_hashes=table["text_hash"].to_pylist(),
        num_bytes=table["num_bytes"].to_numpy(),
        bits=table["bits"].to_numpy(),
        unigram_bits=table["unigram_bits"].to_numpy(),
        groups=table["group_id"].to_pylist(),
        file=corpus.file("documents/test.parquet"),
        is_pairs=bool(evaluation.files("outputs.parquet")),
    )


def _decide(
    client: MlflowClient,
    uri: str,
    name: str,
    config: PromoteConfig,
    model: Artifact,
    evaluation: Artifact,
    test: _Test,
    champion: Registered | None,
    rival_name: str | None,
    removal: Move | None,
    progress: Progress,
) -> dict[str, Any]:
    """The decision record; the same inputs and the same champion give the same bytes."""
    notes = []
    against_champion: Comparison | None = None
    holds_already = champion is not None and champion.content_hash == model.ref.content_hash
    if champion is not None and not holds_already:
        progress.note(f"scoring the champion, version {champion.version}, on the same documents")
        against_champion = _against(uri, champion, config, model, test)
    rival = None if rival_name is None else find_champion(client, rival_name)
    if rival_name is not None and rival is None:
        notes.append(f"{rival_name} has no champion to beat, so the unigram baseline stands in for it.")
    if rival is None:
        baseline = _compare(config, model, test, np.ones(len(test.ids), dtype=bool), "unigram", test.unigram_bits, "")
    else:
        progress.note(f"scoring {rival_name}, which is to be beaten, on the same documents")
        baseline = _against(uri, rival, config, model, test)
    if holds_already:
        verdict = Verdict(promoted=False, reason=f"This model holds the alias {ALIAS} already; nothing changes.")
    else:
        verdict = decide(against_champion, baseline, confidence=config.confidence, min_documents=config.min_documents)
    if verdict.promoted and removal is not None:  # a person knows more than the bits
        version = removal.from_version
        verdict = Verdict(
            promoted=False,
            reason=f"The alias {ALIAS} was taken from version {version} by hand ({removal.reason}), so it stays where it is; "
            f"`textmill promote {name} {version}` gives it back.",
        )
    return {
        "format": FORMAT,
        "model": name,
        "metric": config.metric,
        "challenger": _identity(model.ref.version, model.ref.content_hash),
        "evaluation": _identity(evaluation.ref.version, evaluation.ref.content_hash),
        "champion_before": None if champion is None else _identity(champion.training_version, champion.content_hash),
        "champion": None if against_champion is None else against_champion.to_json(),
        "baseline": baseline.to_json(),
        "confidence_asked": config.confidence,
        "num_resamples": config.num_resamples,
        "min_documents": config.min_documents,
        "promoted": verdict.promoted,
        "holds_alias": verdict.promoted or holds_already,
        "reason": verdict.reason,
        "notes": notes,
    }


def _identity(version: str, content_hash: str) -> dict[str, str]:
    return {"version": version, "content_hash": content_hash}


def _against(uri: str, rival: Registered, config: PromoteConfig, model: Artifact, test: _Test) -> Comparison:
    texts, targets = test.contents()
    held_out, bits = score_rival(rival, uri, text_hashes=test.text_hashes, texts=texts, targets=targets)
    return _compare(config, model, test, held_out, str(rival), bits, rival.content_hash)


def _compare(
    config: PromoteConfig,
    model: Artifact,
    test: _Test,
    chosen: np.ndarray[Any, Any],
    rival: str,
    rival_bits: np.ndarray[Any, Any],
    rival_digest: str,
) -> Comparison:
    return compare_bits(
        rival=rival,
        ids=[document for document, keep in zip(test.ids, chosen, strict=True) if keep],
        challenger_bits=test.bits[chosen],
        rival_bits=rival_bits,
        num_bytes=test.num_bytes[chosen],
        num_resamples=config.num_resamples,
        min_documents=config.min_documents,
        digests=(model.ref.content_hash, rival, rival_digest),
        groups=groups_of([group for group, keep in zip(test.groups, chosen, strict=True) if keep]),
    )


def _recorded(client: MlflowClient, name: str, registration: Registration, version: str) -> dict[str, Any] | None:
    """The decision an earlier run wrote down for this artifact before it was stopped, if it still applies."""
    text = client.get_model_version(name, registration.version).tags.get(DECISION + version)
    if text is None:
        return None
    decision: dict[str, Any] = json.loads(text)
    before = decision["champion_before"]
    champion = find_champion(client, name)
    held_by = None if champion is None else champion.content_hash
    applies = held_by in (None if before is None else before["content_hash"], decision["challenger"]["content_hash"])
    return decision if applies or _was_carried_out(client, name, version) else None


def _was_carried_out(client: MlflowClient, name: str, version: str) -> bool:
    return any(entry.done and entry.decision == version for entry in history(client, name))


def _apply(
    client: MlflowClient,
    name: str,
    registration: Registration,
    version: str,
    decision: dict[str, Any],
    champion: Registered | None,
) -> bool:
    """Writes the decision down and carries it out once; False when another version holds the alias by now."""
    expected = None if champion is None else champion.version
    if holder(client, name) != expected:
        return False
    client.set_model_version_tag(name, registration.version, DECISION + version, json.dumps(decision))
    status = "approved" if decision["holds_alias"] else "rejected"
    client.set_model_version_tag(name, registration.version, "validation_status", status)
    if decision["promoted"] and expected != registration.version and not _was_carried_out(client, name, version):
        move(
            client,
            name,
            registration.version,
            action="gate",
            reason=decision["reason"],
            expected_holder=expected,
            decision=version,
        )
    return True


def _report(decision: Mapping[str, Any]) -> Report:
    baseline, champion = decision["baseline"], decision["champion"]
    figures: dict[str, int | float | str] = {"promoted": "yes" if decision["promoted"] else "no"}
    table = []
    for role, comparison in (("champion", champion), ("baseline", baseline)):
        if comparison is None:
            continue
        table.append({"against": role, **comparison})
        for key in ("rival_bits_per_byte", "difference", "confidence"):
            if comparison[key] is not None:
                figures[f"{role}_{key.removeprefix('rival_')}"] = comparison[key]
    if baseline["challenger_bits_per_byte"] is not None:
        figures["bits_per_byte"] = baseline["challenger_bits_per_byte"]
    return Report(figures=figures, tables={"Decision": table}, notes=[decision["reason"], *decision["notes"]])
