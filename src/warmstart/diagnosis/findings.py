"""Findings: the causes warmstart can name, in the order in which they explain each other.

A cause that stands earlier in `CAUSES` explains the later ones: a reward that raises makes every group
dead, so "too hard" is not worth saying beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """What a finding means for the run."""

    BROKEN = "broken"
    """Nothing true is learnt until someone repairs it."""
    ILL = "ill"
    """Nothing, or little, is learnt; the ladder of cures may help."""
    WARNING = "warning"
    """Learning goes on, worse than it could."""
    NOTE = "note"
    """Good to know; nothing to do."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that can be wrong.

    Attributes:
        code: How findings, docs and tests name it.
        severity: What it means for the run.
        title: The cause in a few words.
        cure: What to do, in a sentence.
    """

    code: str
    severity: Severity
    title: str
    cure: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A cause that was found.

    Attributes:
        code: One of `CAUSES`.
        evidence: The numbers that show it, in a sentence.
        advice: What to do about it here, in a sentence.
        severity: What it means for the run.
        numbers: The evidence for programs.
    """

    code: str
    evidence: str
    advice: str
    severity: Severity
    numbers: dict[str, float | int | str] = field(default_factory=dict)


_B, _I, _W, _N = Severity.BROKEN, Severity.ILL, Severity.WARNING, Severity.NOTE

CAUSES: dict[str, Cause] = {
    cause.code: cause
    for cause in (
        # The data.
        Cause("column-missing", _B, "a column the run needs is missing", "name it with data.columns"),
        Cause("gold-missing", _B, "problems without a gold answer", "fill or drop the rows"),
        Cause("gold-unparsable", _B, "gold answers that cannot be read", "repair or drop the rows"),
        # The reward functions.
        Cause(
            "reward-raises",
            _B,
            "a reward function raises",
            "repair the function; its zeros are not the model's",
        ),
        Cause(
            "reward-times-out", _B, "a reward function runs out of time", "bound its work or raise its limit"
        ),
        Cause(
            "reward-wrong-length",
            _B,
            "a reward function returns the wrong number of values",
            "return one value per completion",
        ),
        Cause(
            "reward-not-a-number",
            _B,
            "a reward function returns something that is no finite number",
            "return floats, or None for undecided",
        ),
        Cause(
            "reward-undecided", _B, "a reward function cannot tell too often", "find out why it returns None"
        ),
        # The template and the tokenizer.
        Cause(
            "template-opens-thinking",
            _B,
            "the template opens <think> for the model",
            "take the opener out and save the template",
        ),
        Cause(
            "template-drops-reasoning",
            _B,
            "the template drops the reasoning from SFT targets",
            "render targets by hand, as warmstart does",
        ),
        Cause(
            "template-ignores-system",
            _B,
            "the template ignores the system turn",
            "put the instructions into the user's turn",
        ),
        Cause(
            "double-bos",
            _B,
            "two beginning-of-text tokens",
            "tokenise the rendered prompt without special tokens",
        ),
        Cause(
            "pad-is-end",
            _B,
            "the padding token ends the turn",
            "pad with another token, or the model never learns to stop",
        ),
        # The optimisation's plumbing.
        Cause("adapter-frozen", _B, "nothing is trainable", "load the adapter with is_trainable=True"),
        Cause(
            "adapter-dropped",
            _B,
            "the warm start got lost between SFT and GRPO",
            "continue the adapter SFT saved",
        ),
        Cause(
            "all-masked",
            _B,
            "every token is masked from the loss",
            "check the labels, and mask_truncated_completions",
        ),
        Cause(
            "gradient-blocked",
            _B,
            "rewards differ and no gradient arrives",
            "with gradient checkpointing, enable input gradients",
        ),
        Cause(
            "not-a-number",
            _B,
            "NaN or infinity in loss or gradient",
            "float32 adapters, bfloat16 base, a lower rate",
        ),
        # What the model writes.
        Cause("truncated", _I, "completions are cut by the cap", "raise grpo.max_completion_tokens"),
        Cause(
            "never-stops",
            _I,
            "the model does not end its turn",
            "use an end-of-turn token it was trained on, or a warm start",
        ),
        Cause(
            "sampling-degenerate",
            _B,
            "the completions of a group are the same",
            "raise the temperature; no top_k=1, no shared seed",
        ),
        Cause(
            "reward-blind",
            _B,
            "the reward cannot see right answers that are there",
            "accept the form the model writes",
        ),
        Cause(
            "gold-contradicted",
            _B,
            "the model agrees with itself against the gold answers",
            "check the golds; rows may have slipped",
        ),
        Cause("no-format", _I, "the format is never sampled: the cold start itself", "warm start"),
        Cause("rewards-cancel", _B, "rewards of opposite sign cancel", "change the weights"),
        Cause(
            "shaping-only",
            _W,
            "groups differ only in format, not in outcome",
            "gate the shaping by the outcome",
        ),
        Cause("hacking", _I, "the reward rises and the answers do not", "close the hole; roll back"),
        Cause(
            "skill-lost", _I, "the warm start cost the model its skill", "roll back; fewer, gentler SFT steps"
        ),
        Cause("over-warmed", _I, "the warm start went too far", "roll back to an earlier SFT checkpoint"),
        Cause("saturated", _I, "the problems are solved", "stop, or take harder problems"),
        Cause("too-hard", _I, "the problems are too hard", "easier problems first, larger groups"),
        # The course of training.
        Cause("rate-too-large", _I, "the learning rate is too large", "a tenth of it"),
        Cause("rate-too-small", _W, "the learning rate is too small", "ten times as much"),
        Cause("collapse", _I, "the policy has collapsed", "roll back to the best checkpoint; lower the rate"),
        Cause(
            "four-bit-drift",
            _W,
            "the policy differs between the 4-bit and the full base",
            "merge into the base it was trained on",
        ),
        Cause("overlap", _W, "held-out problems are in the training data", "take them out of training"),
        Cause(
            "healthy-zero-loss",
            _N,
            "a loss of 0.0 is healthy here",
            "nothing: watch the reward and the live share",
        ),
    )
}
"""Every cause by its code, explaining ones first."""


def finding(code: str, evidence: str, advice: str | None = None, **numbers: float | int | str) -> Finding:
    """Return the finding of a known cause; ``advice`` is the cause's own unless given."""
    cause = CAUSES[code]
    return Finding(code, evidence, advice or cause.cure, cause.severity, numbers)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings with the one that explains the others first."""
    ranks = {code: rank for rank, code in enumerate(CAUSES)}
    return sorted(findings, key=lambda found: ranks[found.code])
