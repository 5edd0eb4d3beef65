"""Rules on the course of a GRPO run: what it had and lost, what it gained and should not have."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from warmstart.diagnosis.cause import Severity
from warmstart.diagnosis.findings import Finding, finding
from warmstart.diagnosis.window import (
    EARLY,
    Evaluation,
    RolloutStats,
    TrainingWindow,
    best_before,
    mean,
    noise,
    rise,
)
from warmstart.diagnosis.wording import whole
from warmstart.estimates import percent

CLEAR = 4.0
"""Standard errors that a rise or a fall must have. Many looks at one run make two of them chance."""
HALF = 0.5
"""A format, or an outcome, of less than this share of its best has collapsed (DESIGN 2)."""
WORTH = 0.2
"""A best below this share is no state to have fallen from."""
SHORT = 5
"""Logged steps of a mean that falls are compared by: a rate ten times too large ruins a run within twenty."""
SOON = 20
"""Logged steps in which no other cause has been seen to ruin a run that began well."""
UNDONE = 0.4
"""What the format loses between the first step, which no update precedes, and one of the next, for them to
have undone it: ten standard errors of a step of 128 completions, three of one of sixteen."""
SPIKE = 10.0
"""How many times the early gradient norm is a spike; healthy tiny runs stay within five."""
ENTROPY_JUMP = 3.0
"""How many times the early entropy, and `ENTROPY_RISE` nats more, is a jump; or a third of it or less."""
ENTROPY_RISE = 0.5
KL_JUMP = 1.0
"""Nats per token from the reference; healthy runs stay below 0.1."""
HOLES = 0.05
"""Share of completions paid for answers that the lenient grader calls wrong (research/users.md, 16)."""
BLOCKS = 0.2
"""Share of completions with one of `TRICKS`; healthy runs have hardly any."""
TRICKS = {
    "several_numbers": "give several numbers as the answer",
    "several_blocks": "have several answer blocks",
    "repeated_tags": "write a tag more than once",
    "copied": "reason word for word as one of another problem does, as an exemplar that is copied",
    "no_reasoning": "have no reasoning before the answer",
}
"""Ways to be paid without solving anything, by the statistic that shows them."""
SHORTER = 0.2
"""Reasoning of less than this share of its early length has collapsed (research/users.md, 16)."""
FLAT = 50
"""Logged steps without any change before a rate is called too small (research/users.md, 13)."""
STILL = 3.0
"""Standard errors within which a series counts as unchanged."""
TRAVEL = 3e-4
"""Adam moves no weight further than the sum of the rates. LoRA runs that learn have 1e-3 and more: 1e-5
for a hundred steps and up (TRL, LoRA Without Regret); 1e-6 for fifty has 5e-5."""
KL_STILL = 1e-3
"""Nats per token: the policy is still the reference."""
RATE_RATIO = 0.15
"""Below this share of the usual rate, "ten times too small" is literal; above its inverse, too large."""
FIRST = 2
"""Logged steps after which plumbing can be judged (research/users.md, triage)."""
SETTLED = 5
"""Logged steps after which rates can be judged: five steps of 16 groups of 8 are 640 completions."""


def hacking(window: TrainingWindow) -> Finding | None:
    """The training reward rises, or stays paid, by something that is no right answer."""
    for look in (_paid_wrong, _held_out_falls, _format_for_answers, _spread, _no_reasoning):
        evidence = look(window)
        if evidence:
            return finding("hacking", evidence)
    return None


def _paid_wrong(window: TrainingWindow) -> str:
    if len(window.rollouts) < SHORT:
        return ""
    share = _recent(window, "paid_wrong")
    if share < HOLES:
        return ""
    return f"{whole(share)} of the completions are paid as right, and the lenient grader calls them wrong"


def _held_out_falls(window: TrainingWindow) -> str:
    gained, clear = rise(window.right_T)
    if math.isnan(gained):
        gained, clear = rise(window.of("reward"))
    fallen = _fallen_evaluation(window, share=1.0)
    if fallen is None or clear < CLEAR:
        return ""
    best, last = fallen
    return (
        f"the training reward rose by {clear:.0f} standard errors, and held-out strict accuracy fell from "
        f"{percent(best.strict.value)} % at step {best.step} to {percent(last.strict.value)} % at step {last.step}"
    )


def _fallen_evaluation(window: TrainingWindow, share: float) -> tuple[Evaluation, Evaluation] | None:
    """Return the best and the last held-out result if the last is below ``share`` of it for certain."""
    if len(window.evaluations) < 2:
        return None
    last = window.evaluations[-1]
    best = max(window.evaluations[:-1], key=lambda result: result.strict.value)
    is_lower = last.strict.value < share * best.strict.value and last.strict.high < best.strict.low
    return (best, last) if is_lower else None


def _format_for_answers(window: TrainingWindow) -> str:
    """Format up, right answers down, and so few right that no choice of harder problems explains it."""
    more, clear_more = rise(window.format_T)
    less, clear_less = rise(window.right_T)
    now = mean(window.right_T[-window.window :])
    if clear_more < CLEAR or clear_less > -CLEAR or not now < 0.25 or not less < -0.25 * (now - less):
        return ""
    return (
        f"the format rose by {100 * more:.0f} points and right answers fell by {-100 * less:.0f} "
        f"to {whole(now)} of the completions"
    )


def _spread(window: TrainingWindow) -> str:
    """A way of writing that no right answer needs is common, and more so than at the start or very common.

    What half of the completions do needs no ten steps to be told. Of several ways the commonest is named.
    While the reward falls nothing is paid: an unsteady policy writes tags twice too, and mends it.
    """
    reward = window.of("reward")
    if len(window.rollouts) <= SHORT or mean(reward[-SHORT:]) < mean(reward[:SHORT]) - noise(reward):
        return ""
    is_long = len(window.rollouts) >= 2 * SHORT
    found = []
    for name, words in TRICKS.items():
        early, now = _early(window, name), _recent(window, name)
        if now >= max(HALF, early) or (is_long and now >= max(BLOCKS, early + BLOCKS / 2)):
            found.append((now, f"{whole(now)} of the completions {words}, {whole(early)} had at the start"))
    return max(found, default=(0.0, ""))[1]


def _no_reasoning(window: TrainingWindow) -> str:
    if len(window.rollouts) <= SHORT:
        return ""
    early, now = _early(window, "reasoning_words"), _recent(window, "reasoning_words")
    reward = window.of("reward")
    paid = mean(reward[-SHORT:])
    if now < 1 and paid > 0:
        return f"the completions are paid {paid:.2g} and have no reasoning before the answer"
    if (
        len(window.rollouts) < 2 * SHORT
        or early < SHORT
        or now >= SHORTER * early
        or paid < mean(reward[:SHORT])
    ):
        return ""
    return f"the reasoning fell from {early:.0f} words to {now:.0f} while the reward held"


def _recent(window: TrainingWindow, name: str) -> float:
    return _mean_of(window.rollouts[-SHORT:], name)


def _early(window: TrainingWindow, name: str) -> float:
    """Return the mean of the first steps, of those that are not "now"."""
    return _mean_of(window.rollouts[: min(SHORT, max(1, len(window.rollouts) - SHORT))], name)


def _mean_of(stats: tuple[RolloutStats, ...], name: str) -> float:
    return float(np.mean([getattr(one, name) for one in stats]))


def rate_too_large(window: TrainingWindow) -> Finding | None:
    """Something good fell clearly, and soon, or the gradient, the entropy or the distance jumped.

    The distance is that from the reference, where it is logged. What the very first updates undo is said at
    once, before its consequences are taken for causes. A rate far above the usual one is worth a
    warning before it has ruined anything.
    """
    given, usual = window.peak_rate, window.usual_rate
    if undone := _undone(window):
        return finding("rate-too-large", undone)
    if (
        given
        and usual
        and given > usual / RATE_RATIO
        and len(window) >= FIRST
        and not _fall(window, 1 - WORTH)
    ):
        return finding(
            "rate-too-large",
            f"the learning rate is {given:.2g}, and {usual:.1g} is usual for a model of this size",
            f"watch the first steps, or take {usual:.1g}",
            level=Severity.WARNING,
        )
    fallen = _fall(window, 1 - WORTH)
    signs = _jumps(window)
    if len(window) <= SOON:
        signs.append(f"within {len(window)} steps of the start")
    if not fallen or not signs:
        return None
    return finding("rate-too-large", f"{fallen}; {', '.join(signs)}")


def _undone(window: TrainingWindow) -> str:
    """Return what the first updates undid, in words; blank if nothing."""
    written = window.format_T[: SHORT + 1]
    if len(window) > SHORT + 1 or len(written) < FIRST:
        return ""
    first, now = float(written[0]), float(written[-1])
    if not (first - now > UNDONE and now < HALF * first):
        return ""
    updates = "one update" if len(written) == FIRST else f"{len(written) - 1} updates"
    return f"the format fell from {percent(first)} % to {percent(now)} % of the completions in {updates}"


def collapse(window: TrainingWindow) -> Finding | None:
    """Format, outcome or held-out accuracy is below half of its best."""
    evidence = _fall(window, HALF)
    held_out = _fallen_evaluation(window, HALF)
    if not evidence and held_out is not None:
        best, last = held_out
        evidence = (
            f"held-out strict accuracy fell from {percent(best.strict.value)} % at step {best.step} "
            f"to {percent(last.strict.value)} % at step {last.step}"
        )
    return finding("collapse", evidence) if evidence else None


def _fall(window: TrainingWindow, share: float) -> str:
    """Return what fell below ``share`` of its best, in words; blank if nothing did.

    The mean of right answers also falls where a sampler turns to harder problems: then more groups are
    live, not fewer, so a fall counts only with more groups failing. The total reward, whose terms a
    reward plan changes, is looked at only where its terms are not logged.
    """
    if fell := _below_best(window, window.format_T, share):
        return f"the format fell from {percent(fell[0])} % to {percent(fell[1])} % of the completions"
    fell = _below_best(window, window.right_T, share)
    if fell and _more_fail(window):
        return f"right answers fell from {percent(fell[0])} % to {percent(fell[1])} % of the completions"
    if not window.rewards:
        fell = _below_best(window, window.of("reward"), share)
        if fell:
            return f"the reward fell from {fell[0]:.2f} to {fell[1]:.2f}"
    return ""


def _below_best(window: TrainingWindow, values_T: np.ndarray, share: float) -> tuple[float, float] | None:
    best, _ = best_before(values_T, SHORT)
    now = mean(values_T[-SHORT:])
    if not best >= WORTH or not now < share * best:
        return None
    return (best, now) if best - now > CLEAR * noise(values_T) * math.sqrt(2 / SHORT) else None


def _more_fail(window: TrainingWindow) -> bool:
    failing = window.of("all_fail_share")
    early, now = mean(failing[:EARLY]), mean(failing[-SHORT:])
    return math.isnan(now) or now > early + WORTH


def _jumps(window: TrainingWindow) -> list[str]:
    signs = []
    norms = window.of("grad_norm")
    early, most = (
        _middle(norms[:EARLY]),
        float(np.max(norms[EARLY:], initial=0.0, where=np.isfinite(norms[EARLY:]))),
    )
    if early > 0 and most > SPIKE * early:
        signs.append(f"the gradient norm rose from {early:.2g} to {most:.2g}")
    entropies = window.of("entropy")
    early, now = _middle(entropies[:EARLY]), mean(entropies[-SHORT:])
    if now > max(ENTROPY_JUMP * early, early + ENTROPY_RISE) or now < early / ENTROPY_JUMP:
        signs.append(f"the entropy went from {early:.2g} to {now:.2g} nats per token")
    distance = mean(window.of("kl")[-SHORT:])
    if distance > KL_JUMP:
        signs.append(f"the policy is {distance:.2g} nats per token from the reference")
    return signs


def _middle(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else math.nan


def rate_too_small(window: TrainingWindow) -> Finding | None:
    """There is signal, nothing has changed for `FLAT` steps, and the weights cannot have moved.

    A rate far below the usual one is said as soon as there is signal. A run that has levelled off is as flat; it takes a sum of rates, a distance from the reference or a
    usual rate to tell them apart.
    """
    live, given, usual = window.now("live_share"), window.peak_rate, window.usual_rate
    if given and usual and given < RATE_RATIO * usual and len(window) >= SETTLED and live >= WORTH:
        return finding(
            "rate-too-small",
            f"the learning rate is {given:.2g}, and {usual:.1g} is usual for a model of this size",
        )
    if len(window) < FLAT or not live >= WORTH:
        return None
    watched = (window.of("reward"), window.right_T, window.format_T, window.of("entropy"))
    if any(abs(rise(values)[1]) >= STILL for values in watched):
        return None
    reason = _hardly_moved(window)
    if not reason:
        return None
    evidence = (
        f"{whole(live)} of the groups are live, and in {len(window)} steps nothing has changed: {reason}"
    )
    return finding("rate-too-small", evidence)


def _hardly_moved(window: TrainingWindow) -> str:
    rates = window.of("learning_rate")
    known = rates[np.isfinite(rates)]
    distance, change = window.now("kl"), window.now("weight_change")
    if distance < KL_STILL and mean(window.of("kl")) != 0:
        return f"the policy is {distance:.1g} nats per token from the reference"
    if change < TRAVEL:
        return f"the weights have changed by {change:.1g} of themselves"
    if known.size and known.sum() < TRAVEL:
        return f"no weight can have moved further than {known.sum():.1g}, the sum of the learning rates"
    if known.size and window.usual_rate and known.max() < RATE_RATIO * window.usual_rate:
        return f"the learning rate is {known.max():.1g}; {window.usual_rate:.1g} is usual here"
    return ""


RULES: tuple[Callable[[TrainingWindow], Finding | None], ...] = (
    hacking,
    rate_too_large,
    collapse,
    rate_too_small,
)
