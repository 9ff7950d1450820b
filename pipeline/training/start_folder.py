"""A folder of weights to begin with, or an ARPA file, as content: the hash that a model's version follows."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import InputError
from pipeline.files import fingerprint
from pipeline.ingestion.stat_cache import StatCache

_FILES = ("config.json", "model.safetensors", "textmill.json", "tokenizer.model")
_NEEDED = _FILES[:2]


def folder_content(folder: Path, *, cache_folder: Path) -> str:
    """A digest of the folder's weights and of what says what they are; unchanged files are not read again.

    Raises:
        InputError: there is no such folder, or it holds no model.
    """
    cache = StatCache(cache_folder, name=f"weights {folder.absolute()}")
    found = {name: cache.sha256(folder / name) for name in _FILES if (folder / name).is_file()}
    for name in _NEEDED:
        if name not in found:
            raise InputError(
                f"{folder} holds no {name}. Name a model of the file, models:/NAME@champion, or a folder that holds "
                f"{' and '.join(_NEEDED)}."
            )
    cache.save()
    return fingerprint(found)


def arpa_content(file: Path, *, cache_folder: Path) -> str:
    """The digest of an ARPA file; an unchanged one is not read again.

    Raises:
        InputError: there is no such file.
    """
    cache = StatCache(cache_folder, name=f"arpa {file.absolute()}")
    try:
        content = cache.sha256(file)
    except OSError as error:
        raise InputError(
            f"{file} cannot be read ({error.strerror}). Name an ARPA file, such as `textmill export` and lmplz write."
        ) from error
    cache.save()
    return content
