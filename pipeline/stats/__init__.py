"""What the corpus is made of: tables in Parquet, plots as PNG.

build.py    a corpus and the stages before it in, tables and plots out
queries.py  the tables, as SQL over Parquet
signals.py  how the quality signals are distributed, as SQL
heaps.py    how the vocabulary grows with the text
overlap.py  how much of each source stands in each other one
pairs.py    lengths, ratios and languages of pairs
samples.py  text before and after, and one reject for each reason
plots.py    the plots, from the tables
figures.py  the axes that all plots share, and bars
"""

CODE_VERSION = "6"
