"""Language models: every family answers the same questions, so that one evaluation and one registry serve all.

interface.py  what a model can be asked: scores of given tokens, continuations, saving
sampling.py   logits -> the next token
loading.py    a saved model folder -> a model, by its family
"""
