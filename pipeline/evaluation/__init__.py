"""How good a trained model is: bits per byte and its kin on held-out text, samples, plots and one page to read.

scoring.py       log-probabilities of documents of any length, in batches of bounded memory
baseline.py      the unigram-frequency model every trained model must beat
metrics.py       totals into bits per byte, perplexities, accuracy and calibration, for all and per source
continuation.py  a prompt's text in, the continuation's text out, for every model family
targets.py       log-probabilities of a text after a prompt
benchmarks/      few-shot and multiple choice: questions of a file, answered by likelihood
samples.py       what the model writes, from the configured prompts or from openings of test documents
plots.py         learning curve, reliability diagram, bits per byte per source
html.py          the one-page report: self-contained, no scripts, every text escaped
build.py         the stage
"""

CODE_VERSION = "2"
