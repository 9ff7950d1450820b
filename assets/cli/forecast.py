"""`textmill check --model NAME`: what training it will cost, before it starts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from pipeline.artifacts import ArtifactStore
from pipeline.config import NgramConfig, Project
from pipeline.config.starting import StartSettings
from pipeline.environment import keep_memory
from pipeline.errors import InputError
from pipeline.plan import MODEL, SHARDS, START, Key, build_nodes

if TYPE_CHECKING:
    from pipeline.training.starting import StartingPoint


def show_forecast(project: Project, name: str) -> int:
    """Prints sizes, memory and time; exit code 0 whatever they are.

    Raises:
        InputError: there is no such model, or it is not trained by steps.
    """
    if name not in project.models:
        raise InputError(
            f"There is no model {name!r} in {project.file.name}. It has {', '.join(sorted(project.models))}."
        )
    config = project.models[name]
    if isinstance(config, NgramConfig):
        raise InputError(
            f"{name} is an n-gram model, which is counted in one pass; a forecast is for trained networks."
        )
    from pipeline.training.forecast import forecast

    keep_memory()  # as training does
    dataset = project.datasets[config.dataset]
    shards = ArtifactStore(project.storage_folder).current(SHARDS, config.dataset)
    counts = shards.manifest.counts if shards is not None else {}
    train_tokens = counts["tokens"]["train"] if counts else None
    source_vocab_size = counts.get("vocab_size") or _vocab_size(project, dataset.tokenizer)
    vocab_size = source_vocab_size
    if dataset.target_tokenizer is not None:
        vocab_size = counts.get("target_vocab_size") or _vocab_size(project, dataset.target_tokenizer)
    start = _start_of(project, name, config) if isinstance(config, StartSettings) else None
    console = Console()
    console.print(f"Five steps of {name} on this machine ...", style="dim", highlight=False)
    found = forecast(
        config,
        vocab_size=vocab_size,
        source_vocab_size=source_vocab_size if dataset.target_tokenizer is not None else None,
        train_tokens=train_tokens,
        pair_tokens=counts["tokens"]["train"] / max(1, counts["documents"]["train"]) if "task" in counts else None,
        start=start.shape if start is not None else None,
    )
    hardware, memory = found.hardware, found.memory
    how = f"{hardware.devices}, {hardware.precision}, {'compiled' if hardware.compiled else 'not compiled'}"
    data = f"{found.epochs:.2f} over {train_tokens:,} tokens" if found.epochs else "known once the dataset is built"
    rows = {
        "parameters": f"{found.num_parameters:,}",
        "FLOPs": f"{found.flops:.3g}, {found.flops_per_token / 1e6:,.1f} million a token",
        "tokens": f"{found.tokens:,}: {found.num_steps:,} steps of {found.tokens_per_step:,}",
        "epochs": data,
        "device": f"{how}, {hardware.num_threads} threads, {hardware.micro_windows} windows a forward pass",
        "memory": f"{megabytes(memory.total)}: weights {megabytes(memory.weights)}, gradients {megabytes(memory.gradients)}, "
        f"optimizer {megabytes(memory.optimizer)}, activations {megabytes(memory.activations)}",
        "process": f"{megabytes(memory.process)} at most during these steps"
        + ("; on a CPU, batches of many lengths come to hold more" if "task" in counts else ""),
        "speed": f"{found.tokens_per_second:,.0f} tokens/s",
        "time": f"{duration(found.seconds)}, validation and compiling not counted",
    }
    table = Table(box=None, pad_edge=False, show_header=False)
    for label, value in rows.items():
        table.add_row(label, value)
    console.print(table, highlight=False)
    for warning in found.warnings():
        console.print(f"[yellow]{warning}[/]", highlight=False)
    return 0


def _vocab_size(project: Project, name: str) -> int:
    """Of a tokenizer by its settings, which give the most that a trained one has."""
    config = project.tokenizers[name]
    if config.file is None:
        return config.vocab_size
    from pipeline.tokenizer.existing import read_tokenizer
    from pipeline.tokenizer.model import Tokenizer

    return Tokenizer(read_tokenizer(project.folder / config.file)).vocab_size


def _start_of(project: Project, name: str, config: StartSettings) -> StartingPoint | None:
    """What the model would begin with now."""
    if config.init_from is None and config.start == "fresh":
        return None
    from pipeline.registry.connection import tracking_uri
    from pipeline.registry.starting import find_start

    store = ArtifactStore(project.storage_folder)
    node = build_nodes(project)[Key(MODEL, name)]
    with tempfile.TemporaryDirectory(prefix="textmill-") as folder:
        return find_start(
            config,
            name=name,
            uri=tracking_uri(project.storage_folder),
            literals=node.literals(),
            inputs={
                role: store.require(key.stage, key.name) for role, key in node.inputs.items() if role.startswith(START)
            },
            project_folder=project.folder,
            folder=Path(folder),
        )


def megabytes(num_bytes: int) -> str:
    """ "1,234 MB"."""
    return f"{num_bytes / 1e6:,.0f} MB"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
