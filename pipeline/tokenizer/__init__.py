"""How text becomes tokens: SentencePiece, lossless by default.

build.py    a corpus in, a trained tokenizer and its report out
model.py    the trained tokenizer: encode, decode, and the hash that names it
sample.py   which of the corpus it learns from: a seeded sample, cut into pieces that no limit drops
fit.py      how well it compresses held-out text, how often it falls back, and whether text comes back
"""

CODE_VERSION = "1"
