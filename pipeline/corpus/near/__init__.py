"""Near-duplicates: documents whose sets of word 5-shingles overlap by at least the configured Jaccard similarity.

arrays.py     numpy <-> Arrow
tokens.py     text -> 64-bit token hashes: words, or single characters of scripts without spaces
shingles.py   token hashes -> shingle hashes of several documents at once
sketch.py     shingle hashes -> similarity sketches -> band hashes; bands and rows from the similarity
parts.py      band hashes of each part of the clean documents, cached by content
candidates.py documents that share a band, as pairs, in DuckDB
verify.py     true Jaccard of each pair, cached by the two texts
clusters.py   verified pairs -> connected components
dedup.py      all of it, for the corpus stage: the table `near`
"""

CODE_VERSION = "1"
"""Of the cached bands and pairs."""
