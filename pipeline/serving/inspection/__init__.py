"""What models make of one text: `textmill inspect`.

surprisal.py  every token's bits, rank and, for n-grams, the context its prediction backed off to, with its characters
internals.py  a Transformer's attention maps and what each layer would predict (logit lens)
alignment.py  where an encoder-decoder looks in the source as it writes
plots.py      attention maps as one picture
page.py       one self-contained HTML page of several models side by side
"""
