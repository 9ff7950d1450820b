"""Recurrent networks: Elman's, the gated recurrent unit and long short-term memory, one family with three cells.

shape.py     sizes, derived from one dial, the depth
network.py   the layers, their dropouts and the loss
cache.py     a continuous cache of recent states, for evaluation
model.py     a trained network: scores, continuations with a carried state, saving and loading
"""
