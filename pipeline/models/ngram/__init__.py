"""Interpolated modified Kneser-Ney n-gram models over token ids.

windows.py      token ids -> the distinct windows of some tokens, sorted by DuckDB
counting.py     sorted windows -> the distinct n-grams of every order, with counts
scratch.py      arrays that lie on disk
kneser_ney.py   counts -> probabilities and back-off weights
table.py        the n-grams of a model as sorted arrays, and looking them up
model.py        scores, continuations, saving and loading
arpa.py         the same model as text for other tools
arpa_reading.py a model that other tools wrote as text
"""
