"""Clean documents: the same text made plain, with its language and quality signals as columns.

text.py       NFC, line ends, control characters, blanks
characters.py the few characters of a text that are not ASCII
mojibake.py   text that was decoded with the wrong encoding
pii           personal data replaced by placeholders, where the source asks for it
language.py   which language, offline
signals.py    counts and fractions that filters look at
pairs.py      the language, length and hash of a pair's sides
clean.py      a batch of raw documents into clean ones
report.py     what a person sees of it
build.py      the stage
"""

CODE_VERSION = "9"
