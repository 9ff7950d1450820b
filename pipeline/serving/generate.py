"""A model out of the registry, ready to write.

In: a reference (`NAME`, `NAME@ALIAS`, `NAME/VERSION`) and prompts. Out: continuations.
The weights are read with the family's own loader, not through MLflow's pyfunc, so the command line starts faster and the
code at hand is used; `mlflow.pyfunc.load_model("models:/NAME@champion")` gives the same text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.evaluation.continuation import continue_texts, generation_parameters
from pipeline.registry.connection import connection
from pipeline.registry.queries import resolve
from pipeline.registry.rivals import Registered, downloaded, model_folder

if TYPE_CHECKING:
    from pipeline.models.interface import LanguageModel
    from pipeline.tokenizer.model import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A registered model in memory."""

    registered: Registered
    model: LanguageModel
    tokenizer: Tokenizer

    def generate(self, prompts: Sequence[str], settings: Mapping[str, Any] | None = None) -> list[str]:
        """The continuation of each prompt; `settings` overrides `pipeline.evaluation.continuation.DEFAULTS`.

        Raises:
            ValueError: a setting that does not exist or cannot be.
        """
        parameters = generation_parameters(self.tokenizer, settings)
        return continue_texts(self.model, self.tokenizer, prompts, parameters)


def load_champion(name: str, uri: str) -> LoadedModel:
    """The model's champion (its newest version where it has none), or the version that `name` spells out.

    Raises:
        RegistryError: no such model or version, its files are gone or changed, or the server cannot be reached.
    """
    with connection(uri, doing=f"loading {name}") as client:
        registered = resolve(client, name)
        with downloaded(registered, uri) as folder:
            return load_registered(registered, folder)


def load_any(reference: str, uri: str) -> tuple[LanguageModel, Tokenizer]:
    """The model of a folder that `textmill export` wrote, or a registered one.

    Raises:
        RegistryError: no such model or version, its files are gone or changed, or the server cannot be reached.
        ArtifactDamaged: the folder's files do not fit each other.
    """
    folder = Path(reference)
    if not (folder / "textmill.json").is_file():
        loaded = load_champion(reference, uri)
        return loaded.model, loaded.tokenizer
    from pipeline.models.loading import load_model
    from pipeline.tokenizer.model import Tokenizer

    return load_model(folder), Tokenizer.load(folder / "tokenizer.model")


def load_registered(registered: Registered, downloads: Any) -> LoadedModel:
    """Reads a model from its downloaded files; nothing is left open, so they may be removed afterwards."""
    from pipeline.models.loading import load_model
    from pipeline.tokenizer.model import Tokenizer

    folder = model_folder(downloads)
    return LoadedModel(
        registered=registered, model=load_model(folder), tokenizer=Tokenizer.load(folder / "tokenizer.model")
    )
