"""Personal data in text, found by form and checksum and replaced by fixed placeholders.

In: a text and the kinds to look for. Out: the text with `<EMAIL>`, `<IP>` and so on, and a count per kind. The same
text always gives the same result: a placeholder never depends on what else was replaced. Names and postal addresses
need a model and are not looked for.

kinds.py      what is looked for, in which order, and the placeholders
folding.py    wide characters and digits of other scripts as ASCII
shape.py      what kind of character stands where
email.py      e-mail addresses
ip.py         public IP addresses
iban.py       international bank account numbers
numbers.py    stretches of text with enough digits for what follows
card.py       payment cards
chinese.py    Chinese identity and mobile numbers
phone.py      telephone numbers
redact.py     all kinds together
"""
