"""A corpus as token ids on disk, and the order in which training reads them.

build.py     a corpus and a tokenizer in, shards out
format.py    one shard file: header, tokens, document offsets
reader.py    the shards of a folder, memory-mapped and checked
pair_build.py  a corpus of pairs in, two parallel series of shards out
pairs.py     shards of pairs, memory-mapped and checked
speakers.py  who speaks in conversations
pair_batches.py  batches of pairs for encoder-decoders and, by a template, for decoders alone
buckets.py   which pairs share a batch: those of like length
loader.py    windows of tokens in a seeded global order; the position is one integer
packing.py   whole documents packed into windows
shuffle.py   a seeded bijection of 0..n-1 in constant memory
"""

CODE_VERSION = "3"
