"""What changed between two versions of a corpus: documents added, removed, in another split, with other text, read more or
less often, by source and reason.

A document is its id, the hash of its raw text, so a file that moved changes nothing. The reason of an addition is what the
old version rejected it for, that of a removal what the new one does; a document in neither's rejects came or went with its
source.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.accounts.database import first_sentence, parquet, reading
from pipeline.artifacts import Artifact, ArtifactRef, ArtifactStore
from pipeline.config import Project
from pipeline.corpus.layout import reject_files
from pipeline.errors import ArtifactDamaged, ArtifactMissing, InputError
from pipeline.plan import CORPUS, changed_settings

_KEPT = """
CREATE TEMP TABLE {name} AS
SELECT id, source, split, text_hash, num_bytes, {repeats} AS repeats FROM {files}
QUALIFY row_number() OVER (PARTITION BY id ORDER BY source, path, "index") = 1
"""

_REJECTED = """
CREATE TEMP TABLE {name}_rejects AS
SELECT id, reason FROM {files} WHERE id IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY id ORDER BY source, path, "index") = 1
"""

_CHANGES = """
WITH changes AS (
    SELECT coalesce(new.id, old.id) AS id, coalesce(new.source, old.source) AS source,
           coalesce(new.num_bytes, old.num_bytes) AS num_bytes,
           CASE WHEN old.id IS NULL THEN 'added' WHEN new.id IS NULL THEN 'removed'
                WHEN old.split <> new.split THEN 'other split' WHEN old.text_hash <> new.text_hash THEN 'other text'
                WHEN old.repeats <> new.repeats THEN 'read more or less often' END AS change,
           CASE WHEN old.id IS NULL THEN coalesce('no longer rejected: ' || old_rejects.reason, 'new in its source')
                WHEN new.id IS NULL THEN coalesce('rejected: ' || new_rejects.reason, 'gone from its source')
                WHEN old.split <> new.split THEN old.split || ' to ' || new.split
                WHEN old.text_hash <> new.text_hash AND list_contains($as_before, new.source)
                    THEN 'other repeated lines taken out'
                WHEN old.text_hash <> new.text_hash THEN 'cleaned otherwise'
                ELSE old.repeats || ' to ' || new.repeats || ' times' END AS reason
    FROM old FULL OUTER JOIN new USING (id)
    LEFT JOIN old_rejects ON old_rejects.id = new.id
    LEFT JOIN new_rejects ON new_rejects.id = old.id
)
SELECT change, source, reason, count(*) AS documents, sum(num_bytes)::BIGINT AS bytes, min(id) AS example
FROM changes GROUP BY change, source, reason ORDER BY change, documents DESC, source, reason
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Two versions of a corpus, side by side."""

    old: ArtifactRef
    new: ArtifactRef
    causes: list[str]
    """Settings and inputs that differ."""
    rows: list[dict[str, Any]]
    """change, source, reason, documents, bytes, and one id as an example."""
    num_unchanged: int


def diff(project: Project, store: ArtifactStore, name: str, old: str | None, new: str | None) -> Difference:
    """Compares two versions; without names the one in use with the one built before it.

    Raises:
        InputError: no such corpus or version; the sentence names what is near.
        ArtifactMissing: there are not two versions.
        ArtifactDamaged: a file cannot be read.
    """
    if name not in project.corpora:
        raise InputError(f"diff: {name!r} is no corpus. {_near(name, sorted(project.corpora))}")
    versions = store.versions(CORPUS, name)
    later = _version(versions, name, new) if new is not None else store.current(CORPUS, name)
    if later is None:
        raise ArtifactMissing(f"diff: corpus/{name} has not been built yet; run `textmill run corpus/{name}` first.")
    earlier = _version(versions, name, old) if old is not None else _before(versions, later)
    if earlier is None:
        raise ArtifactMissing(
            f"diff: corpus/{name} has one version, {later.ref.version}, and nothing to compare it with."
        )
    try:
        with reading([earlier.folder, later.folder]) as connection:
            for side, artifact in (("old", earlier), ("new", later)):
                _load(connection, side, artifact)
            values = {"as_before": _inputs_as_before(earlier, later)}
            table: pa.Table = connection.sql(_CHANGES, params=values).to_arrow_table()
    except duckdb.Error as error:
        raise ArtifactDamaged(f"diff: {first_sentence(error)} Run `textmill run` to check and rebuild.") from error
    rows = table.to_pylist()
    return Difference(
        old=earlier.ref,
        new=later.ref,
        causes=_causes(earlier, later),
        rows=[row for row in rows if row["change"] is not None],
        num_unchanged=sum(row["documents"] for row in rows if row["change"] is None),
    )


def _load(connection: duckdb.DuckDBPyConnection, side: str, artifact: Artifact) -> None:
    documents = artifact.files("documents/*.parquet")
    # versions from before the mixture was a column read every document once
    repeats = "repeats" if "repeats" in pq.read_schema(documents[0]).names else "1"
    connection.execute(_KEPT.format(name=side, repeats=repeats, files=parquet(documents)))
    connection.execute(_REJECTED.format(name=side, files=parquet(reject_files(artifact))))


def _inputs_as_before(old: Artifact, new: Artifact) -> list[str]:
    """Sources whose clean documents are the same in both."""
    before = old.manifest.inputs
    return [
        role
        for role, ref in new.manifest.inputs.items()
        if role in before and ref.content_hash == before[role].content_hash
    ]


def _before(versions: Sequence[Artifact], later: Artifact) -> Artifact | None:
    """The newest version built before `later`, else the newest other one."""
    others = [found for found in versions if found.ref.version != later.ref.version]
    older = [found for found in others if found.manifest.created_at <= later.manifest.created_at]
    return next(iter(older or others), None)


def _version(versions: Sequence[Artifact], name: str, word: str) -> Artifact:
    found = [artifact for artifact in versions if artifact.ref.version.startswith(word)]
    known = [artifact.ref.version for artifact in versions]
    if not found:
        raise InputError(f"diff: corpus/{name} has no version {word!r}. {_near(word, known)}")
    if len(found) > 1:
        named = ", ".join(artifact.ref.version for artifact in found)
        raise InputError(f"diff: several versions of corpus/{name} begin with {word!r}: {named}. Give more digits.")
    return found[0]


def _causes(old: Artifact, new: Artifact) -> list[str]:
    causes = []
    if old.manifest.code_version != new.manifest.code_version:
        causes.append(f"the stage's code {old.manifest.code_version} -> {new.manifest.code_version}")
    causes += changed_settings(old.manifest.literals, new.manifest.literals)
    for role in sorted(set(old.manifest.inputs) | set(new.manifest.inputs)):
        before, after = old.manifest.inputs.get(role), new.manifest.inputs.get(role)
        if before is None or after is None:
            given = after or before
            assert given is not None
            causes.append(f"{given.stage}/{given.name} {'added' if before is None else 'taken out'}")
        elif before.content_hash != after.content_hash:
            causes.append(f"{after.stage}/{after.name} changed")
    return causes


def _near(name: str, known: Sequence[str]) -> str:
    if close := difflib.get_close_matches(name, known, n=3, cutoff=0.5):
        return f"Did you mean {' or '.join(close)}?"
    return f"Known: {', '.join(known[:10])}." if known else "There is none."
