"""One document's way through the stages: read, cleaned, kept or rejected and why, its duplicates, its split, its tokens.

In: a word that names the document (find.py) and the artifacts in use. Out: a step for each stage that met it, with facts in
the order in which a person asks; personal data that the source has redacted is not shown from before either.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa

from pipeline.accounts.database import first_sentence, reading, rows_of
from pipeline.accounts.find import Place, find_document
from pipeline.accounts.views import artifacts_in_use, reject_files
from pipeline.artifacts import Artifact, ArtifactStore
from pipeline.cleaning.pii.redact import redact
from pipeline.config import Project
from pipeline.config.columns import SIGNAL_COUNTS, SIGNAL_FRACTIONS
from pipeline.errors import ArtifactDamaged, ArtifactMissing
from pipeline.plan import CLEAN, CORPUS, RAW, SHARDS
from pipeline.records import SPLITS

NUM_DUPLICATES_NAMED = 5
EXCERPT_CHARACTERS = 200
_REDACTED_CHARACTERS = 2000
"""Looked at before an excerpt is cut, so that no number is cut in two and missed."""
_BASIC_SIGNALS = ("num_characters", "num_words", "num_lines", "letter_fraction", "duplicate_line_fraction")

_MATCHING = "{rows} WHERE {condition} ORDER BY ALL"
_AT = 'source = $source AND path = $path AND "index" = $index AND id IS NOT DISTINCT FROM $id'

Verdict = Literal["read", "cleaned", "kept", "rejected", "encoded", "absent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one artifact did with the document."""

    asset: str
    """`stage/name@version`."""
    verdict: Verdict
    facts: Mapping[str, str]
    signals: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A document and its steps."""

    id: str | None
    places: Sequence[Place]
    excerpt: str
    steps: Sequence[Step]


def explain(project: Project, store: ArtifactStore, word: str) -> Way:
    """What became of the document that `word` names, in the versions in use.

    Raises:
        InputError: it names no document, or several.
        ArtifactMissing: no source was read yet.
        ArtifactDamaged: a file cannot be read.
    """
    artifacts = artifacts_in_use(project, store)
    raw = [artifact for artifact in artifacts if artifact.ref.stage == RAW]
    if not raw:
        raise ArtifactMissing("No source was read yet; run `textmill run` first.")
    try:
        with reading([artifact.folder for artifact in artifacts]) as connection:
            places = find_document(connection, raw, word)
            return _way(connection, project, artifacts, places)
    except duckdb.Error as error:
        raise ArtifactDamaged(f"explain: {first_sentence(error)} Run `textmill run` to check and rebuild.") from error


def _way(
    connection: duckdb.DuckDBPyConnection, project: Project, artifacts: Sequence[Artifact], places: Sequence[Place]
) -> Way:
    steps: list[Step] = []
    excerpt = ""
    for place in places:
        for artifact in artifacts:
            stage, name = artifact.ref.stage, artifact.ref.name
            if stage in (RAW, CLEAN) and name == place.source:
                row = _row(connection, artifact.files("documents/*.parquet"), place)
                if row is None:
                    steps.append(_rejected(connection, artifact, place))
                    break  # no later stage met it
                kinds = project.sources[place.source].kinds_to_redact()
                steps.append(_met(artifact, place, row, kinds))
                excerpt = excerpt or redact(row["text"][:_REDACTED_CHARACTERS], kinds)[0][:EXCERPT_CHARACTERS]
            elif stage == CORPUS and place.source in artifact.manifest.inputs:
                steps.append(_judged(connection, artifact, place))
    if (id_ := places[0].id) is not None:
        kept_in = {step.asset for step in steps if step.verdict == "kept"}
        shards = [artifact for artifact in artifacts if artifact.ref.stage == SHARDS]
        made_of_it = [artifact for artifact in shards if str(artifact.manifest.inputs["corpus"]) in kept_in]
        steps += [_encoded(connection, artifact, id_) for artifact in made_of_it]
    return Way(id=places[0].id, places=places, excerpt=excerpt, steps=steps)


def _met(artifact: Artifact, place: Place, row: Mapping[str, Any], kinds: Collection[str]) -> Step:
    """The step of a stage that holds the document; personal data of the given kinds is not shown."""
    if artifact.ref.stage == RAW:
        facts = {"from": str(place), "size": f"{row['num_bytes']:,} bytes"}
        if row["title"]:
            facts["title"] = redact(row["title"], kinds)[0]
        if row["target"] is not None:
            facts["pair"] = f"its other half has {len(row['target'].encode()):,} bytes"
        return Step(asset=str(artifact.ref), verdict="read", facts=facts)
    facts = {"size": f"{row['raw_bytes']:,} bytes before, {row['num_bytes']:,} after"}
    if row["repaired"]:
        facts["repaired"] = "text decoded with the wrong encoding"
    if row["redactions"]:
        facts["redacted"] = ", ".join(f"{kind} {count}" for kind, count in row["redactions"])
    facts["language"] = f"{row['language']}, confidence {row['language_confidence']:.2f}"
    names = (*_BASIC_SIGNALS, *SIGNAL_COUNTS, *SIGNAL_FRACTIONS)
    signals = {name: row[name] for name in names if row.get(name) is not None}
    return Step(asset=str(artifact.ref), verdict="cleaned", facts=facts, signals=signals)


def _rejected(connection: duckdb.DuckDBPyConnection, artifact: Artifact, place: Place) -> Step:
    """The step of a stage that does not hold the document: its reject, or that the stage never met it."""
    row = _row(connection, reject_files(artifact), place)
    if row is None:
        return _absent(artifact)
    facts = {"reason": row["reason"], "detail": row["detail"]}
    if row["value"] is not None:
        facts |= {"value": f"{row['value']:.6g}", "threshold": f"{row['threshold']:.6g}"}
    return Step(asset=str(artifact.ref), verdict="rejected", facts=facts)


def _absent(artifact: Artifact) -> Step:
    stale = "It is newer than this version, which was made without it; `textmill check` says what is stale."
    return Step(asset=str(artifact.ref), verdict="absent", facts={"why": stale})


def _judged(connection: duckdb.DuckDBPyConnection, artifact: Artifact, place: Place) -> Step:
    documents = artifact.files("documents/*.parquet")
    rejects = reject_files(artifact)
    row = _row(connection, documents, place)
    if row is None:
        step = _rejected(connection, artifact, place)
        reject = _row(connection, rejects, place)
        if reject is not None and reject["cluster_id"] is not None:
            for keeper in _rows(connection, documents, "cluster_id = $cluster", cluster=reject["cluster_id"])[:1]:
                kept = f"{keeper['id']} ({keeper['source']}:{keeper['path']}:{keeper['index']}), {keeper['split']}"
                facts = {**step.facts, "cluster": f"{keeper['cluster_size']} documents", "keeper": kept}
                return Step(asset=step.asset, verdict=step.verdict, facts=facts)
        return step
    facts = {"split": row["split"]}
    if row["split"] == "train":
        facts["read"] = f"{row['repeats']} times an epoch of training"
    if row["cluster_size"] > 1:
        others = _rows(connection, rejects, "cluster_id = $cluster", cluster=row["cluster_id"])
        named = [f"{other['source']}:{other['path']}:{other['index']}" for other in others[:NUM_DUPLICATES_NAMED]]
        more = ", ..." if len(others) > len(named) else ""
        facts["cluster"] = f"keeper of {row['cluster_size']} documents: {', '.join(named)}{more}"
    return Step(asset=str(artifact.ref), verdict="kept", facts=facts)


def _encoded(connection: duckdb.DuckDBPyConnection, artifact: Artifact, id_: str) -> Step:
    for split in SPLITS:
        rows = _rows(connection, [artifact.file(f"{split}.documents.parquet")], "id = $id", id=id_)
        if rows:
            is_pair = "num_target_tokens" in rows[0]
            first, size = ("first_source_token", "num_source_tokens") if is_pair else ("first_token", "num_tokens")
            firsts = [f"{row[first]:,}" for row in rows[:NUM_DUPLICATES_NAMED]]
            more = ", ..." if len(rows) > len(firsts) else ""
            target = f", its target {rows[0]['num_target_tokens']:,}" if is_pair else ""
            facts = {
                "split": split,
                "size": f"{rows[0][size]:,} tokens{target}",
                "from token": ", ".join(firsts) + more,
                "times": str(len(rows)),
            }
            return Step(asset=str(artifact.ref), verdict="encoded", facts=facts)
    why = "The mixture reads it no time in training, or it is a pair whose target is longer than max_target_tokens."
    return Step(asset=str(artifact.ref), verdict="absent", facts={"why": why})


def _row(connection: duckdb.DuckDBPyConnection, files: Sequence[Path], place: Place) -> dict[str, Any] | None:
    rows = _rows(connection, files, _AT, source=place.source, path=place.path, index=place.index, id=place.id)
    return rows[0] if rows else None


def _rows(
    connection: duckdb.DuckDBPyConnection, files: Sequence[Path], condition: str, **values: str | int | None
) -> list[dict[str, Any]]:
    """Matching rows of the files, whole, in a fixed order."""
    if not files:
        return []
    statement = _MATCHING.format(rows=rows_of(files), condition=condition)
    table: pa.Table = connection.sql(statement, params=values).to_arrow_table()
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
