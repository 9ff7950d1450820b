"""To be described by its owner."""

CODE_VERSION = "1"
