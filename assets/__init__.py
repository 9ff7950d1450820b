"""Textmill's Dagster code location and command line: one asset for every named thing of the project file."""
