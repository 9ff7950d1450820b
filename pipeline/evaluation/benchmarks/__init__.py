"""Few-shot and multiple-choice benchmarks by log-likelihood: which answer does a model find most likely?

examples.py  lines of the published formats -> questions with answers, and what is wrong with the lines that hold none
running.py   prompts with solved examples, the answers' log-probabilities, and the figures with their standard errors
"""
