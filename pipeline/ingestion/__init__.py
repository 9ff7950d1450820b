"""Raw documents: files of a source become rows of Parquet, and what cannot be read becomes a reject with its reason.

parts.py            what a source consists of today, and the keys of its parts
bundles.py          small parts in groups that are built together
paths.py            the files that paths, folders and globs name; links and pipes refused
packages.py         installed packages and their files
stat_cache.py       hashes of unchanged files, remembered
remote.py           files at addresses, fetched once
ranges.py           one large file as many parts
decompress.py       bytes of plain and compressed files; truncation and bombs noticed
archives.py         zip and tar archives as the files they hold
encoding.py         text of bytes, or a refusal
items.py            documents, rejects and the limits every reader keeps
text.py             plain text: whole, by separator, by heading
json_documents.py   JSON Lines, arrays, objects
json_stream.py      lines and array elements in bounded memory
json_values.py      values, and the oddities parsers disagree on
fields.py           text, title and target of a record
parquet.py          Parquet
text_stream.py      lines of text of any encoding, in bounded memory
csv_documents.py    CSV and TSV
parallel.py         two aligned files
markdown.py         Markdown
squad.py            question answering in SQuAD's JSON
wikipedia.py        Wikipedia's XML dumps, streamed
wikitext.py         prose out of wikitext
killable.py         a function in a process that is killed when it hangs
dialogue.py         conversations: each turn with those before it
python_docs.py      docstrings and reference text of installed packages
docstrings.py       the docstrings of a module
docstring_pairs.py  a docstring and its summary; a parameter and what it means
reading.py          a part by its source's reader
report.py           what a person sees of it
build.py            the stage
"""

CODE_VERSION = "8"
