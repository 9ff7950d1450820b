"""The program of a registered model: MLflow runs this file to make the model ("models from code"), so no pickle.

In: a table with the column `prompt`, and generation parameters. Out: for each prompt its continuation, or of a model of pairs
what it writes for that text.
It needs torch, numpy, pyarrow, safetensors and sentencepiece; Textmill's own code travels with the model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class TextmillModel(PythonModel):
    """A language model of any family."""

    def load_context(self, context: PythonModelContext) -> None:
        """Reads weights and tokenizer from the model's own files."""
        from pipeline.evaluation.pair_model import load_writer

        pairs = context.artifacts.get("pairs")
        self.writer = load_writer(Path(context.artifacts["model"]), None if pairs is None else Path(pairs))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[str]:
        """The continuation of every prompt, or the target of every text; MLflow fills in the defaults of the signature."""
        prompts: list[str] = []
        for cell in model_input["prompt"]:  # MLflow turns {"prompt": [a, b]} into one row that holds a list
            prompts += [cell] if isinstance(cell, str) else list(cell)
        asked_for = {name: value for name, value in (params or {}).items() if value != self.writer.defaults.get(name)}
        return self.writer.answer(prompts, asked_for)


mlflow.models.set_model(TextmillModel())
