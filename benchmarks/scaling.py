"""What an update costs as groups, prompts, completions and the model grow: stock TRL and warmstart.

    python benchmarks/scaling.py [--rounds 3] [--out DIR] [--short]

The update alone (log-probabilities, loss, gradient) of completions made of random tokens, on a small
Qwen2 with random weights: its cost depends on neither. Completions end between half of the longest and all of
it, as real ones do: a batch without padding needs no mask, and transformers then takes a causal kernel that only
whole rows can use. One dimension grows, the others stay. Both arms have the same rows and take turns in one
process; the median of the rounds counts. With warmstart the cost per completion of a long prompt falls with the
group size, since the prompt is computed once per group.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM
from trl.trainer.utils import add_fused_lm_head

from headline import Headline
from warmstart.training import shared_prompts

VOCABULARY = 1024


@dataclass(frozen=True)
class Shape:
    """One update."""

    group_size: int = 8
    prompt: int = 128
    completion: int = 128
    width: int = 128
    groups: int = 2

    @property
    def rows(self) -> int:
        """Completions of the update."""
        return self.groups * self.group_size


DIMENSIONS = {
    "group_size": ("group size", [4, 8, 16, 32, 64]),
    "prompt": ("tokens of the prompt", [32, 64, 128, 256, 512, 1024]),
    "completion": ("tokens of a completion", [64, 128, 256, 512, 1024]),
    "width": ("width of the model", [64, 128, 256, 512]),
}
SHORT = {"group_size": [4, 16], "prompt": [32, 256], "completion": [64, 256], "width": [64, 128]}


def model_of(width: int) -> PreTrainedModel:
    """Return a Qwen2 with four layers, random weights, LoRA and TRL's head."""
    torch.manual_seed(0)
    base = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=VOCABULARY,
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
    )
    add_fused_lm_head(base, outputs=("log_probs", "entropy"))
    return get_peft_model(base, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")).train()


def rows_of(shape: Shape) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the tokens and the mask of an update: groups with a prompt each."""
    torch.manual_seed(1)
    prompts = torch.randint(0, VOCABULARY, (shape.groups, shape.prompt)).repeat_interleave(
        shape.group_size, dim=0
    )
    completions = torch.randint(0, VOCABULARY, (shape.rows, shape.completion))
    ids = torch.cat([prompts, completions], dim=1)
    lengths = torch.randint(shape.completion // 2, shape.completion, (shape.rows,))
    lengths[0] = shape.completion
    places = torch.arange(ids.shape[1])
    return ids, (places < shape.prompt + lengths[:, None]).long()


def update(arm: str, model: Any, ids: torch.Tensor, mask: torch.Tensor, completion: int) -> float:  # noqa: ANN401
    """Return the seconds of one forward and backward pass."""
    model.zero_grad()
    started = time.perf_counter()
    if arm == "warmstart":
        log_probs, _ = shared_prompts.score(model, ids, mask, completion, packed=False)
    else:
        labels = ids.clone()
        labels[:, :-completion] = -100
        labels[mask == 0] = -100
        output = model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True)
        log_probs = output.log_probs[:, -completion:]
    log_probs.mean().backward()
    return time.perf_counter() - started


def compare(shape: Shape, rounds: int) -> dict[str, float]:
    """Return the median seconds of both arms, taken in turn."""
    model = model_of(shape.width)
    ids, mask = rows_of(shape)
    found: dict[str, list[float]] = {"stock": [], "warmstart": []}
    for _ in range(rounds + 1):
        for arm, seconds in found.items():
            seconds.append(update(arm, model, ids, mask, shape.completion))
    return {arm: statistics.median(seconds[1:]) for arm, seconds in found.items()}


def short() -> list[Headline]:
    """Return the headlines: how the cost per completion changes from groups of 4 to groups of 16."""
    small, large = (replace(Shape(), group_size=size, prompt=512, completion=64) for size in (4, 16))
    costs = [(compare(shape, 1), shape.rows) for shape in (small, large)]
    per_row = {arm: [seconds[arm] / rows for seconds, rows in costs] for arm in ("stock", "warmstart")}
    seen = ", ".join(f"{arm} {after / before:.2f} ×" for arm, (before, after) in per_row.items())
    return [Headline("update per completion, group 16 against 4, prompt of 512", seen, "falls")]


def plot(table: dict[str, list[tuple[int, dict[str, float], Shape]]], path: Path) -> None:
    """Draw milliseconds per completion over each dimension."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(1, len(table), figsize=(3.2 * len(table), 3), layout="constrained")
    for axes, (name, rows) in zip(grid, table.items(), strict=True):
        for arm in ("stock", "warmstart"):
            axes.plot(
                [value for value, _, _ in rows],
                [1000 * seconds[arm] / shape.rows for _, seconds, shape in rows],
                marker="o",
                label=arm,
            )
        axes.set_xscale("log", base=2)
        sizes = [value for value, _, _ in rows]
        axes.set_xticks(sizes, labels=[f"{value:,}" for value in sizes])
        axes.set(xlabel=DIMENSIONS[name][0], ylim=(0, None))
    grid[0].set_ylabel("ms of update per completion")
    grid[0].legend()
    figure.savefig(path, dpi=120)


def main() -> int:
    """Measure every dimension and print the table."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--out", type=Path, help="a folder for the plot")
    options.add_argument("--short", action="store_true", help="the ends of each dimension, one round")
    arguments = options.parse_args()
    rounds = 1 if arguments.short else arguments.rounds
    table: dict[str, list[tuple[int, dict[str, float], Shape]]] = {}
    print("| dimension | value | stock ms | warmstart ms | per completion, warmstart | stock / warmstart |")
    print("|---|---|---|---|---|---|")
    for name, (label, values) in DIMENSIONS.items():
        for value in SHORT[name] if arguments.short else values:
            shape = replace(Shape(), **{name: value})
            seconds = compare(shape, rounds)
            table.setdefault(name, []).append((value, seconds, shape))
            print(
                f"| {label} | {value} | {1000 * seconds['stock']:.0f} | {1000 * seconds['warmstart']:.0f} "
                f"| {1000 * seconds['warmstart'] / shape.rows:.1f} | {seconds['stock'] / seconds['warmstart']:.2f} × |",
                flush=True,
            )
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        plot(table, arguments.out / "scaling.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
