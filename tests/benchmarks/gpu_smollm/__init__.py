r"""Training of SmolLM2-135M on an accelerator: throughput, then PMD-mean and GRPO on arithmetic in words.

`make gpu-smollm PYTHON=python3 OUT=DIR` runs what has no result in DIR yet. A part stops by itself after eight
minutes, behind a whole batch: run it again and it goes on from its checkpoint. `SIZE=tiny` runs the same code on a
random model in seconds on a processor. Results are kept like those of `make gpu`, in `DIR/<device>-smollm.json`.
"""
