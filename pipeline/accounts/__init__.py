"""Questions about what the stages made: one document's way, two versions of a corpus, and SQL over all of it.

database.py  a locked DuckDB that reads the artifacts in use and nothing else
views.py     the artifacts in use as named views
query.py     one SELECT over the views
explain.py   what each stage did with one document
find.py      which document a person means: an id, the beginning of one, or a path
diff.py      what changed between two versions of a corpus
"""
