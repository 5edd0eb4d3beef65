"""Rules on a running GRPO: whether the last steps could teach anything, and what if not.

What changed in the course of the run (collapse, hacking, the learning rate) is in `rules_course`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from warmstart.diagnosis.cause import Severity
from warmstart.diagnosis.findings import Finding, explaining, finding
from warmstart.diagnosis.rules_course import FIRST, SETTLED
from warmstart.diagnosis.rules_course import RULES as OF_THE_COURSE
from warmstart.diagnosis.rules_plumbing import TOLERATED, UNDECIDED_BROKEN
from warmstart.diagnosis.rules_probe import GATED, LIVE, RIGHT_MOST, RIGHT_RARE
from warmstart.diagnosis.rules_writing import (
    ALL_SAME,
    COLD,
    ENTROPY_GONE,
    FORMAT_RARE,
    SAME,
    UNFINISHED_ILL,
    UNFINISHED_WARN,
)
from warmstart.diagnosis.window import TrainingWindow, mean
from warmstart.diagnosis.wording import whole

ZERO_LOSS = 0.05
"""Below this mean loss users ask what is broken; healthy tiny runs scatter within ±0.02."""
UNDECIDED_OFTEN = 0.05
"""Share of undecided completions in training that is worth a word; symbolic graders time out now and then."""
ENGINE_APART = 0.1
"""Mean absolute gap in nats per token that rounding does not explain: an importance weight off by a tenth."""

Rule = Callable[[TrainingWindow], Finding | None]


def diagnose_training(window: TrainingWindow) -> list[Finding]:
    """Return what keeps the run from learning, the explaining cause first.

    A key that was not logged silences the rules that need it. Beside anything serious "healthy" is not said.
    """
    found = explaining(found for rule in RULES if (found := rule(window)))
    is_serious = any(one.is_serious for one in found)
    return [one for one in found if not (is_serious and one.code == "healthy-zero-loss")]


def not_a_number(window: TrainingWindow) -> Finding | None:
    """A loss or a gradient norm in the window is no finite number."""
    recent = window.broken_T[-window.window :]
    if not recent.any():
        return None
    step = window.step_T[-window.window :][recent][0]
    return finding(
        "not-a-number",
        f"loss or gradient was no finite number in {int(recent.sum())} of the last {recent.size} steps, "
        f"first at step {step}",
        step=int(step),
    )


def no_gradient(window: TrainingWindow) -> Finding | None:
    """The last steps have rewards that differ and a gradient of exactly 0.

    TRL's own spread decides where it is logged: an outcome gate can leave nothing of a live group.
    """
    norms, stds, live = (
        window.of(key)[-window.window :] for key in ("grad_norm", "reward_std", "live_share")
    )
    has_signal = np.where(np.isfinite(stds), stds > 1e-6, live > 0) & ~(live == 0)
    judged = np.isfinite(norms) & has_signal
    if judged.sum() < FIRST or (norms[judged] != 0).any():
        return None
    count = int(judged.sum())
    if window.masks_truncated and window.now("truncated_share") > 0.99:
        return finding(
            "all-masked",
            f"truncated completions are masked and {whole(window.now('truncated_share'))} are truncated",
            "raise the cap, or do not mask truncated completions",
        )
    return finding(
        "gradient-blocked",
        f"rewards differ and the gradient norm is 0 in all of the last {count} steps with signal",
    )


def undecided(window: TrainingWindow) -> Finding | None:
    """The outcome of too many completions cannot be told."""
    share = window.now("undecided_share")
    if len(window) < FIRST or not share > max(TOLERATED, UNDECIDED_OFTEN):
        return None
    level = Severity.BROKEN if share >= UNDECIDED_BROKEN else Severity.WARNING
    evidence = f"the outcome of {whole(share)} of the completions could not be told"
    return finding("reward-undecided", evidence, level=level, share=share)


def engine_gap(window: TrainingWindow) -> Finding | None:
    """The engine that samples and the trainer give a token different probabilities."""
    apart = window.now("engine_gap")
    if len(window) < FIRST or not apart > ENGINE_APART:
        return None
    evidence = (
        f"vLLM's and the trainer's log-probabilities are {apart:.2f} nats per token apart in the last steps; "
        "what is sampled is not what is trained"
    )
    return finding("engine-gap", evidence, gap=apart)


def sampling_degenerate(window: TrainingWindow) -> Finding | None:
    """The groups of the last kept rollouts hold little but one and the same text.

    Without entropy the model is to blame and not the sampler, unless that is cold: then it takes less, and
    the entropy it leaves says nothing.
    """
    recent = window.rollouts[-window.window :]
    if len(recent) < FIRST or window.group_size < 2:
        return None
    is_cold = window.temperature is not None and window.temperature < COLD
    distinct = float(np.mean([stats.distinct for stats in recent]))
    if distinct - 1 / window.group_size > (1 - (SAME if is_cold else ALL_SAME)) * (1 - 1 / window.group_size):
        return None
    is_models = _entropy(window) < ENTROPY_GONE or window.now("truncated_share") >= UNFINISHED_ILL
    if is_models and not is_cold:
        return None
    evidence = (
        f"a group of {window.group_size} holds {distinct * window.group_size:.1f} distinct texts on average"
    )
    if window.temperature is not None:
        evidence += f" (temperature {window.temperature:g})"
    return finding("sampling-degenerate", evidence, distinct=distinct)


def unfinished(window: TrainingWindow) -> Finding | None:
    """Many completions run into the cap: cut off, or never stopping.

    Right answers are paid only where they are complete. Where they are paid for more completions than
    ended, or rollouts show texts that go on after their answer, it is the end of the turn that is missing.
    """
    share = window.now("truncated_share")
    if len(window) < FIRST or not share >= UNFINISHED_WARN:
        return None
    right = mean(window.right_T[-window.window :])
    running = [stats.runs_on for stats in window.rollouts[-window.window :]]
    is_running = bool(running) and float(np.mean(running)) >= SAME * share
    answers_anyway = right > 2 * (1 - share) and right >= FORMAT_RARE
    level = None if share >= UNFINISHED_ILL else Severity.WARNING
    cap = f" of {window.cap:,} tokens" if window.cap else ""
    if not (is_running or answers_anyway):
        evidence = f"{whole(share)} of the completions ran into the cap{cap}"
        return finding("truncated", evidence, level=level, share=share)
    evidence = f"{whole(share)} of the completions ran into the cap{cap}, and "
    evidence += (
        f"{whole(right)} of all have a right answer before it"
        if answers_anyway
        else f"{whole(float(np.mean(running)))} of all repeat themselves or go on after their answer"
    )
    live = window.now("live_share")
    if live >= LIVE:
        evidence += f"; {whole(live)} live groups are no health here"
    return finding(
        "never-stops", evidence, "stop; warm-start until completions end their turn", level=level, share=share
    )


def no_format(window: TrainingWindow) -> Finding | None:
    """The exact format is (nearly) never sampled; a warning where answers are paid without it."""
    share = mean(window.format_T[-window.window :])
    if len(window) < SETTLED or not share < FORMAT_RARE:
        return None
    right = mean(window.right_T[-window.window :])
    if right >= FORMAT_RARE:
        evidence = (
            f"{whole(right)} of the completions are paid as right and {whole(share)} have the exact format"
        )
        return finding("format-inexact", evidence, share=share)
    return finding("no-format", f"{whole(share)} of the completions have the exact format", share=share)


def groups_dead(window: TrainingWindow) -> Finding | None:
    """Few groups differ in outcome: why, by what they have in common.

    Too hard takes a format that is there: the outcome reward sees no right answer without it.
    """
    live = window.outcome_live
    if len(window) < SETTLED or not live < LIVE:
        return None
    right = mean(window.right_T[-window.window :])
    fail, passed = window.now("all_fail_share"), window.now("all_pass_share")
    evidence = f"{whole(live)} of the groups differ in outcome"
    if right >= RIGHT_MOST or (math.isnan(right) and passed >= 0.8):
        if _entropy(window) < ENTROPY_GONE and _entropy_at_start(window) < ENTROPY_GONE:
            evidence += f" and an entropy of {_entropy(window):.2g} nats per token is left, as from the start"
            return finding("over-warmed", evidence)
        share = f"{whole(right)} of the completions are right" if not math.isnan(right) else "nearly all pass"
        return finding("saturated", f"{share} and {evidence}")
    written = mean(window.format_T[-window.window :])
    if right < RIGHT_RARE and written >= FORMAT_RARE:
        share = f"{whole(right)} of the completions are right, {whole(written)} have the format"
        return finding("too-hard", f"{share} and {evidence}")
    otherwise = 1 - window.now("live_share") - fail - passed
    if otherwise >= 0.5:
        evidence = f"in {whole(otherwise)} of the groups right and wrong answers earn the same"
        return finding("rewards-cancel", evidence, share=otherwise)
    if not math.isnan(fail + passed):
        evidence += f": in {whole(fail)} all fail, in {whole(passed)} all pass"
    return finding("few-live", evidence, live_share=live)


def shaping_only(window: TrainingWindow) -> Finding | None:
    """Groups are live by their total, and hardly any can be by its outcome."""
    live, outcome = window.now("live_share"), window.outcome_live
    if len(window) < SETTLED or not live >= LIVE or not outcome < GATED * live:
        return None
    evidence = f"{whole(live)} of the groups differ in total reward, {whole(outcome)} at most in outcome"
    return finding("shaping-only", evidence, live_total=live, live_outcome=outcome)


def healthy_zero_loss(window: TrainingWindow) -> Finding | None:
    """The loss is about 0 while rewards differ and a gradient arrives: as it must be."""
    loss, norm, std = (window.now(key) for key in ("loss", "grad_norm", "reward_std"))
    has_signal = std > 0 or window.now("live_share") > 0
    if len(window) < FIRST or not (abs(loss) < ZERO_LOSS and norm > 0 and has_signal):
        return None
    return finding(
        "healthy-zero-loss",
        f"the loss is {abs(loss):.3f}, because advantages sum to 0; the gradient norm is {norm:.2g}",
    )


def _entropy(window: TrainingWindow) -> float:
    return window.now("entropy")


def _entropy_at_start(window: TrainingWindow) -> float:
    return mean(window.of("entropy")[:SETTLED])


RULES: tuple[Rule, ...] = (
    not_a_number,
    no_gradient,
    undecided,
    engine_gap,
    sampling_degenerate,
    unfinished,
    no_format,
    groups_dead,
    shaping_only,
    *OF_THE_COURSE,
    healthy_zero_loss,
)
