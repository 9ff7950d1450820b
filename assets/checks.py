"""The blocking checks: what must hold before anything downstream may use an asset."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise

from assets.building import Check, CheckOutcome
from pipeline.artifacts import Artifact
from pipeline.config import Project
from pipeline.corpus.expectation import judge_kept
from pipeline.errors import StageError, TextmillError
from pipeline.files import sha256_file
from pipeline.records import Ledger

RISE_OF_CHANCE = 2.0
"""Standard deviations that a loss may rise by: beyond is no chance, one time in forty excepted."""


def _ledger_balances(project: Project, artifact: Artifact) -> CheckOutcome:
    ledger = Ledger.from_json(artifact.manifest.counts["ledger"])
    try:
        ledger.check(str(artifact.ref))
    except StageError as error:
        return CheckOutcome(passed=False, sentence=str(error))
    rejected = ledger.taken.documents - ledger.kept.documents
    sentence = (
        f"{ledger.taken.documents} documents in = {ledger.kept.documents} kept + {rejected} rejected, bytes alike."
    )
    return CheckOutcome(passed=True, sentence=sentence)


def _kept_in_range(project: Project, artifact: Artifact) -> CheckOutcome:
    passed, sentence = judge_kept(artifact, project.corpora[artifact.ref.name].expect)
    return CheckOutcome(passed=passed, sentence=sentence)


def _text_comes_back(project: Project, artifact: Artifact) -> CheckOutcome:
    counts = artifact.manifest.counts
    failures, total = counts["round_trip_failures"], counts["num_documents"]
    sentence = f"{total - failures} of {total} held-out documents come back as they were."
    if not counts["lossless"]:
        return CheckOutcome(
            passed=True, sentence=f"{sentence} This tokenizer need not be lossless, so this is for information."
        )
    return CheckOutcome(passed=failures == 0, sentence=sentence)


def _digests_match(project: Project, artifact: Artifact) -> CheckOutcome:
    files = [entry for entry in artifact.manifest.files if entry.path.endswith(".tokens")]
    broken = [entry.path for entry in files if sha256_file(artifact.folder / entry.path) != entry.sha256]
    if broken or not files:
        return CheckOutcome(
            passed=False, sentence=f"{', '.join(broken) or 'no shard'} does not match; run again to rebuild."
        )
    return CheckOutcome(passed=True, sentence=f"{len(files)} shards match their sha256.")


def _loss_fell(project: Project, artifact: Artifact) -> CheckOutcome:
    import pyarrow.parquet as pq

    losses = pq.read_table(artifact.file("history.parquet"), columns=["train_loss"])["train_loss"].to_pylist()
    if not losses or not all(math.isfinite(loss) for loss in losses):
        return CheckOutcome(passed=False, sentence="The training loss is not finite everywhere.")
    if len(losses) == 1:
        return CheckOutcome(passed=True, sentence=f"The training loss is {losses[0]:.3f} nats a token, measured once.")
    tenth = max(1, len(losses) // 10)
    first, last = sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth
    # what begins with learnt weights falls by less than one batch differs from the next
    differences = [later - earlier for earlier, later in pairwise(losses)]
    noise = statistics.pstdev(differences) / tenth**0.5  # of the two means' difference: each step has 1 / sqrt(2) of it
    said = f"The training loss went from {first:.3f} to {last:.3f} nats a token"
    if last < first + RISE_OF_CHANCE * noise:
        return CheckOutcome(passed=True, sentence=f"{said}.")
    return CheckOutcome(
        passed=False,
        sentence=f"{said}, by more than its batches differ. Lower the learning rates, and look at the data.",
    )


def _beats_unigram(project: Project, artifact: Artifact) -> CheckOutcome:
    counts = artifact.manifest.counts
    model, unigram = counts["bits_per_byte"], counts["unigram_bits_per_byte"]
    passed = math.isfinite(model) and model < unigram
    return CheckOutcome(passed=passed, sentence=f"{model:.3f} bits per byte; counting words alone gives {unigram:.3f}.")


def _loads_and_generates(project: Project, artifact: Artifact) -> CheckOutcome:
    import json

    from pipeline.registry.connection import tracking_uri
    from pipeline.serving.generate import load_champion

    version = json.loads(artifact.file("registration.json").read_text(encoding="utf-8"))["version"]
    reference = f"{artifact.ref.name}/{version}"
    try:
        model = load_champion(reference, tracking_uri(project.storage_folder))
        (text,) = model.generate([""], {"max_new_tokens": 8})
    except TextmillError as error:
        return CheckOutcome(passed=False, sentence=str(error))
    return CheckOutcome(
        passed=isinstance(text, str), sentence=f"{reference} loads from the registry and writes {text!r}."
    )


LEDGER = Check(name="ledger_balances", description="In = kept + rejected by reason.", judge=_ledger_balances)
KEPT_RANGE = Check(name="kept_in_range", description="As much is kept as `expect` says.", judge=_kept_in_range)
ROUND_TRIP = Check(
    name="text_comes_back", description="Decoding undoes encoding on held-out text.", judge=_text_comes_back
)
DIGESTS = Check(name="digests_match", description="Shards have the sha256 of their manifest.", judge=_digests_match)
LEARNT = Check(
    name="loss_fell", description="The training loss is finite, and rose by no more than chance.", judge=_loss_fell
)
BEATS_UNIGRAM = Check(name="beats_unigram", description="Better than word frequencies alone.", judge=_beats_unigram)
GENERATES = Check(name="loads_and_generates", description="The registry's copy works.", judge=_loads_and_generates)
