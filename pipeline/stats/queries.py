"""The tables of the statistics, as SQL over the view `documents` (a corpus) and the view `rejects` (of every stage).

A word is a run of letters and digits, apostrophes within included; a Chinese character is a word of its own.
"""

from __future__ import annotations

DOCUMENTS = "CREATE VIEW documents AS SELECT * FROM read_parquet({files})"
REJECTS = "CREATE VIEW rejects AS SELECT * FROM read_parquet({files})"

WORD = r"\p{Han}|[^\P{L}\p{Han}]+(?:[’''][^\P{L}\p{Han}]+)*|\p{N}+"
"""RE2; the double negative reads: letters that are not Han."""

NUM_TOP_WORDS = 10_000

TABLES: dict[str, str] = {
    "by_split": """
        SELECT split, count(*) AS documents, sum(num_bytes)::BIGINT AS bytes, sum(num_characters)::BIGINT AS characters,
               sum(num_words)::BIGINT AS words, avg(num_bytes) AS mean_document_bytes,
               median(num_bytes)::DOUBLE AS median_document_bytes
        FROM documents GROUP BY split ORDER BY split
    """,
    "by_source": """
        SELECT source, split, count(*) AS documents, sum(num_bytes)::BIGINT AS bytes,
               sum(num_characters)::BIGINT AS characters, sum(num_words)::BIGINT AS words
        FROM documents GROUP BY source, split ORDER BY source, split
    """,
    "languages": """
        SELECT language, source, count(*) AS documents, sum(num_bytes)::BIGINT AS bytes,
               sum(num_bytes) / (SELECT sum(num_bytes) FROM documents) AS byte_fraction
        FROM documents GROUP BY language, source ORDER BY bytes DESC, language, source
    """,
    "lengths": """
        SELECT source, floor(log2(greatest(num_characters, 1)) * 4)::INTEGER AS bin,
               round(2 ** (floor(log2(greatest(num_characters, 1)) * 4) / 4), 1) AS from_characters,
               count(*) AS documents
        FROM documents GROUP BY source, bin, from_characters ORDER BY source, bin
    """,
    "duplicates": """
        SELECT cluster_size, count(*) AS clusters, sum(cluster_size)::BIGINT AS documents_before
        FROM documents GROUP BY cluster_size ORDER BY cluster_size
    """,
    "rejects": """
        SELECT stage, source, reason, count(*) AS documents, sum(num_bytes)::BIGINT AS bytes
        FROM rejects GROUP BY stage, source, reason ORDER BY documents DESC, stage, source, reason
    """,
}
"""Name -> statement; every one has a total order, so that equal corpora give equal bytes."""

WORDS = """
    WITH words AS (SELECT unnest(regexp_extract_all(lower(text), $pattern)) AS word FROM documents),
    counted AS (SELECT word, count(*) AS count FROM words GROUP BY word)
    SELECT row_number() OVER (ORDER BY count DESC, word) AS rank, word, count,
           count / (SELECT sum(count) FROM counted) AS fraction
    FROM counted ORDER BY rank
"""

NUM_WORDS = "SELECT count(*) AS distinct_words, coalesce(sum(count), 0)::BIGINT AS words FROM all_words"
