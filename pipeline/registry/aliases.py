"""Moves the champion alias, on record, and moves it back.

In: a registered model and one of its versions. Out: the alias there, and an entry in the audit trail.
MLflow keeps no history of aliases, so each move is a tag of the registered model,
`textmill.audit.champion.<time>`, written before the alias moves ("intended") and completed after it ("done"): a crash
between the two is visible and repeatable. The holder is compared before it is replaced; on one database a file lock
keeps others out meanwhile, on a server two moves in the same instant leave two entries and one winner.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline.errors import RegistryError
from pipeline.registry.connection import connection, registry_lock, version_numbers

if TYPE_CHECKING:
    from mlflow import MlflowClient

ALIAS = "champion"
AUDIT = f"textmill.audit.{ALIAS}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One entry of the audit trail."""

    action: str
    """`gate`, `promote` (by hand) or `rollback`."""
    from_version: str | None
    """Who held the alias before: a version number of the registry."""
    to_version: str
    reason: str
    decision: str | None
    """The registered_model version whose decision this was; None for moves by hand."""
    time: str
    """UTC, ISO 8601."""
    done: bool
    """False for a move that was announced and then did not happen."""


def holder(client: MlflowClient, name: str) -> str | None:
    """The version number that holds the alias, or None."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_model_version_by_alias(name, ALIAS).version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def history(client: MlflowClient, name: str) -> list[Move]:
    """Every move of the alias, oldest first."""
    tags = client.get_registered_model(name).tags
    return [Move(**json.loads(tags[key])) for key in sorted(tags) if key.startswith(AUDIT)]


def move(
    client: MlflowClient,
    name: str,
    version: str,
    *,
    action: str,
    reason: str,
    expected_holder: str | None,
    decision: str | None = None,
) -> Move:
    """Writes the entry, moves the alias, completes the entry.

    Raises:
        RegistryError: another version holds the alias than the caller compared with.
    """
    found = holder(client, name)
    if found != expected_holder:
        raise RegistryError(
            f"{name}: the alias {ALIAS} moved from version {expected_holder} to {found} meanwhile; look at it and run again."
        )
    now = time.time()
    tags = client.get_registered_model(name).tags
    latest = max((int(key.removeprefix(AUDIT).partition("-")[0]) for key in tags if key.startswith(AUDIT)), default=0)
    order = max(int(now * 1000), latest + 1)  # a clock that was set back puts no move before an earlier one
    entry = Move(
        action=action,
        from_version=found,
        to_version=version,
        reason=reason,
        decision=decision,
        time=datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
        done=False,
    )
    key = f"{AUDIT}{order:013d}-{uuid.uuid4().hex[:6]}"
    client.set_registered_model_tag(name, key, json.dumps(asdict(entry)))
    client.set_registered_model_alias(name, ALIAS, version)
    client.set_registered_model_tag(name, key, json.dumps(asdict(entry) | {"done": True}))
    return Move(**(asdict(entry) | {"done": True}))


def promote(name: str, version: str, *, uri: str, reason: str = "promoted by hand") -> Move:
    """Gives the alias to a version, whatever the gate said of it.

    Raises:
        RegistryError: no such model or version, it holds the alias already, or the server cannot be reached.
    """
    with connection(uri, doing=f"promote {name}") as client, registry_lock(uri):
        versions = existing_versions(client, name)
        if version not in versions:
            known = ", ".join(versions)
            raise RegistryError(f"{name} has no version {version}; it has {known}. `textmill models` lists them.")
        before = holder(client, name)
        if before == version:
            raise RegistryError(f"{name}: version {version} is the {ALIAS} already; there is nothing to do.")
        return move(client, name, version, action="promote", reason=reason, expected_holder=before)


def rollback(name: str, *, uri: str, reason: str = "rolled back by hand") -> Move:
    """Gives the alias back to the version that held it before, as the audit trail tells.

    Raises:
        RegistryError: no such model, nobody held the alias before, or the server cannot be reached.
    """
    with connection(uri, doing=f"rollback {name}") as client, registry_lock(uri):
        versions = existing_versions(client, name)
        now = holder(client, name)
        before = previous_holder(history(client, name), now, versions)
        if before is None:
            earlier = "ever" if now is None else f"before version {now}"
            raise RegistryError(
                f"{name}: nobody held the alias {ALIAS} {earlier}, so there is nothing to roll back to; "
                f"`textmill promote {name} VERSION` names one by hand."
            )
        return move(client, name, before, action="rollback", reason=reason, expected_holder=now)


def taken_away(moves: list[Move], version: str) -> Move | None:
    """The move by hand that took the alias from a version, unless it was given back since."""
    about = [entry for entry in moves if entry.done and version in (entry.from_version, entry.to_version)]
    is_by_hand = bool(about) and about[-1].from_version == version and about[-1].action != "gate"
    return about[-1] if is_by_hand else None


def previous_holder(moves: list[Move], now: str | None, versions: Collection[str]) -> str | None:
    """Who held the alias before `now` did, among the versions that still exist.

    A rollback takes back the move before it, so 1 -> 2 -> 3 rolled back twice is 1, not 2 and 3 in turn.
    """
    held: list[str] = []
    for entry in moves:
        if not entry.done and entry.to_version != now:
            continue
        if entry.action == "rollback" and entry.to_version in held:
            del held[len(held) - held[::-1].index(entry.to_version) :]
        elif not held or held[-1] != entry.to_version:
            if entry.from_version is not None and (not held or held[-1] != entry.from_version):
                held.append(entry.from_version)  # the alias was moved from outside in between
            held.append(entry.to_version)
    if now in held:
        del held[len(held) - 1 - held[::-1].index(now) :]
    return next((version for version in reversed(held) if version in versions and version != now), None)


def existing_versions(client: MlflowClient, name: str) -> list[str]:
    """The versions of a model, oldest first.

    Raises:
        RegistryError: there is no such model.
    """
    found = version_numbers(client, name)
    if not found:
        raise RegistryError(f"{name or repr(name)} is not in the registry; `textmill models` lists what is.")
    return found
