"""The program of a registered model: MLflow runs this file to make the model ("models from code"), so no pickle.

In: a table with the column `prompt`, and generation parameters. Out: for each prompt, its continuation.
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
        from pipeline.models.loading import load_model
        from pipeline.tokenizer.model import Tokenizer

        folder = Path(context.artifacts["model"])
        self.model = load_model(folder)
        self.tokenizer = Tokenizer.load(folder / "tokenizer.model")

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[str]:
        """The continuation of every prompt."""
        from pipeline.evaluation.continuation import continue_texts, generation_parameters

        parameters = generation_parameters(self.tokenizer, params)
        prompts: list[str] = []
        for cell in model_input["prompt"]:  # MLflow turns {"prompt": [a, b]} into one row that holds a list
            prompts += [cell] if isinstance(cell, str) else list(cell)
        return continue_texts(self.model, self.tokenizer, prompts, parameters)


mlflow.models.set_model(TextmillModel())
