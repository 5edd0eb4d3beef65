"""What the rollout log keeps of a step: a row per completion, with what it was paid and what was said of it.

The columns are those of `warmstart.runs.rollout_log.COLUMNS`; docs/rollouts.md explains them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from warmstart.learning_signal import live_groups
from warmstart.records import Verdict
from warmstart.rewards.functions import completion_text
from warmstart.rollouts.decoding import Decoded
from warmstart.tags import DEFAULT_TAGS, Parsed, Tags, parse

Row = dict[str, Any]


def written(
    examples: Sequence[Mapping[str, Any]],
    completions: Sequence[Any],
    token_ids: Sequence[Sequence[int]],
    decoded: Sequence[Decoded] | None,
    prefill: str = "",
) -> list[Row]:
    """Return what one process wrote in a step: problem, text and what was seen while it was sampled.

    Args:
        examples: The data set's row of each completion.
        completions: Texts or conversations.
        token_ids: Their tokens.
        decoded: What our own loop knows of them; None where another one sampled. ``log_prob`` is the mean
            over the tokens, in nats, and so is ``entropy``; both are null without it.
        prefill: What the prompt has already written of every completion.
    """
    seen: Sequence[Decoded | None] = decoded or [None] * len(completions)
    return [
        {
            "problem_id": str(example.get("problem_id", "")),
            "question": str(example.get("question", "")),
            "gold": str(example.get("answer", "")),
            "text": prefill + completion_text(completion),
            "tokens": len(ids),
            "log_prob": None if one is None else float(np.mean(one.log_probs)),
            "entropy": None if one is None else one.entropy,
        }
        for example, completion, ids, one in zip(examples, completions, token_ids, seen, strict=True)
    ]


def scored(
    rows: Sequence[Row],
    rewards: npt.NDArray[np.float64],
    totals: npt.NDArray[np.float64],
    *,
    names: Sequence[str],
    group_size: int,
    step: int,
    stage: str | None = None,
    outcome: str | None = None,
    tags: Tags = DEFAULT_TAGS,
) -> list[Row]:
    """Return the rows of a whole step with place, rewards and verdict; only the advantage is still missing.

    Args:
        rows: As `written` returns them, groups one after the other.
        rewards: Shape (completions, rewards), NaN where a reward could not be told.
        totals: Their weighted sums, shape (completions,).
        names: Of the rewards.
        group_size: Completions per group.
        step: The training step.
        stage: The stage of the reward plan, if there is one.
        outcome: The reward that says whether the answer is right; without one there is no verdict.
        tags: The answer format.
    """
    live = np.repeat(live_groups(totals.reshape(-1, group_size)), group_size)
    kept = []
    for index, row in enumerate(rows):
        paid = dict(zip(names, map(_known, rewards[index].tolist()), strict=True))
        parsed = parse(row["text"], tags)
        kept.append(
            {
                "step": step,
                "stage": stage,
                "group": index // group_size,
                "sample": index % group_size,
                **row,
                "verdict": None if outcome is None else str(verdict(paid[outcome], parsed)),
                "given": parsed.answers[-1] if parsed.answers else None,
                "format": parsed.strict,
                "why_not_strict": "; ".join(reason.code for reason in parsed.why_not_strict),
                "rewards": paid,
                "reward": _known(float(totals[index])),
                "live": bool(live[index]),
            }
        )
    return kept


def verdict(paid: float | None, parsed: Parsed) -> Verdict:
    """Return what the grader said of a completion, from what its outcome reward paid.

    Not graded again: a formula would cost another call of Math-Verify, and one that ran out of time the
    first time could be decided the second; the log says what training was paid on.
    """
    if paid is None:
        return Verdict.UNDECIDED
    if paid > 0:
        return Verdict.CORRECT
    return Verdict.WRONG if parsed.answers else Verdict.NO_ANSWER


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
