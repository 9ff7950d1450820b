"""Which documents are kept, once each, and which of them are held out.

build.py      clean documents of some sources in, kept documents by split and rejects with reasons out
rules.py      the quality rules as SQL over the signal columns, each reject with its value and threshold
judged.py     what the rules say of each part, cached
ngrams.py     hashes of word n-grams, of many texts at once
decontaminate.py  documents that share text with what models are judged by
dedup.py      duplicates: which of them is kept, and the cluster it stands for
near/         near-duplicates: sketches by part, candidates, true Jaccard, clusters
lines.py      lines and paragraphs that many documents hold, cut out
layout.py     where the documents of a corpus lie
bins.py       writes what was decided, by workers, as far as it is new
report.py     what a person sees of it
rule.py       one rule
expectation.py  whether it kept as much as its settings expect
pair_rules.py  rules for pairs: length ratio, language of each side
pairs.py      splits that part no pairs with a side in common
fixed_splits.py  splits that a source fixes, and leakage from them
splits.py     a document's split as a function of its cluster's id alone
mixture.py    how often training reads each document
database.py   DuckDB with locked settings, spilling into the draft's folder
"""

CODE_VERSION = "9"
