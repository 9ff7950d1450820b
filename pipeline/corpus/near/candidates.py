"""Documents that share a band -> pairs to verify, in DuckDB.

In: the tables `texts` (number: the document's rank by id, filename, row) and the parts' band hashes. Out: the table
`candidates` (a, b), a < b, each pair once.

A bucket is the set of documents with one band hash. Up to 16 documents all pairs of a bucket are compared. In a larger
one each document is compared with the bucket's smallest id and with the id before its own, two pairs a document, so that
boilerplate shared by a million documents costs two million comparisons. Trade-off: two near-duplicates in a large bucket
of documents that are mostly no duplicates of each other are found by another of their bands, or not at all.
"""

from __future__ import annotations

MAX_BUCKET_FOR_ALL_PAIRS = 16

BUCKETS = """
CREATE TABLE buckets AS
WITH banded AS (
    SELECT texts.number, unnest(parts.bands) AS band
    FROM read_parquet($sketches, filename = true, hive_partitioning = false) AS parts
    JOIN sketched ON sketched.sketches = parts.filename
    JOIN texts ON texts.filename = sketched.clean AND texts.file_row_number = parts.row
    WHERE len(parts.bands) > 0
)
SELECT band, number FROM banded
WHERE band IN (SELECT band FROM banded GROUP BY band HAVING count(*) > 1)
"""
"""`sketched` (sketches, clean): which file of band hashes belongs to which file of clean documents."""

CANDIDATES = """
CREATE TABLE candidates AS
WITH ranked AS (
    SELECT band, number,
           count(*) OVER (PARTITION BY band) AS size,
           min(number) OVER (PARTITION BY band) AS smallest,
           lag(number) OVER (PARTITION BY band ORDER BY number) AS before
    FROM buckets
), small AS (
    SELECT band, number FROM ranked WHERE size <= $small
)
SELECT first.number AS a, second.number AS b
FROM small AS first JOIN small AS second ON first.band = second.band AND first.number < second.number
UNION
SELECT smallest, number FROM ranked WHERE size > $small AND number > smallest
UNION
SELECT before, number FROM ranked WHERE size > $small AND number > smallest
"""
"""`$small` is MAX_BUCKET_FOR_ALL_PAIRS."""
