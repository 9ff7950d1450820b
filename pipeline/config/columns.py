"""The columns of clean documents that rules judge by, with their DuckDB types; `records.CLEAN_SCHEMA` is made from them."""

from __future__ import annotations

SIGNAL_COUNTS = (
    "num_word_tokens",
    "stop_words",
    "c4_sentences",
    "c4_curly_bracket_lines",
    "c4_lorem_ipsum_lines",
)
SIGNAL_FRACTIONS = (
    "mean_word_length",
    "hashes_per_word",
    "ellipses_per_word",
    "alphabetic_word_fraction",
    "top_2_gram_fraction",
    "top_3_gram_fraction",
    "top_4_gram_fraction",
    "duplicate_5_gram_fraction",
    "duplicate_6_gram_fraction",
    "duplicate_7_gram_fraction",
    "duplicate_8_gram_fraction",
    "duplicate_9_gram_fraction",
    "duplicate_10_gram_fraction",
    "paragraph_repeat_fraction",
    "paragraph_repeat_character_fraction",
    "line_repeat_fraction",
    "line_repeat_character_fraction",
    "bullet_line_fraction",
    "ellipsis_line_fraction",
    "terminal_line_fraction",
    "short_line_fraction",
    "filled_line_repeat_character_fraction",
    "newlines_per_word",
    "c4_removed_line_fraction",
)
"""The signals of `cleaning.signals_words` and `cleaning.signals_lines`; null where a text was not measured."""

RULE_COLUMNS = {
    "id": "VARCHAR",
    "source": "VARCHAR",
    "path": "VARCHAR",
    "index": "BIGINT",
    "title": "VARCHAR",
    "text": "VARCHAR",
    "num_bytes": "BIGINT",
    "target": "VARCHAR",
    "group_id": "VARCHAR",
    "raw_bytes": "BIGINT",
    "language": "VARCHAR",
    "language_confidence": "FLOAT",
    "num_characters": "BIGINT",
    "num_words": "BIGINT",
    "num_lines": "BIGINT",
    "letter_fraction": "FLOAT",
    "duplicate_line_fraction": "FLOAT",
    "repaired": "BOOLEAN",
    "redactions": "MAP(VARCHAR, INTEGER)",
    "target_language": "VARCHAR",
    "target_language_confidence": "FLOAT",
    "target_characters": "BIGINT",
    "length_ratio": "FLOAT",
    **dict.fromkeys(SIGNAL_COUNTS, "BIGINT"),
    **dict.fromkeys(SIGNAL_FRACTIONS, "FLOAT"),
}
"""Column -> type: what a rule of the user's own may name."""
