"""How the quality signals are distributed, as SQL over `documents`, a statement for one `signal`.

Quantiles by source, and a histogram of all sources with NUM_BINS bins of one width, from the smallest value to the 99th
percentile, whose last bin also holds what is above: a few long documents would leave the rest in one bin. Where nearly all
documents have the smallest value, to the largest: the few others are what filters look at.
"""

from __future__ import annotations

import duckdb
import pyarrow as pa

from pipeline.config.columns import SIGNAL_COUNTS, SIGNAL_FRACTIONS

NUM_BINS = 24

SIGNALS = (
    "language_confidence",
    "num_characters",
    "num_words",
    "num_lines",
    "letter_fraction",
    "duplicate_line_fraction",
    *SIGNAL_COUNTS,
    *SIGNAL_FRACTIONS,
)

_VALUES = "SELECT source, {signal}::DOUBLE AS value FROM documents WHERE {signal} IS NOT NULL"
"""What was not measured has no row."""

QUANTILES = f"""
    SELECT '{{signal}}' AS signal, source, documents, minimum,
           quantiles[1] AS fifth_percentile, quantiles[2] AS first_quartile, quantiles[3] AS median,
           quantiles[4] AS third_quartile, quantiles[5] AS ninety_fifth_percentile, maximum
    FROM (
        SELECT source, count(*) AS documents, min(value) AS minimum, max(value) AS maximum,
               quantile_cont(value, [0.05, 0.25, 0.5, 0.75, 0.95]) AS quantiles
        FROM ({_VALUES}) GROUP BY source
    ) ORDER BY source
"""  # noqa: S608 - names of our own columns

BINS = f"""
    WITH measured AS ({_VALUES}),
         quantiles AS (SELECT min(value) AS low, quantile_disc(value, 0.99) AS nearly, max(value) AS most FROM measured),
         bounds AS (SELECT low, CASE WHEN nearly > low THEN nearly ELSE most END AS high FROM quantiles),
         binned AS (
             SELECT low, (high - low) / {NUM_BINS} AS width,
                    CASE WHEN high > low
                         THEN least({NUM_BINS} - 1, floor((value - low) / (high - low) * {NUM_BINS}))::INTEGER
                         ELSE 0 END AS bin
             FROM measured CROSS JOIN bounds
         )
    SELECT '{{signal}}' AS signal, bin, low + bin * width AS from_value, low + (bin + 1) * width AS to_value,
           count(*) AS documents
    FROM binned GROUP BY bin, low, width ORDER BY bin
"""  # noqa: S608 - names of our own columns


def describe(connection: duckdb.DuckDBPyConnection, statement: str) -> pa.Table:
    """The rows of `statement` for every signal, by name.

    One signal at a time and its quantiles at once: each quantile keeps every value in memory, 8 bytes a document, and
    cannot spill.
    """
    names = sorted(SIGNALS)
    return pa.concat_tables([connection.sql(statement.format(signal=name)).to_arrow_table() for name in names])
