"""How long the phases of a run take at most, from a GPU's data sheet: orders of magnitude, not promises.

Nothing here was measured on a GPU; `UTILISATION`, `BANDWIDTH_SHARE` and `LAYER_SECONDS` are assumptions, named
so that a measured run can replace them.
"""

from __future__ import annotations

from warmstart.gpus import Gpu
from warmstart.memory import Precision, weight_bytes
from warmstart.model_shapes import ModelShape

UTILISATION = 0.35
"""Share of the data sheet's operations that training reaches; 0.3 to 0.5 is usual for such models."""
BANDWIDTH_SHARE = 0.6
"""Share of the memory's bandwidth that reading weights and cache reaches."""
LAYER_SECONDS = 5e-4
"""Of one layer's launches for one token in transformers' eager mode: why a small model samples no faster
than some 70 tokens a second in each row."""


def sampling_seconds(
    shape: ModelShape, precision: Precision, gpu: Gpu, *, rows: int, prompt: int, tokens: int
) -> float:
    """Return the time of one batch of completions, ``tokens`` long each.

    Every token reads the weights once and each row's cache, at half its final length on average; the
    products of a large batch, or the launches of a small one, may take longer than that.
    """
    cache = rows * (prompt + tokens / 2) * 2 * shape.keys * shape.layers * precision.compute
    reading = (weight_bytes(shape, precision) + cache) / (gpu.bandwidth_gbs * 1e9 * BANDWIDTH_SHARE)
    computing = 2 * shape.parameters * rows / (gpu.tflops * 1e12 * UTILISATION)
    return tokens * max(reading, computing, shape.layers * LAYER_SECONDS)


def update_seconds(shape: ModelShape, gpu: Gpu, *, tokens: int, length: int, checkpointing: bool) -> float:
    """Return the time of forward and backward over ``tokens`` tokens in rows of ``length``.

    Two operations per number and token forward, two more for the gradient of the input (a frozen weight
    has none of its own), and two to compute a checkpointed layer again; attention the same over half the
    length, four per pair and width.
    """
    passes = 3 if checkpointing else 2
    attention = 2 * shape.layers * shape.queries * length
    return passes * tokens * (2 * shape.parameters + attention) / (gpu.tflops * 1e12 * UTILISATION)
