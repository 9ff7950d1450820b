"""Language models: every family answers the same questions, so that one evaluation and one registry serve all.

interface.py  what a model can be asked: scores of given tokens, continuations, saving
sampling.py   logits -> the next token, and token by token a text
beam_search.py  the likeliest continuations, side by side
constraints.py  what may not come next: an end too early, a run of tokens again
seq2seq_model.py  a trained encoder-decoder of either kind
token_scores.py   probabilities, ranks and confidences of tokens, from a network's states
target_scores.py  prompts and targets -> the targets' log-probabilities, by rows of a model that reads one stream
loss.py       hidden states and targets -> the mean cross entropy
loading.py    a saved model folder -> a model, by its family
"""
