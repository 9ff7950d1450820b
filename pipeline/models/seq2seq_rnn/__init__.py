"""The recurrent encoder-decoder with attention: one sequence in, another out.

shape.py     sizes, derived from one dial, the depth
network.py   encoder, attention, decoder, the loss, and the decoder's state token by token
"""
