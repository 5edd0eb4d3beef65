"""Where a step's time goes, and the one thing that would shorten it most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DOMINANT = 0.6
"""A part that takes this share of the step is worth a word; below it no single change halves the step."""
_SPARE_CAP = 1.5
"""A cap this many times the longest completion holds room that engines reserve and nobody uses."""


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """Seconds of one optimizer step.

    Attributes:
        generate_s: Writing the completions.
        score_s: Calling the rewards.
        update_s: The rest: log-probabilities, loss and gradient.
    """

    generate_s: float
    score_s: float
    update_s: float

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> TimeSplit | None:
        """Return the split of a line of metrics.jsonl, or None if it was not timed."""
        if line.get("step_s") is None or "update_s" not in line:
            return None
        return cls(line.get("generate_s", 0.0), line.get("score_s", 0.0), line["update_s"])

    @property
    def whole_s(self) -> float:
        """Seconds of the whole step."""
        return self.generate_s + self.score_s + self.update_s

    def shares(self) -> dict[str, float]:
        """Return the share of each part; all zero for a step that took no time."""
        whole = self.whole_s or 1.0
        return {
            "generate": self.generate_s / whole,
            "score": self.score_s / whole,
            "update": self.update_s / whole,
        }

    def describe(self) -> str:
        """Return the split in one line."""
        parts = ", ".join(f"{name} {share:.0%}" for name, share in self.shares().items())
        return f"a step takes {self.whole_s:.1f} s: {parts}"


@dataclass(frozen=True, slots=True)
class Work:
    """What a step's time is spent on, as far as a lever depends on it.

    Attributes:
        cap: The completion cap, in tokens.
        longest: The longest completion of the step, in tokens.
        on_gpu: Whether the model is on a GPU.
        uses_vllm: Whether vLLM generates.
        checkpointing: Whether activations are computed anew in the backward pass.
        switched_off: The trainer's shortcuts that are off, each with the reason.
    """

    cap: int
    longest: float
    on_gpu: bool
    uses_vllm: bool
    checkpointing: bool
    switched_off: Mapping[str, str] = field(default_factory=dict)


def best_lever(split: TimeSplit, work: Work) -> str | None:
    """Return what shortens the step most, if one part takes `DOMINANT` of it; None otherwise."""
    part, share = max(split.shares().items(), key=lambda found: found[1])
    if share < DOMINANT:
        return None
    lever = {"generate": _generation, "score": _scoring, "update": _update}[part](work)
    return None if lever is None else f"{share:.0%} of a step is {_NAMED[part]}: {lever}"


_NAMED = {"generate": "generation", "score": "scoring", "update": "the update"}


def _generation(work: Work) -> str | None:
    reason = work.switched_off.get("fast rollouts")
    if reason is not None and not work.uses_vllm:
        return f"transformers generates, because {reason}"
    if work.on_gpu and not work.uses_vllm:
        return "let vLLM generate (grpo.vllm=colocate)"
    if work.uses_vllm and work.cap > _SPARE_CAP * work.longest:
        return (
            f"the longest completion has {work.longest:.0f} tokens, lower grpo.max_completion_tokens "
            f"from {work.cap} and vLLM batches more of them"
        )
    return None


def _scoring(work: Work) -> str:
    return "a reward is slow; call what it waits for in parallel, or make it an async function"


def _update(work: Work) -> str | None:
    for shortcut in ("live rows only", "shared prompts"):
        if shortcut in work.switched_off:
            return f"{shortcut} is off, because {work.switched_off[shortcut]}"
    if work.checkpointing:
        return "set grpo.gradient_checkpointing=false if the memory allows, it computes every layer twice"
    return None
