"""How good a trained model is: bits per byte and its kin on held-out text, samples, plots and one page to read.

scoring.py       log-probabilities of documents of any length, in batches of bounded memory
spelling.py      the bits of text that a vocabulary cannot say
baseline.py      the unigram-frequency model every trained model must beat
test_split.py    which documents are measured, and their texts
metrics/         what figures mean: bits per byte and its kin, and metrics of written texts with intervals
measured.py      what was found for a corpus of texts
cached.py        the same of a recurrent model with a cache of its recent states
pair_model.py    a model that writes targets, and how it is asked
pair_measuring.py  what was found for a corpus of pairs: bits of targets, texts written, baselines
task_outputs.py  written texts beside baselines, by the task's metrics
continuation.py  a prompt's text in, the continuation's text out, for every model family
targets.py       log-probabilities of a text after a prompt
benchmarks/      few-shot and multiple choice: questions of a file, answered by likelihood
samples.py       what the model writes, from the configured prompts or from openings of test documents
plots.py         learning curve, reliability diagram, bits per byte per source
html.py          the one-page report: self-contained, no scripts, every text escaped
build.py         the stage
"""

CODE_VERSION = "9"
