"""Interpolated modified Kneser-Ney n-gram models over token ids.

counting.py     token ids -> the distinct n-grams of every order, with counts
out_of_core.py  the same of a stream that does not fit into memory
scratch.py      arrays that lie on disk
kneser_ney.py   counts -> probabilities and back-off weights
table.py        the n-grams of a model as sorted arrays, and looking them up
model.py        scores, continuations, saving and loading
arpa.py         the same model as text for other tools
arpa_reading.py a model that other tools wrote as text
"""
