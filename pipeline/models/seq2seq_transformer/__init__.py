"""The encoder-decoder Transformer: one sequence in, another out.

shape.py     sizes, derived from one dial, the depth
attention.py attention over one sequence or another, with its weights where they are asked for
network.py   encoder, decoder, the loss, and the decoder's state token by token
"""
