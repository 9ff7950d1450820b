"""Which documents are kept, once each, and which of them are held out.

build.py   clean documents of some sources in, kept documents by split and rejects with reasons out
rules.py   the quality rules as SQL over the signal columns, each reject with its value and threshold
splits.py  a document's split as a function of its id alone
"""

CODE_VERSION = "1"
