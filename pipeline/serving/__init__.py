"""The champion at work: a model straight from the registry, and text from it.

generate.py  loads a registered model and continues prompts, for the command line and for checks
export.py    a registered model as files for other tools
chat.py      the next turn of a conversation
harness.py   lm-evaluation-harness drives any model on task files of this machine
inspection/  what models make of one text, as one HTML page
"""
