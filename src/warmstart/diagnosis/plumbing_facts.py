"""What is known of data, targets and one synthetic step before a model is judged: plain numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Targets:
    """What the rewards say of the texts SFT trains on.

    Attributes:
        failing: Targets that do not earn full marks.
        of: Targets scored.
        example: One of them with the reward it missed.
    """

    failing: int
    of: int
    example: str = ""


@dataclass(frozen=True, slots=True)
class SmokeFacts:
    """What one synthetic step with advantages +1 and −1 has shown.

    Attributes:
        trainable: Parameters that require a gradient.
        trainable_lora_b: Of them in LoRA's B matrices; None without LoRA.
        max_grad_norm: Gradient clipping of the run; None if not known.
        supervised_tokens: Tokens that count in the loss.
        grad_norm: Norm of the gradient over all trainable parameters.
        grad_norm_lora_b: Norm over the B matrices of LoRA: an A matrix has none while its B is zero.
        largest_change: Largest absolute change of any trainable weight by the step.
        loss: Value of the loss; its sign and size say nothing, but it must be finite.
        learning_rate: Of the step; None if not known.
        has_checkpointing: Gradient checkpointing is on.
        inputs_require_grad: The embeddings' output requires a gradient; None if not known.
        targets: The SFT targets under the rewards; None if there are none.
        format_in_trainer: Completions in the format and completions sampled, inside the trainer.
        format_after_sft: The same as measured after SFT, outside it.
    """

    trainable: int
    supervised_tokens: int
    grad_norm: float
    grad_norm_lora_b: float | None
    largest_change: float
    loss: float
    learning_rate: float | None = None
    has_checkpointing: bool = False
    inputs_require_grad: bool | None = None
    trainable_lora_b: int | None = None
    max_grad_norm: float | None = None
    targets: Targets | None = None
    format_in_trainer: tuple[int, int] | None = None
    format_after_sft: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class UnparsableGold:
    """A gold answer that cannot be graded against: its row, counted from 1, its value and why."""

    row: int
    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What the data set looks like.

    Attributes:
        rows: Problems there are.
        missing_columns: Columns the run needs and the data lacks.
        columns: Columns there are.
        without_gold: Rows, counted from 1, whose gold answer is missing or blank.
        unparsable: Gold answers that are there and cannot be read.
        overlap: Held-out problems that are in the training data.
        held_out: Held-out problems.
        repeated: Rows whose problem an earlier row has too.
        conflicting: Of those, rows whose gold differs from the earlier row's.
        same_gold: Rows with the commonest gold.
        commonest: That gold.
    """

    rows: int
    missing_columns: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    without_gold: tuple[int, ...] = ()
    unparsable: tuple[UnparsableGold, ...] = ()
    overlap: int = 0
    held_out: int = 0
    repeated: int = 0
    conflicting: int = 0
    same_gold: int = 0
    commonest: str = ""


def told_twice(told: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return what `DataFacts` says of repeats, from the problem and the gold of each row."""
    first: dict[str, str] = {}
    for problem, gold in told:
        first.setdefault(problem, gold)
    commonest = Counter(gold for _, gold in told).most_common(1)
    return {
        "repeated": len(told) - len(first),
        "conflicting": sum(first[problem] != gold for problem, gold in told),
        "same_gold": commonest[0][1] if commonest else 0,
        "commonest": commonest[0][0] if commonest else "",
    }
