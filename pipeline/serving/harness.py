"""lm-evaluation-harness drives any model: a registered one, or a model folder, on task files of this machine.

In: a model that knows how it is asked. Out: what the harness asks of an `LM`: log-likelihoods of continuations, of whole texts,
and texts written until a mark. Needs the extra `lm_eval`; nothing here is imported without it.

- A continuation is scored by `evaluation.targets`, a whole text by `evaluation.scoring`, so the harness's `bits_per_byte` is
  ours: a text is conditioned on BOS once, which some tokenizers add twice (EleutherAI/lm-evaluation-harness#3333).
- A model of pairs is asked through its template, where a task's own delimiter has no place.
- Tasks come from a folder (`TaskManager(include_path=, include_defaults=False)`), so nothing is fetched.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from pipeline.errors import InputError
from pipeline.evaluation.scoring import score_documents
from pipeline.evaluation.targets import score_targets

if TYPE_CHECKING:
    from pipeline.evaluation.pair_model import PairModel, TextModel

_LN2 = math.log(2.0)
_NO_METRICS = ("sample_len",)
_TOO_FEW_EXAMPLES = re.compile("larger than population|number of fewshot samples|no documents available for sampling")
"""How the harness says, by ValueError or assertion, that it has not as many examples as are to be shown."""


class HarnessModel(LM):  # type: ignore[misc]  # the harness is untyped
    """A model of this project as the harness sees one."""

    def __init__(self, writer: TextModel | PairModel) -> None:
        super().__init__()
        self._writer = writer

    @property
    def tokenizer_name(self) -> str:
        """Names the tokenizer in the harness's cache."""
        return self._writer.tokenizer.hash

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """(log-probability, would it have been written) of each continuation after its context.

        Raises:
            InputError: an encoder-decoder.
        """
        self._refuse_encoder_decoder()
        found = score_targets(self._writer, [(str(a), str(b)) for a, b in _arguments(requests)])
        return [
            (-bits * _LN2, greedy) for bits, greedy in zip(found.bits.tolist(), found.is_greedy.tolist(), strict=True)
        ]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Log-probability of each text after BOS, whatever its length.

        Raises:
            InputError: an encoder-decoder.
        """
        self._refuse_encoder_decoder()
        found = score_documents(
            self._writer.model, self._writer.tokenizer, [str(text) for (text,) in _arguments(requests)]
        )
        return [-bits * _LN2 for bits in found.bits.tolist()]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The continuation of each context, up to the first of its marks; greedy unless the task asks for draws. A decoder that
        learnt pairs writes no more than leaves it half its context for the text, whatever the task allows."""
        return [self._written(str(context), settings) for context, settings in _arguments(requests)]

    def _refuse_encoder_decoder(self) -> None:
        if self._writer.model.is_encoder_decoder:
            raise InputError(
                f"harness: a model of the family {self._writer.model.family} answers tasks that have it write (generate_until), "
                "and this one asks how likely given text is. Choose such a task, or a decoder-only model."
            )

    def _written(self, context: str, settings: Mapping[str, Any]) -> str:
        draws = bool(settings.get("do_sample"))
        chosen = {
            "max_new_tokens": self._writer.most_new_tokens(
                settings.get("max_gen_toks", self._writer.defaults["max_new_tokens"])
            ),
            "temperature": settings.get("temperature", 1.0) if draws else 0.0,
            "top_k": settings.get("top_k", 0),
            "top_p": settings.get("top_p", 1.0),
        }
        (text,) = self._writer.answer([context], chosen)
        marks = settings.get("until") or []
        for mark in [marks] if isinstance(marks, str) else marks:
            text = text.split(mark)[0]
        return text


def _arguments(requests: list[Instance]) -> list[tuple[Any, ...]]:
    return [request.args for request in requests]


def run_harness(
    model: HarnessModel,
    *,
    include: Path,
    tasks: Sequence[str],
    num_fewshot: int | None = None,
    limit: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Task -> metric -> value, of the tasks that the YAML files under `include` define.

    Raises:
        InputError: no such folder, a task that no file there defines, or one with fewer examples than are to be shown.
    """
    from lm_eval import evaluator
    from lm_eval.tasks import TaskManager

    if not include.is_dir():
        raise InputError(f"{include} is no folder of task files. Name one with --include.")
    manager = TaskManager(include_path=str(include), include_defaults=False)
    missing = sorted(set(tasks) - set(manager.all_tasks))
    if missing:
        known = ", ".join(sorted(manager.all_tasks)) or "none"
        raise InputError(f"{include} defines no task {missing[0]!r}; it defines {known}. Correct the name.")
    evaluator.get_git_commit_hash = lambda: None  # not shown, and git complains on the terminal outside a repository
    try:
        found = evaluator.simple_evaluate(
            model=model,
            tasks=list(tasks),
            task_manager=manager,
            num_fewshot=num_fewshot,
            limit=limit,
            bootstrap_iters=100,
        )
    except (ValueError, AssertionError) as error:
        if _TOO_FEW_EXAMPLES.search(str(error)) is None:
            raise
        asked = "--few-shot asks for" if num_fewshot is not None else "its file asks for"
        raise InputError(
            f"harness: a task has fewer examples to show before each question than {asked}. Lower it with --few-shot."
        ) from error
    results: dict[str, dict[str, Any]] = json.loads(json.dumps(found["results"], default=str))
    return {
        task: {
            key.removesuffix(",none"): value
            for key, value in figures.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and key not in _NO_METRICS
        }
        for task, figures in results.items()
    }
