"""What can go wrong, as one tree.

TextmillError                 every error an operator can mend; its text is one sentence: what, where, what to do
├── ConfigurationError        the project file says something impossible
├── InputError                a source, a document or a text cannot be read as asked
├── ArtifactError             something under the storage folder is missing, damaged or does not fit
│   ├── ArtifactMissing       it was never built, or not for today's settings
│   └── ArtifactDamaged       it does not match its manifest; it was moved aside, and running again rebuilds it
├── StorageError              the storage folder is full, read-only or locked
├── StageError                a stage ran and its result breaks a promise (an unbalanced ledger, an empty split)
├── TrainingError             training stopped and says why; the last good checkpoint is intact
│   ├── TrainingDiverged      a loss that is not finite, or a spike that stays: never retried
│   └── TrainingInterrupted   it was asked to stop and saved a checkpoint; running again resumes
└── RegistryError             the tracking server or the registry refused or cannot be reached

Callers' mistakes (a wrong shape, a negative count) are ValueError; broken invariants of our own are assert.
"""

from __future__ import annotations


class TextmillError(Exception):
    """An error an operator can mend; the message is one sentence."""


class ConfigurationError(TextmillError):
    """The project file says something impossible."""


class InputError(TextmillError):
    """A source, a document or a text cannot be read as asked."""


class ArtifactError(TextmillError):
    """Something under the storage folder is missing, damaged or does not fit."""


class ArtifactMissing(ArtifactError):
    """An artifact was never built, or not for today's settings."""


class ArtifactDamaged(ArtifactError):
    """An artifact does not match its manifest."""


class StorageError(TextmillError):
    """The storage folder is full, read-only or locked."""


class StageError(TextmillError):
    """A stage's result breaks a promise."""


class TrainingError(TextmillError):
    """Training stopped; the last good checkpoint is intact."""


class TrainingDiverged(TrainingError):
    """The loss is not finite or spiked and stayed there; running again would repeat it."""


class TrainingInterrupted(TrainingError):
    """Training was asked to stop and saved a checkpoint; running again resumes."""


class RegistryError(TextmillError):
    """The tracking server or the registry refused or cannot be reached."""
