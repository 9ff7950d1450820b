"""Two aligned files: line n of one and line n of the other are a pair.

In: two files, perhaps compressed. Out: a document with its target for each line. Files of unequal length are one reject
as a whole, since nothing tells where they lost step; both are counted before anything is read. A `\\r` within a line is no
line end, as for the tools that write and score such files (Moses, sacrebleu): one on each side would shift all pairs between.
Trade-off: both files are decompressed twice, once to count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pipeline.config.file_sources import ParallelSource
from pipeline.ingestion.decompress import read_chunks
from pipeline.ingestion.items import MAX_DOCUMENT_BYTES, Document, FileRejected, Rejected
from pipeline.ingestion.text_stream import LongLine, head_encoding, read_head, text_lines


def read_parallel(
    path: Path, target_path: Path, config: ParallelSource, facts: Counter[str]
) -> Iterator[Document | Rejected]:
    """The pairs.

    Raises:
        FileRejected: `unequal_lines`, or one of the files cannot be decompressed or decoded.
    """
    num_lines, num_targets = (sum(1 for _ in _lines(file, config, Counter())) for file in (path, target_path))
    if num_lines != num_targets:
        raise FileRejected(
            "unequal_lines",
            f"{path.name} has {num_lines} lines and {target_path.name} has {num_targets}; line n of one must be the "
            "pair of line n of the other.",
        )
    for index, (text, target) in enumerate(
        zip(_lines(path, config, facts), _lines(target_path, config, facts), strict=True)
    ):
        long = next((line for line in (text, target) if isinstance(line, LongLine)), None)
        if isinstance(text, str) and isinstance(target, str):
            yield Document(index=index, text=text, target=target)
        elif long is not None:
            yield Rejected(
                index=index,
                reason="line_too_long",
                detail=f"Line {index + 1} has {long.num_bytes} bytes; the limit is {MAX_DOCUMENT_BYTES}.",
                num_bytes=text.num_bytes if isinstance(text, LongLine) else len(text.encode("utf-8", "surrogatepass")),
                excerpt=long.beginning,
            )


def _lines(path: Path, config: ParallelSource, facts: Counter[str]) -> Iterator[str | LongLine]:
    head, chunks = read_head(read_chunks(path))
    encoding = head_encoding(head, encoding=config.encoding, facts=facts)
    beginning = head.decode(encoding, "replace")
    has_returns_alone = "\r" in beginning and "\n" not in beginning  # as files of the first Macintosh
    for line in text_lines(chunks, encoding=encoding, returns_end_lines=has_returns_alone):
        yield line.removesuffix("\r") if isinstance(line, str) else line
