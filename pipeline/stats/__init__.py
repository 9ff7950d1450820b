"""What the corpus is made of: tables in Parquet, plots as PNG.

build.py    a corpus and the stages before it in, tables and plots out
queries.py  the tables, as SQL over Parquet
plots.py    the plots, from the tables
"""

CODE_VERSION = "2"
