"""What XLA makes of programs of `make gpu`, and of an update of SmolLM2, for an H100, on a machine without one.

`make gpu-compiled` compiles them from shapes alone, for the description of the device in `_target`, and writes
`tests/benchmarks/results/nvidia-h100-compiled.json`: bytes of arguments, results and temporary buffers, kernels, and
bytes that the kernels read and write if each reads its operands and writes its results once (`_traffic`). Nothing
runs: these are counts, and where a time stands it is bytes over the bandwidth of the data sheet, an estimate.
Triton's matrix products are left out, since they are chosen by timing; products go to cuBLAS.
"""
