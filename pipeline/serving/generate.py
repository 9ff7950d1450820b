"""A model out of the registry, ready to write.

In: a reference (`NAME`, `NAME@ALIAS`, `NAME/VERSION`) and prompts. Out: continuations.
The weights are read with the family's own loader, not through MLflow's pyfunc, so the command line starts faster and the
code at hand is used; `mlflow.pyfunc.load_model("models:/NAME@champion")` gives the same text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.registry.aliases import ALIAS, holder
from pipeline.registry.connection import connection
from pipeline.registry.queries import resolve
from pipeline.registry.rivals import Registered, downloaded, model_folder, pairs_file
from pipeline.shards.reader import PAIR_INDEX

if TYPE_CHECKING:
    from pipeline.evaluation.pair_model import PairModel, TextModel


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A registered model in memory."""

    registered: Registered
    writer: TextModel | PairModel
    remark: str | None = None
    """What a person should know of how the version was chosen."""

    def generate(self, prompts: Sequence[str], settings: Mapping[str, Any] | None = None) -> list[str]:
        """The continuation of each prompt, or of a model of pairs what it writes for that text; `settings` overrides
        the defaults of its task.

        Raises:
            ValueError: a setting that does not exist or cannot be.
        """
        return self.writer.answer(prompts, settings)


def load_champion(name: str, uri: str) -> LoadedModel:
    """The model's champion (its newest version where it has none), or the version that `name` spells out.

    Raises:
        RegistryError: no such model or version, its files are gone or changed, or the server cannot be reached.
    """
    with connection(uri, doing=f"loading {name}") as client:
        registered = resolve(client, name)
        with downloaded(registered, uri) as folder:
            loaded = load_registered(registered, folder)
        if name != registered.name or holder(client, name) is not None:
            return loaded
    remark = (
        f"{name} has no {ALIAS}, so its newest version, {registered.version}, writes; `textmill promote` chooses one."
    )
    return replace(loaded, remark=remark)


def load_any(reference: str, uri: str) -> TextModel | PairModel:
    """The model of a folder that `textmill export` wrote, or a registered one, ready to answer.

    Raises:
        RegistryError: no such model or version, its files are gone or changed, or the server cannot be reached.
        ArtifactDamaged: the folder's files do not fit each other.
    """
    folder = Path(reference)
    if not (folder / "textmill.json").is_file():
        return load_champion(reference, uri).writer
    from pipeline.evaluation.pair_model import load_writer

    pairs = folder / PAIR_INDEX
    return load_writer(folder, pairs if pairs.is_file() else None)


def load_registered(registered: Registered, downloads: Any) -> LoadedModel:
    """Reads a model from its downloaded files; nothing is left open, so they may be removed afterwards."""
    from pipeline.evaluation.pair_model import load_writer

    return LoadedModel(registered=registered, writer=load_writer(model_folder(downloads), pairs_file(downloads)))
