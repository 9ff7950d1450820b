"""A registered model as files for other tools: an n-gram model as ARPA, a Transformer and its tokenizer as a Hugging Face folder.

A recurrent network has no such form: its files are config and safetensors as saved.
In: a reference (`NAME`, `NAME@ALIAS`, `NAME/VERSION`) and an empty folder. Out: the files' names.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.errors import InputError
from pipeline.evaluation.pair_model import PairModel, TextModel
from pipeline.files import make_folder, storage_errors, write_json
from pipeline.models.interface import LanguageModel
from pipeline.registry.connection import connection
from pipeline.registry.queries import resolve
from pipeline.registry.rivals import Registered, downloaded, model_folder, pairs_file
from pipeline.serving.generate import load_registered
from pipeline.tasks import template_literals
from pipeline.tokenizer.hugging_face import is_exact, tokenizer_config, tokenizer_json

ARPA = "model.arpa"


def export_model(name: str, uri: str, folder: Path) -> list[Path]:
    """Writes the model into `folder`: its own files, and for an n-gram model `model.arpa`.

    Raises:
        InputError: the folder holds something already, or no other library computes what the model does.
        RegistryError: no such model or version, or the server cannot be reached.
        StorageError: the folder cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already and not empty. Name another folder.")
    with connection(uri, doing=f"exporting {name}") as client:
        registered = resolve(client, name)
        with downloaded(registered, uri) as downloads:
            loaded = load_registered(registered, downloads)
            _refuse_research(loaded.writer.model, registered)
            make_folder(folder, remedy="Name another folder")
            with storage_errors(folder):
                for file in sorted(model_folder(downloads).iterdir()):
                    shutil.copyfile(file, folder / file.name)
                pairs = pairs_file(downloads)
                if pairs is not None:
                    shutil.copyfile(pairs, folder / pairs.name)
    model, tokenizer = loaded.writer.model, loaded.writer.tokenizer
    if model.family == "transformer" and is_exact(tokenizer):
        _write_tokenizer(loaded.writer, folder)
    if model.family == "ngram":
        from pipeline.models.ngram.arpa import write_arpa
        from pipeline.models.ngram.model import NgramModel

        assert isinstance(model, NgramModel)
        pieces = tokenizer.pieces(list(range(tokenizer.vocab_size)))
        write_arpa(model.table, folder / ARPA, pieces=pieces)
    return sorted(folder.iterdir())


def _write_tokenizer(writer: TextModel | PairModel, folder: Path) -> None:
    """What `AutoTokenizer` reads; what a model of pairs reads around a text stands in its chat template."""
    template = writer.template if isinstance(writer, PairModel) else None
    before, between = ("", "\n") if template is None else template_literals(template)
    speakers = writer.speakers if isinstance(writer, PairModel) else None
    context = writer.model.context_tokens
    config = tokenizer_config(
        writer.tokenizer, context_tokens=context, before=before, between=between, speakers=speakers
    )
    write_json(folder / "tokenizer.json", tokenizer_json(writer.tokenizer))
    write_json(folder / "tokenizer_config.json", config)


def _refuse_research(model: LanguageModel, registered: Registered) -> None:
    """Raises InputError for a Transformer with parts of `research`."""
    if model.family != "transformer":
        return
    from pipeline.models.transformer.model import TransformerModel

    assert isinstance(model, TransformerModel)
    if parts := model.network.shape.research_parts:
        raise InputError(
            f"Version {registered.version} of {registered.name} was trained with research settings ({', '.join(parts)}), which "
            "no other library computes, so it cannot be exported. Train it without them."
        )
