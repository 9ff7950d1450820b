"""Training, in a process of its own: `python -m pipeline.training <spec.json>`.

__main__.py    the process: its exit codes
torchrun.py    one process a device, and how they ended
host.py        the process on another machine
distributed.py who of them does what, and what they tell each other
launch.py      the asset's side: writes the spec, starts the process, collects the result
ngram.py       the n-gram family, counted and estimated at once
spec.py        everything the process is told, as JSON
derive.py      what the settings leave open, from the model's depth
starting.py    weights to begin with: a folder of them, and whether it fits
beginning.py   the network as training begins: weights loaded, parts frozen, adapters added
lora.py        low-rank adapters, merged on saving
families.py    which network a spec means, and which model it becomes
data.py        the batch of a step, whatever the kind of data; windows of a stream
pair_data.py   batches of pairs, for encoder-decoders and for decoders alone
open_data.py   which kind of data a spec means
documents.py   documents within rows: borders, and best-fit packing
batch_size.py  how many rows a step reads
trainer.py     the loop
warmup.py      compilation, and a forward pass that fits the memory
step.py        one step: accumulated gradients, guard, update
optimizer.py   Muon for hidden matrices, AdamW for the rest
sgd.py         plain gradient descent, for recurrent models
schedule.py    warm-up, then plateau and linear cooldown, or a cosine
averaging.py   an average of the weights, saved in their place
hardware.py    device, precision, compilation, threads
random_state.py  every generator's state, and what a step draws
monitor.py     data wait, memory, use of the machine
prefetch.py    the next batch, made meanwhile
sample.py      what the network writes at each validation
profiling.py   a trace of some steps
results.py     what a finished run leaves
guard.py       losses that are not finite, and spikes
history.py     what a run remembers of its steps, and tells
checkpoint.py  the whole state on disk, atomically
keeping.py     which checkpoints stay
stopping.py    signals and a parent that died
spool.py       metrics to a file, shipped by others
console.py     the progress line
"""

CODE_VERSION = "7"
