"""Textmill's stages, in data-flow order; nothing in this package imports Dagster.

ingestion -> cleaning -> corpus -> stats -> tokenizer -> shards -> models -> evaluation -> training -> registry
-> serving
"""
