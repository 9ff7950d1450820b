"""How text becomes tokens: SentencePiece, lossless by default.

build.py        a corpus in, a trained tokenizer and its report out
train.py        SentencePiece's training, its settings, and its refusals as sentences
existing.py     one that is there already, and what it must have
sample.py       which of the corpus it learns from: a seeded sample, cut into sentences that no limit drops
model.py        the trained tokenizer: encode, decode, and the hash that names it
model_file.py   what a model file says of itself; one machine's path taken out
hugging_face.py the same as Hugging Face's tokenizer files
fit.py          how well it compresses held-out text, how often it falls back, and whether text comes back
plots.py        the lengths of its pieces
"""

CODE_VERSION = "1"
