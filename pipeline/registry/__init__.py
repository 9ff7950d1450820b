"""MLflow, and nothing but MLflow: runs, registered models, the promotion gate and its record.

connection.py    where the tracking server is, whether it answers, and its database brought up to date once
tracking.py      ships the training spool, as often as it takes, each number once
registering.py   one registry version for each trained model: weights, code, signature, lineage, metrics
code_bundle.py   the source files that a registered model needs where Textmill is not installed
pyfunc_model.py  the registered model's own program: prompts in, continuations out
rivals.py        models taken back out of the registry and scored on documents that nobody trained on
gate.py          is the challenger better? a paired randomisation test and the decision it leads to
aliases.py       moves the champion alias, writes down who held it and why, and moves it back
champions.py     who holds the alias now, at once
queries.py       leaderboard and comparison, from the registry alone
build.py         the stage

Nothing here is imported before it is needed: MLflow takes seconds to load.
"""

CODE_VERSION = "2"
