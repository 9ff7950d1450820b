"""Imported by the server that workers are forked from, and by nothing else: the data stages' code, and the tables it needs.

The language model and the table of folded letters take two seconds to make and 200 MB; made here they are made once a run,
while the run itself begins, and lie in memory once for all workers. PyArrow imports pandas when it first makes an array.
"""

import pandas  # noqa: F401

from pipeline.cleaning import build as _cleaning  # noqa: F401 - imported for workers
from pipeline.cleaning.language_model import classify
from pipeline.corpus import bins as _bins  # noqa: F401
from pipeline.corpus.near.tokens import token_hashes
from pipeline.ingestion import build as _ingestion  # noqa: F401

classify([])
token_hashes(["é"])
