"""The training loop: from a spec to a saved model, resumable at every step.

In: token shards. Out: `model/` (see models), `history.jsonl` (deterministic), `timings.jsonl`, `training.json`; checkpoints and
the metric spool in folders of their own. On one machine the result is a function of the spec: interrupted and resumed runs end
with the same bits.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import TrainingError, TrainingInterrupted
from pipeline.files import write_json, write_text
from pipeline.models.transformer.model import TransformerModel
from pipeline.models.transformer.network import Transformer
from pipeline.models.transformer.shape import TransformerShape
from pipeline.shards.loader import TokenLoader
from pipeline.tokenizer.model import Tokenizer
from pipeline.training.checkpoint import Checkpoint, load_newest, save_checkpoint
from pipeline.training.console import Console
from pipeline.training.guard import SpikeGuard
from pipeline.training.hardware import Hardware, choose_hardware, peak_flops
from pipeline.training.optimizer import Optimizer
from pipeline.training.schedule import learning_rate_scale
from pipeline.training.spec import TrainingSpec
from pipeline.training.spool import Spool
from pipeline.training.step import StepResult, train_step
from pipeline.training.stopping import StopRequest


class Trainer:
    """One run; `run` returns when the model is saved."""

    def __init__(self, spec: TrainingSpec, stop: StopRequest, pipes: Any = None) -> None:
        """Opens data, builds the network, and takes up the newest checkpoint.

        Raises:
            TrainingError: the tokenizer is not the shards' own, or a checkpoint belongs to another run.
        """
        self.spec, self._stop = spec, stop
        self.shape = TransformerShape(**spec.shape)
        folder = Path(spec.shards_folder)
        context = self.shape.context_tokens
        self._loader = TokenLoader(folder, split="train", context_tokens=context, seed=spec.seed)
        self._validation = TokenLoader(folder, split="validation", context_tokens=context, seed=spec.seed)
        self._check_tokenizer()
        self._tokens_per_step = spec.batch_windows * context
        checkpoint, remarks = load_newest(Path(spec.checkpoint_folder), version=spec.version)
        self.hardware = self._hardware(checkpoint)
        torch.set_num_threads(self.hardware.num_threads)
        torch.manual_seed(spec.seed)
        self.network = Transformer(self.shape)
        self.network.initialise(spec.seed)
        self.network.compute_dtype = self.hardware.dtype
        self.network.to(self.hardware.device)
        self._optimizer = Optimizer(
            self.network,
            matrix_learning_rate=spec.matrix_learning_rate,
            embedding_learning_rate=spec.embedding_learning_rate,
            head_learning_rate=spec.head_learning_rate,
            vector_learning_rate=spec.vector_learning_rate,
            weight_decay=spec.weight_decay,
            dtype=self.hardware.dtype,
        )
        self._guard = SpikeGuard(sigma=spec.spike_sigma)
        self._history: list[dict[str, Any]] = []
        self._step = 0
        self._validation_loss: float | None = None
        self._console = Console(
            num_steps=spec.num_steps,
            tokens_per_step=self._tokens_per_step,
            flops_per_token=self.shape.flops_per_token,
            peak=peak_flops(self.hardware.device),
            pipes=pipes,
        )
        for remark in remarks:
            self._console.note(remark)
        if checkpoint is not None:
            self._restore(checkpoint)
        self._loss_of = torch.compile(self.network, dynamic=False) if self.hardware.compiled else self.network

    def run(self) -> None:
        """Trains to the end and saves the model.

        Raises:
            TrainingInterrupted: asked to stop; a checkpoint was saved.
            TrainingDiverged: see `train_step`.
            StorageError: a checkpoint could not be saved.
        """
        spec = self.spec
        self._spool = Spool(Path(spec.spool_folder))
        self._spool.start(spec.tracking, {**self._params(), "resumed_at_step": self._step})
        status = "FAILED"
        try:
            self._announce()
            self._train()
            self._save_model()
            status = "FINISHED"
        except TrainingInterrupted:
            status = "KILLED"
            raise
        finally:
            self._spool.finish(status)

    def _train(self) -> None:
        spec = self.spec
        last_saved = time.monotonic()
        timings: list[dict[str, float]] = []
        self._console.begin(self._step)
        while self._step < spec.num_steps:
            self._end_if_asked()
            scale = self._scale(self._step)
            windows = torch.from_numpy(self._loader.batch(self._step * spec.batch_windows, spec.batch_windows))
            result = train_step(
                self._loss_of,
                self.network,
                self._optimizer,
                self._guard,
                windows.to(self.hardware.device, non_blocking=True),
                step=self._step,
                micro_windows=spec.micro_windows,
                scale=scale,
                gradient_clip=spec.gradient_clip,
                max_skipped_steps=spec.max_skipped_steps,
            )
            self._step += 1
            is_last = self._step == spec.num_steps
            validated = self._validate() if is_last or self._step % spec.validate_every_steps == 0 else None
            self._record(result, scale, validated)
            self._console.step(self._step, loss=result.loss, scale=scale)
            timings.append(
                {"step": self._step, "seconds": time.monotonic(), "tokens_per_second": self._console.rate(self._step)}
            )
            by_steps = spec.checkpoint_every_steps and self._step % spec.checkpoint_every_steps == 0
            if is_last or by_steps or time.monotonic() - last_saved > spec.checkpoint_every_seconds:
                self._save_checkpoint()
                last_saved = time.monotonic()
        lines = "".join(json.dumps(row) + "\n" for row in timings)
        write_text(Path(spec.output_folder) / "timings.jsonl", lines)

    def _end_if_asked(self) -> None:
        reason = self._stop.reason
        if reason is not None:
            self._save_checkpoint()
            raise TrainingInterrupted(
                f"Training of {self.spec.name} stopped at step {self._step} of {self.spec.num_steps} ({reason}); a checkpoint is "
                "saved, running again goes on from there."
            )

    def _record(self, result: StepResult, scale: float, validation_loss: float | None) -> None:
        """Every step goes into the history; the tracker gets every n-th and each validation."""
        row = {
            "step": self._step,
            "tokens": self._step * self._tokens_per_step,
            "train_loss": result.loss,
            "validation_loss": validation_loss,
            "gradient_norm": result.gradient_norm,
            "learning_rate_scale": scale,
            "skipped": result.skipped,
        }
        self._history.append(row)
        if result.skipped:
            self._console.note(
                f"step {self._step}: skipped a spike (loss {result.loss:.3f}, gradient norm {result.gradient_norm:.3f})"
            )
        if validation_loss is None and self._step % self.spec.log_every_steps and self._step < self.spec.num_steps:
            return
        metrics = {
            "train/loss": result.loss,
            "train/gradient_norm": result.gradient_norm,
            "train/learning_rate_scale": scale,
            "train/tokens": float(row["tokens"] or 0),
            "train/tokens_per_second": self._console.rate(self._step),
            "train/skipped_steps": float(self._guard.num_skipped),
        }
        if validation_loss is not None:
            metrics["validation/loss"] = validation_loss
        self._spool.metrics(self._step, metrics)

    @torch.no_grad()
    def _validate(self) -> float:
        """Mean loss over the first windows of the validation split, always the same ones."""
        count = min(self.spec.validation_windows, self._validation.num_windows)
        size = min(self.spec.micro_windows, count)
        total = 0.0
        for first in range(0, count, size):
            rows = min(size, count - first)
            windows = torch.from_numpy(self._validation.in_order(first, rows)).to(self.hardware.device)
            # a last batch of another size would be compiled anew; the plain network takes it
            loss_of = self._loss_of if rows == self.spec.micro_windows else self.network
            total += loss_of(windows[:, :-1], windows[:, 1:]).item() * rows
        loss = total / count
        self._validation_loss = loss
        self._console.note(f"step {self._step}/{self.spec.num_steps}: validation loss {loss:.4f}")
        return loss

    def _save_checkpoint(self) -> None:
        random = {"cpu": torch.get_rng_state()}
        if self.hardware.device == "cuda":
            random["cuda"] = torch.cuda.get_rng_state()
        state = {
            "guard": self._guard.state(),
            "history": self._history,
            "hardware": asdict(self.hardware),
            "validation_loss": self._validation_loss,
        }
        tensors = {"model": self._own_parameters(), "optimizer": self._optimizer.state(), "random": random}
        checkpoint = Checkpoint(step=self._step, tensors=tensors, state=state)
        folder = Path(self.spec.checkpoint_folder)
        save_checkpoint(folder, checkpoint, version=self.spec.version, keep=self.spec.keep_checkpoints)

    def _own_parameters(self) -> dict[str, torch.Tensor]:
        """By name, a tied table once."""
        return {name: parameter.data for name, parameter in self.network.named_parameters()}

    def _restore(self, checkpoint: Checkpoint) -> None:
        own = self._own_parameters()
        for name, tensor in checkpoint.tensors["model"].items():
            own[name].copy_(tensor)
        self._optimizer.load_state(checkpoint.tensors["optimizer"])
        torch.set_rng_state(checkpoint.tensors["random"]["cpu"])
        if self.hardware.device == "cuda":
            torch.cuda.set_rng_state(checkpoint.tensors["random"]["cuda"])
        self._guard.load_state(checkpoint.state["guard"])
        self._history = checkpoint.state["history"]
        self._validation_loss = checkpoint.state["validation_loss"]
        self._step = checkpoint.step
        self._console.note(f"goes on from the checkpoint at step {self._step}")

    def _save_model(self) -> None:
        spec = self.spec
        output = Path(spec.output_folder)
        shards = self._loader.shards
        model = TransformerModel(
            self.network,
            tokenizer_hash=shards.tokenizer_hash,
            bos_id=shards.bos_id,
            eos_id=shards.eos_id,
            pad_id=shards.pad_id,
        )
        model.save(output / "model")
        shutil.copyfile(spec.tokenizer_file, output / "model" / "tokenizer.model")
        write_text(output / "history.jsonl", "".join(json.dumps(row, sort_keys=True) + "\n" for row in self._history))
        write_json(
            output / "training.json",
            {
                "num_parameters": self.shape.num_parameters,
                "steps": self._step,
                "tokens": self._step * self._tokens_per_step,
                "batch_tokens": self._tokens_per_step,
                "final_train_loss": sum(row["train_loss"] for row in self._history[-20:]) / len(self._history[-20:]),
                "final_validation_loss": self._validation_loss,
                "skipped_steps": self._guard.num_skipped,
                "epochs": self._step * spec.batch_windows / self._loader.num_windows,
                **{key: value for key, value in asdict(self.hardware).items() if key != "num_threads"},
            },
        )

    def _scale(self, step: int) -> float:
        spec = self.spec
        return learning_rate_scale(
            step,
            num_steps=spec.num_steps,
            warmup_fraction=spec.warmup_fraction,
            cooldown_fraction=spec.cooldown_fraction,
        )

    def _hardware(self, checkpoint: Checkpoint | None) -> Hardware:
        """What the run began with, as long as this machine has it; bits depend on it."""
        spec = self.spec
        flops = 1.0 * self.shape.flops_per_token * self._tokens_per_step * spec.num_steps
        chosen = choose_hardware(device=spec.device, precision=spec.precision, compile=spec.compile, total_flops=flops)
        if checkpoint is None:
            return chosen
        began = Hardware(**checkpoint.state["hardware"])
        return began if began.device == chosen.device else chosen

    def _check_tokenizer(self) -> None:
        found = Tokenizer.load(Path(self.spec.tokenizer_file)).hash
        expected = self._loader.shards.tokenizer_hash
        if found != expected:
            raise TrainingError(
                f"{self.spec.name}: the tokenizer has the hash {found[:12]}, its shards were made with {expected[:12]}. Build "
                "the shards again with this tokenizer."
            )

    def _params(self) -> dict[str, Any]:
        hidden = (
            "tracking",
            "shape",
            "shards_folder",
            "tokenizer_file",
            "output_folder",
            "checkpoint_folder",
            "spool_folder",
        )
        own = {key: value for key, value in asdict(self.spec).items() if key not in hidden}
        return {**own, **self.spec.shape, **asdict(self.hardware), "num_parameters": self.shape.num_parameters}

    def _announce(self) -> None:
        spec, hardware = self.spec, self.hardware
        epochs = spec.num_steps * spec.batch_windows / self._loader.num_windows
        compiled = ", compiled" if hardware.compiled else ""
        self._console.note(
            f"{spec.name}: {self.shape.num_parameters:,} parameters, {spec.num_steps * self._tokens_per_step:,} tokens "
            f"({epochs:.2f} epochs) in {spec.num_steps} steps of {self._tokens_per_step:,} on {hardware.device}, "
            f"{hardware.precision}{compiled}, {hardware.num_threads} threads"
        )
        if epochs > 4:
            self._console.note("more than four epochs over the data: expect little from the repetitions")
