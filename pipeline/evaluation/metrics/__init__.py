"""What texts are worth: each metric by its reference implementation, over any resampling of the texts.

totals.py       bits into bits per byte, perplexities, accuracy and calibration
scored.py       a metric over many texts, whole or resampled: confidence intervals and paired differences
words.py        words of any script, and sentences
translation.py  BLEU, chrF++ and TER by sacrebleu
rouge.py        ROUGE-1, ROUGE-2 and ROUGE-Lsum by rouge-score
squad.py        exact match and F1 as SQuAD's evaluation has them, Chinese by characters
diversity.py    distinct n-grams, repetition, and how much of an output stands in its source
table.py        every metric by name
"""
