"""The tables of the statistics, as SQL over `documents` (a corpus), `rejects` (of every stage), `word_counts` and
`block_counts`.

A word is a run of letters, apostrophes within included, or a run of digits; a Chinese character is a word of its own.
(Japanese syllables and Thai are runs: without a dictionary nothing says where their words end.)
"""

from __future__ import annotations

DOCUMENTS = "CREATE VIEW documents AS SELECT * FROM read_parquet({files}, hive_partitioning = false)"
REJECTS = "CREATE VIEW rejects AS SELECT * FROM read_parquet({files}, hive_partitioning = false)"

_LETTER = r"(?:[^\P{L}\p{Han}]|\p{M})"
WORD = rf"\p{{Han}}|{_LETTER}+(?:[’']{_LETTER}+)*|\p{{N}}+"
"""RE2. The double negative reads: letters that are not Han; the marks are those of letters, such as Hindi's vowels."""

WORD_COUNTS = """
    CREATE TABLE counted AS
    WITH words AS (
        SELECT source, split, ('0x' || substr(id, 20, 13))::BIGINT // 17592186044416 AS block,
               unnest(regexp_extract_all(lower(text), $pattern)) AS word
        FROM documents
    )
    SELECT source, split, word, block, count(*) AS count, min(block) AS first_block
    FROM words GROUP BY GROUPING SETS ((source, split, word), (block))
"""
"""The one statement that reads the text. The vocabulary is counted at 256 steps, blocks of documents in a
random order: digits 20 to 32 of the id (a hash) say which, and 16**13 / 17592186044416 = 256."""

COUNT_VIEWS = """
    CREATE VIEW word_counts AS SELECT source, split, word, count, first_block FROM counted WHERE word IS NOT NULL;
    CREATE VIEW block_counts AS SELECT block, count FROM counted WHERE word IS NULL;
"""

NUM_TOP_WORDS = 10_000
NUM_TOP_WORDS_OF_A_SOURCE = 100

_SIZES = """
    count(*) AS documents, sum(num_bytes)::BIGINT AS bytes, sum(num_characters)::BIGINT AS characters,
    round(avg(num_bytes), 1) AS mean_document_bytes,
    round(quantile_cont(num_bytes, 0.1), 1) AS tenth_percentile_document_bytes,
    round(quantile_cont(num_bytes, 0.5), 1) AS median_document_bytes,
    round(quantile_cont(num_bytes, 0.9), 1) AS ninetieth_percentile_document_bytes,
    max(num_bytes) AS max_document_bytes
"""

TABLES: dict[str, str] = {
    "by_split": """
        SELECT sizes.*, coalesce(words, 0)::BIGINT AS words,
               bytes / (SELECT sum(num_bytes) FROM documents) AS byte_fraction
        FROM (SELECT split, {sizes} FROM documents GROUP BY split) AS sizes
        LEFT JOIN (SELECT split, sum(count) AS words FROM word_counts GROUP BY split) AS counted USING (split)
        ORDER BY split
    """,
    "by_source": """
        SELECT sizes.*, coalesce(words, 0)::BIGINT AS words,
               bytes / (SELECT sum(num_bytes) FROM documents) AS byte_fraction
        FROM (SELECT source, split, {sizes} FROM documents GROUP BY source, split) AS sizes
        LEFT JOIN (SELECT source, split, sum(count) AS words FROM word_counts GROUP BY source, split) AS counted
            USING (source, split)
        ORDER BY source, split
    """,
    "languages": """
        SELECT language, source, count(*) AS documents, sum(num_bytes)::BIGINT AS bytes,
               sum(num_bytes) / (SELECT sum(num_bytes) FROM documents) AS byte_fraction
        FROM documents GROUP BY language, source ORDER BY bytes DESC, language, source
    """,
    "lengths": """
        SELECT source, split, floor(log2(greatest(num_characters, 1)) * 4)::INTEGER AS bin,
               round(2 ** (floor(log2(greatest(num_characters, 1)) * 4) / 4), 1) AS from_characters,
               count(*) AS documents
        FROM documents GROUP BY source, split, bin, from_characters ORDER BY source, split, bin
    """,
    "duplicates": """
        SELECT cluster_size, count(*) AS clusters, sum(cluster_size)::BIGINT AS documents_before
        FROM documents GROUP BY cluster_size ORDER BY cluster_size
    """,
    "vocabulary_growth": """
        WITH news AS (SELECT min(first_block) AS block, word FROM word_counts GROUP BY word),
             added AS (SELECT block, count(*) AS distinct_words FROM news GROUP BY block)
        SELECT block, sum(count) OVER blocks::BIGINT AS words,
               sum(coalesce(distinct_words, 0)) OVER blocks::BIGINT AS distinct_words
        FROM block_counts LEFT JOIN added USING (block) WINDOW blocks AS (ORDER BY block) ORDER BY block
    """,
    "rejects": """
        SELECT stage, source, reason, count(*) AS documents, sum(num_bytes)::BIGINT AS bytes
        FROM rejects GROUP BY stage, source, reason ORDER BY documents DESC, stage, source, reason
    """,
    "words": """
        WITH counted AS (SELECT word, sum(count)::BIGINT AS count FROM word_counts GROUP BY word)
        SELECT row_number() OVER (ORDER BY count DESC, word) AS rank, word, count,
               count / (SELECT sum(count) FROM counted) AS fraction
        FROM counted ORDER BY rank LIMIT {num_top_words}
    """,
    "words_by_source": """
        WITH counted AS (SELECT source, word, sum(count)::BIGINT AS count FROM word_counts GROUP BY source, word)
        SELECT source, row_number() OVER ranked AS rank, word, count, count / sum(count) OVER (PARTITION BY source)
            AS fraction
        FROM counted WINDOW ranked AS (PARTITION BY source ORDER BY count DESC, word)
        QUALIFY rank <= {num_top_words_of_a_source} ORDER BY source, rank
    """,
}
"""Name -> statement; every one has a total order, so that equal corpora give equal bytes."""

NUM_WORDS = "SELECT count(DISTINCT word), coalesce(sum(count), 0)::BIGINT FROM word_counts"


def statement(name: str) -> str:
    """The SQL of a table."""
    return TABLES[name].format(
        sizes=_SIZES, num_top_words=NUM_TOP_WORDS, num_top_words_of_a_source=NUM_TOP_WORDS_OF_A_SOURCE
    )
