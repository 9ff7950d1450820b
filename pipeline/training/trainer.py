"""The training loop: from a spec to a saved model, resumable at every step.

In: token shards. Out: what `results.py` writes; checkpoints and the metric spool in folders of their own. On one machine the
result is a function of the spec: interrupted and resumed runs end with the same bits.

The weights and everything else that the next step depends on change in one place, at the end of a step; a stop in the middle
of one drops its gradients. The host reads a step's figures at once on a CPU, and every few steps on a GPU, which it would
otherwise make wait.
"""

from __future__ import annotations

import gc
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import TrainingError, TrainingInterrupted
from pipeline.tokenizer.model import Tokenizer
from pipeline.training import random_state
from pipeline.training.averaging import average_of
from pipeline.training.beginning import hold, load_start
from pipeline.training.checkpoint import Checkpoint, load_best, load_newest, save_checkpoint
from pipeline.training.console import Console
from pipeline.training.data import Batch
from pipeline.training.distributed import ALONE, Alone
from pipeline.training.families import Network, cpu_forward_tokens, network_of, shape_of
from pipeline.training.guard import SpikeGuard
from pipeline.training.hardware import (
    Hardware,
    choose_device,
    choose_hardware,
    halved,
    peak_flops,
    resumed,
    same_device,
)
from pipeline.training.history import History
from pipeline.training.keeping import Keep
from pipeline.training.monitor import Monitor
from pipeline.training.open_data import open_data
from pipeline.training.optimizer import optimizer_of
from pipeline.training.prefetch import Prefetcher
from pipeline.training.profiling import Profile
from pipeline.training.results import params_of, write_results
from pipeline.training.sample import sample_text
from pipeline.training.schedule import learning_rate_scale
from pipeline.training.spec import EPOCHS_WORTH_READING, TrainingSpec
from pipeline.training.spool import Spool
from pipeline.training.step import accumulate, is_out_of_memory, train_step
from pipeline.training.stopping import StopRequest
from pipeline.training.warmup import loss_function, make_ready


class Trainer:
    """One run; `run` returns when the model is saved."""

    def __init__(self, spec: TrainingSpec, stop: StopRequest, pipes: Any = None, ranks: Alone = ALONE) -> None:
        """Opens data, builds the network, and takes up the newest checkpoint; `ranks` are the processes that train together.

        Raises:
            TrainingError: the data do not fit the spec, or a checkpoint belongs to another run.
        """
        self.spec, self._stop, self._ranks = spec, stop, ranks
        self._started = time.monotonic()
        self.shape = shape_of(spec.family, spec.shape)
        self._data = open_data(spec, self.shape)
        self._tokens_per_step = self._data.tokens_per_step
        self._console = Console(
            num_steps=spec.num_steps,
            tokens_until=self._data.tokens,
            flops_per_token=self.shape.flops_per_token,
            pipes=pipes,
            is_silent=not ranks.is_first,
        )
        random_state.seed_all(spec.seed)
        self.network = self._new_network()
        ranks.place(self.network, choose_device(spec.device))
        self._parameters = {name: ranks.own(parameter).data for name, parameter in self.network.named_parameters()}
        checkpoint, remarks = load_newest(
            Path(spec.checkpoint_folder), version=spec.version, identity=self._identity(), ranks=ranks
        )
        for remark in (*self._data.remarks, *remarks):
            self._console.note(remark)
        self.hardware = self._choose_hardware(checkpoint)
        torch.set_num_threads(self.hardware.num_threads)
        self.network.compute_dtype = self.hardware.dtype
        self._optimizer = optimizer_of(spec, self.network, dtype=self.hardware.dtype, ranks=ranks)
        self._guard = SpikeGuard(
            sigma=spec.spike_sigma, max_skipped_steps=spec.max_skipped_steps, device=self.hardware.device
        )
        trained = {name for name, parameter in self.network.named_parameters() if parameter.requires_grad}
        self._average = average_of(spec, {name: self._parameters[name] for name in self._parameters if name in trained})
        peak = peak_flops(self.hardware.device)
        self._peak = None if peak is None else peak * ranks.size
        self._monitor = Monitor(device=self.hardware.device)
        self._history = History(
            spec,
            console=self._console,
            monitor=self._monitor,
            scale_at=self._scale,
            tokens_until=self._data.tokens,
            flops_per_token=self.shape.flops_per_token,
            peak=self._peak,
        )
        self._best_loss: float | None = None
        self._step = 0
        if checkpoint is not None:
            self._restore(checkpoint)
        self._loss_of = loss_function(self.network, compiled=False)
        self._profile = Profile(spec.profile_steps if ranks.is_first else None, Path(spec.spool_folder))
        self._ahead = Prefetcher(self._batch_of, prepare=same_device(self.hardware.device))
        self._tokenizer = Tokenizer.load(Path(spec.tokenizer_file))

    def _new_network(self) -> Network:
        """As the spec begins: random weights or those of its starting point, some of them frozen, adapters added."""
        network = network_of(self.shape)
        network.initialise(self.spec.seed)
        if self.spec.start_folder is not None:
            load_start(network, Path(self.spec.start_folder))
        hold(network, parts=self.spec.freeze, lora=self.spec.lora, seed=self.spec.seed)
        return network

    def run(self) -> None:
        """Trains to the end and saves the model.

        Raises:
            TrainingInterrupted: asked to stop; a checkpoint was saved.
            TrainingDiverged: the loss is not finite, or spikes.
            StorageError: a checkpoint could not be saved.
        """
        spec = self.spec
        with self._stop.nothing_to_lose():
            if self._step < spec.num_steps or self._lacks_validation():
                self._warm_up()
        self._spool = Spool(Path(spec.spool_folder) if self._ranks.is_first else None)
        self._spool.start(spec.tracking, params_of(spec, self.hardware, self.shape))
        status = "FAILED"
        try:
            self._announce()
            if spec.started_from is not None and self._history.start_loss is None:
                self._history.add_start(self._spool, self._validate())
            self._train()
            self._save_checkpoint()
            result_step = self._take_best() if spec.result == "best" else self._step
            if self._average is not None:
                self._average.put_in_place()
            network = self._ranks.whole(self.network, self._new_network)
            if self._ranks.is_first:
                write_results(
                    spec,
                    network,
                    hardware=self.hardware,
                    history=self._history.rows,
                    timings=self._history.timings,
                    earlier_seconds=self._history.earlier_seconds,
                    data=self._data,
                    start_loss=self._history.start_loss,
                    result_step=result_step,
                )
            status = "FINISHED"
        except TrainingInterrupted:
            status = "KILLED"
            raise
        finally:
            self._ahead.close()
            self._end_profile(self._profile.close())
            self._console.close()
            self._spool.finish(status)

    def _train(self) -> None:
        spec = self.spec
        self._console.begin(self._step, peak=self._peak)
        self._monitor.restart()
        # whoever works ahead would only disturb a CPU that trains
        next_batch = self._ahead.get if self.hardware.device == "cuda" else self._batch_of
        last_saved = time.monotonic()
        if self._lacks_validation():
            loss = self._validate()
            self._history.add_validation(self._spool, loss)
            self._look_at_validations()
            self._save_if_best(loss)
        while self._step < spec.num_steps:
            self._profile.before(self._step + 1)
            with self._monitor.waiting_for_data():
                batch = next_batch(self._step)
            row = self._take_step(batch)
            self._step += 1
            self._end_profile(self._profile.after())
            if self._average is not None:
                self._average.update(self._step)
            self._history.add(self._step, row)
            if self._is_to_validate():
                loss = self._validate()
                self._read_figures(validation_loss=loss)
                self._look_at_validations()
                self._write_sample()
                self._save_if_best(loss)
            elif self.hardware.device == "cpu" or self._history.num_unread >= spec.log_every_steps:
                self._read_figures()
            self._console.step(self._step)
            self._history.add_time(self._step)
            by_steps = spec.checkpoint_every_steps and self._step % spec.checkpoint_every_steps == 0
            if by_steps or self._ranks.from_first(time.monotonic() - last_saved > spec.checkpoint_every_seconds):
                self._save_checkpoint()
                last_saved = time.monotonic()

    def _take_step(self, batch: Batch) -> Tensor:
        """One update. Where its forward passes do not fit the memory any more, it is done again with smaller ones.

        Raises:
            TrainingError: not even one row fits.
        """
        while True:
            random_state.seed_step(self.spec.seed, self._step, self._ranks.rank)
            try:
                return train_step(
                    self._loss_of,
                    self.network,
                    self._optimizer,
                    self._guard,
                    batch,
                    micro_rows=self._micro_rows(batch),
                    scale=self._scale(self._step),
                    gradient_clip=self.spec.gradient_clip,
                    between=self._end_if_asked,
                    ranks=self._ranks,
                )
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self.network.zero_grad(set_to_none=True)
                self.hardware = halved(self.hardware, step=self._step + 1, num_processes=self._ranks.size, error=error)
            self._console.note(
                f"step {self._step + 1}: out of memory; forward passes of {self.hardware.micro_windows} windows from now on, "
                "with which last bits differ"
            )

    def _is_to_validate(self) -> bool:
        return self._step == self.spec.num_steps or self._step % self.spec.validate_every_steps == 0

    def _lacks_validation(self) -> bool:
        """Whether the run that saved the checkpoint was stopped while it validated."""
        return self._step > 0 and self._is_to_validate() and self._history.last_validation_loss is None

    def _batch_of(self, step: int) -> Batch:
        return self._data.batch(step).to(self.hardware.device)

    def _micro_rows(self, batch: Batch) -> int:
        """Rows a forward pass: as many tokens as the windows of the hardware have."""
        return batch.rows_within(self.hardware.micro_windows * self.shape.context_tokens)

    def _end_if_asked(self) -> None:
        reason = self._ranks.agreed(self._stop.reason)
        if reason is not None:
            self._save_checkpoint()
            raise TrainingInterrupted(
                f"Training of {self.spec.name} {reason} and stopped at step {self._step} of {self.spec.num_steps}; a "
                "checkpoint is saved, running again goes on from there."
            )

    def _read_figures(self, *, validation_loss: float | None = None) -> None:
        self._history.read(self._spool, replay=self._replay, validation_loss=validation_loss)

    def _replay(self, step: int) -> tuple[Tensor, Tensor]:
        """Loss and gradient norm of a step that was masked out, again: the weights are still those before it."""
        batch = self._batch_of(step - 1)
        random_state.seed_step(self.spec.seed, step - 1, self._ranks.rank)
        return accumulate(self._loss_of, self.network, batch, micro_rows=self._micro_rows(batch), ranks=self._ranks)

    def _validate(self) -> float:
        """Mean loss over the targets of validation, of the averaged weights where there are some."""
        if self._average is None:
            return self._validation_loss()
        self._average.put_in_place()
        try:
            return self._validation_loss()
        finally:
            self._average.take_back()

    def _validation_loss(self) -> float:
        num_targets = 0
        total = torch.zeros((), dtype=torch.float64, device=self.hardware.device)
        for batch in self._data.validation():
            num_targets += batch.num_targets
            rows = self._micro_rows(batch)
            for micro, share in self._ranks.micro_batches(batch.to(self.hardware.device), rows):
                self._end_if_asked()
                if self.hardware.compiled and micro.num_rows == rows and self.shape.dropout == 0:
                    # with gradients and without are two programs to a compiler: the one that is there is used
                    with self._ranks.backward_pass(is_last=False):
                        loss = self._loss_of(*micro.inputs, micro.targets).detach()
                else:
                    self.network.eval()  # no dropout
                    with torch.no_grad():
                        loss = self.network(*micro.inputs, micro.targets)
                    self.network.train()
                total += loss * micro.num_targets if share else 0.0
        mean = float(self._ranks.total(total)) / num_targets
        self._ranks.settle()
        self._console.note(f"step {self._step}/{self.spec.num_steps}: validation loss {mean:.4f}")
        return mean

    def _look_at_validations(self) -> None:
        if self._average is not None:
            self._average.shares.look_at(self._history.rows)

    def _write_sample(self) -> None:
        if self._ranks.is_sharded or not self._ranks.is_first:
            return
        text = sample_text(self.network, self._tokenizer, self._data.opening)
        if text is None:
            return
        self._spool.text(f"samples/step-{self._step:08d}.txt", text)
        self._console.note(f"step {self._step}/{self.spec.num_steps}: it writes {' '.join(text.split())[:160]!r}")

    def _end_profile(self, trace: Path | None) -> None:
        if trace is not None:
            self._console.note(f"the profile of steps is in {trace}; open it with ui.perfetto.dev")

    def _save_if_best(self, loss: float) -> None:
        if self.spec.keep_best_checkpoint and (self._best_loss is None or loss < self._best_loss):
            self._best_loss = loss
            self._save_checkpoint()

    def _save_checkpoint(self) -> None:
        self._read_figures()
        if self._average is not None:
            self._average.take_back()  # a stop may come in the middle of validation
        tensors, values = random_state.capture(self.hardware.device)
        checkpoint = Checkpoint(
            step=self._step,
            tensors={
                "model": self._parameters,
                "optimizer": self._optimizer.state() | (self._average.state() if self._average is not None else {}),
                "guard": self._guard.state(),
                "random": tensors,
            },
            state={
                **self._history.state(),
                "random": values,
                "hardware": asdict(self.hardware),
                "seconds": self._history.earlier_seconds + time.monotonic() - self._started,
            },
            validation_loss=self._history.last_validation_loss,
        )
        save_checkpoint(
            Path(self.spec.checkpoint_folder),
            checkpoint,
            version=self.spec.version,
            identity=self._identity(),
            keep=Keep(
                newest=self.spec.keep_checkpoints,
                every_steps=self.spec.keep_every_steps,
                best=self.spec.keep_best_checkpoint,
            ),
            ranks=self._ranks,
        )

    def _take_best(self) -> int:
        """The network gets the weights of the best validation; the step they are of.

        Raises:
            TrainingError: no checkpoint of a validation is whole.
        """
        best, remarks = load_best(
            Path(self.spec.checkpoint_folder), version=self.spec.version, identity=self._identity(), ranks=self._ranks
        )
        for remark in remarks:
            self._console.note(remark)
        if best is None:
            raise TrainingError(
                f"{self.spec.checkpoint_folder} holds no whole checkpoint of a validation of {self.spec.name}, whose best is "
                "asked for. Train again, or set train.result to last."
            )
        self._take_weights(best)
        self._console.note(
            f"the model is that of step {best.step}, with the least validation loss: {best.validation_loss:.4f}"
        )
        return best.step

    def _take_weights(self, checkpoint: Checkpoint) -> None:
        for name, tensor in checkpoint.tensors["model"].items():
            self._parameters[name].copy_(tensor)
        if self._average is not None:
            self._average.load_state(checkpoint.tensors["optimizer"])

    def _restore(self, checkpoint: Checkpoint) -> None:
        self._take_weights(checkpoint)
        self._optimizer.load_state(checkpoint.tensors["optimizer"])
        self._guard.load_state(checkpoint.tensors["guard"])
        random_state.restore(checkpoint.tensors["random"], checkpoint.state["random"], self.hardware.device)
        self._history.restore(checkpoint.state)
        self._look_at_validations()
        self._best_loss = self._history.least_validation_loss
        self._step = checkpoint.step
        self._console.note(f"goes on from the checkpoint at step {self._step}")

    def _scale(self, step: int) -> float:
        spec = self.spec
        return learning_rate_scale(
            step,
            num_steps=spec.num_steps,
            warmup_fraction=spec.warmup_fraction,
            cooldown_fraction=spec.cooldown_fraction,
            schedule=spec.schedule,
        )

    def _choose_hardware(self, checkpoint: Checkpoint | None) -> Hardware:
        """What the run began with, as long as this machine has it; bits depend on it."""
        spec = self.spec
        chosen = choose_hardware(
            device=spec.device,
            precision=spec.precision,
            compile=spec.compile,
            total_flops=1.0 * self.shape.flops_per_token * self._tokens_per_step * spec.num_steps,
            batch_windows=spec.batch_windows,
            micro_windows=spec.micro_windows,
            context_tokens=self.shape.context_tokens,
            cpu_forward_tokens=cpu_forward_tokens(self.shape),
            num_processes=self._ranks.size,
            strategy=self._ranks.strategy,
        )
        if checkpoint is None:
            return chosen
        hardware, remark = resumed(
            Hardware(**checkpoint.state["hardware"]),
            chosen=chosen,
            has_chosen_windows=spec.micro_windows is not None,
        )
        if remark is not None:
            self._console.note(remark)
        return hardware

    def _warm_up(self) -> None:
        if self.hardware.compiled:
            self._console.note("compiling")
        self._loss_of, self.hardware = make_ready(
            self.network,
            self.hardware,
            self._batch_of(self._step),
            may_halve=self._step == 0 and self.spec.micro_windows is None,
            may_give_up_compiling=self._step == 0 and self.spec.compile == "auto",
            note=self._console.note,
            ranks=self._ranks,
        )
        gc.collect()
        gc.freeze()  # what exists now stays: the collector need not visit it in every step

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint must share with this run, beside its version."""
        return {**self._data.identity, **self.spec.what_decides_the_weights()}

    def _announce(self) -> None:
        spec, hardware = self.spec, self.hardware
        epochs = self._data.epochs(spec.num_steps)
        compiled = ", compiled" if hardware.compiled else ""
        self._console.note(
            f"{spec.name}: {self.shape.num_parameters:,} parameters, {self._data.tokens(spec.num_steps):,} tokens "
            f"({epochs:.2f} epochs) in {spec.num_steps} steps of {self._tokens_per_step:,} on {hardware.devices}, "
            f"{hardware.precision}{compiled}, {hardware.num_threads} threads"
        )
        if epochs > EPOCHS_WORTH_READING:
            self._console.note(
                f"{epochs:.1f} epochs over the data: expect little from the repetitions after the fourth"
            )
