"""The decoder-only Transformer in the Qwen3 layout, which Hugging Face loads as it is saved.

shape.py     sizes, derived from one dial, the depth
network.py   the layers and the loss
hugging_face.py  `config.json` of Qwen3 and Llama, written and read
kernels.py   attention in blocks, and the head with its loss, for compilers of CPUs
prepared.py  the weights in the form that decoding reads
decoding.py  token after token from kept keys and values
one_row.py    one token of one text, by NumPy
continuing.py  prompts to texts: drawn, or by beam search
model.py     a trained network: scores, continuations with a key-value cache, saving and loading
"""
