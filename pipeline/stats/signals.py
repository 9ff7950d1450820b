"""How the quality signals are distributed, as SQL over `documents`.

Quantiles by source, and a histogram of all sources with NUM_BINS bins of one width, from the smallest value to the 99th
percentile, whose last bin also holds what is above: a few long documents would leave the rest in one bin.
"""

from __future__ import annotations

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

_COLUMNS = ", ".join(f"{name}::DOUBLE AS {name}" for name in SIGNALS)
_VALUES = f"""
    UNPIVOT (SELECT source, {_COLUMNS} FROM documents) ON {", ".join(SIGNALS)} INTO NAME signal VALUE value
"""  # noqa: S608 - names of our own columns
"""Rows (source, signal, value); what was not measured has none."""

QUANTILES = f"""
    SELECT signal, source, count(*) AS documents, min(value) AS minimum,
           quantile_cont(value, 0.05) AS fifth_percentile, quantile_cont(value, 0.25) AS first_quartile,
           quantile_cont(value, 0.5) AS median, quantile_cont(value, 0.75) AS third_quartile,
           quantile_cont(value, 0.95) AS ninety_fifth_percentile, max(value) AS maximum
    FROM ({_VALUES}) GROUP BY signal, source ORDER BY signal, source
"""  # noqa: S608 - names of our own columns

BINS = f"""
    WITH measured AS ({_VALUES}),
         bounds AS (
             SELECT signal, min(value) AS low, quantile_disc(value, 0.99) AS high FROM measured GROUP BY signal
         ),
         binned AS (
             SELECT signal, low, (high - low) / {NUM_BINS} AS width,
                    CASE WHEN high > low
                         THEN least({NUM_BINS} - 1, floor((value - low) / (high - low) * {NUM_BINS}))::INTEGER
                         ELSE 0 END AS bin
             FROM measured JOIN bounds USING (signal)
         )
    SELECT signal, bin, low + bin * width AS from_value, low + (bin + 1) * width AS to_value, count(*) AS documents
    FROM binned GROUP BY signal, bin, low, width ORDER BY signal, bin
"""  # noqa: S608 - names of our own columns
