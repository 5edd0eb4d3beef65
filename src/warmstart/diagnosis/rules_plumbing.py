"""Rules on what must work before a model can be judged: data, reward functions, one synthetic step."""

from __future__ import annotations

import math
from collections.abc import Sequence

from warmstart.diagnosis.cause import Severity
from warmstart.diagnosis.facts import FaultKind, RewardFault
from warmstart.diagnosis.findings import Finding, explaining, finding
from warmstart.diagnosis.plumbing_facts import DataFacts, SmokeFacts
from warmstart.diagnosis.wording import count_of
from warmstart.estimates import wilson

TOLERATED = 0.01
"""Rows that may be amiss before nothing true is learnt: 1 % (research/users.md, triage 1 and 3). A row
that can be dropped is a warning below it."""
BARELY = 0.01
"""Adam's first step moves each weight by the rate; less than this share of it is no step."""
MANY_ROWS = 8
"""Rows below which nothing is said of how alike they are."""
ALIKE = 0.9
"""From this share of rows with one gold on, the gold is not the problems' own."""
REPEATED = 0.2
"""Copies of rows above this share are no chance, and no gentle weighting either."""
UNDECIDED_BROKEN = 0.2
"""From this share of undecided completions on, the groups that remain are too small to train on."""
FORMAT_GAP = 0.05
"""How far the format rate inside the trainer may be below the one after SFT (research/users.md, 6)."""
_SHOWN = 3

_CODES: dict[FaultKind, str] = {
    "raises": "reward-raises",
    "wrong-length": "reward-wrong-length",
    "times-out": "reward-times-out",
    "not-a-number": "reward-not-a-number",
    "undecided": "reward-undecided",
}
_DID: dict[FaultKind, str] = {
    "raises": "raised",
    "wrong-length": "returned the wrong number of values",
    "times-out": "ran out of time",
    "not-a-number": "returned no finite number",
    "undecided": "returned None",
}


def diagnose_data(facts: DataFacts) -> list[Finding]:
    """Return what is wrong with the data, the explaining cause first."""
    rules = (
        column_missing,
        gold_missing,
        gold_unparsable,
        gold_alike,
        gold_conflicts,
        problems_repeated,
        overlap,
    )
    return explaining(found for rule in rules if (found := rule(facts)))


def diagnose_faults(faults: Sequence[RewardFault]) -> list[Finding]:
    """Return what is wrong with the reward functions, the explaining cause first: one finding per kind."""
    return explaining(found for kind in _CODES if (found := reward_fault(kind, faults)))


def diagnose_smoke(facts: SmokeFacts) -> list[Finding]:
    """Return what is wrong with the gradient's way to the weights, the explaining cause first."""
    rules = (
        adapter_frozen,
        adapter_dropped,
        all_masked,
        not_a_number,
        gradient_blocked,
        nothing_moves,
        targets_unpaid,
    )
    return explaining(found for rule in rules if (found := rule(facts)))


def column_missing(facts: DataFacts) -> Finding | None:
    """Any missing column."""
    if not facts.missing_columns:
        return None
    there = ", ".join(facts.columns) or "none"
    lacking = ", ".join(map(repr, facts.missing_columns))
    return finding("column-missing", f"there is no column {lacking}; there are: {there}")


def gold_missing(facts: DataFacts) -> Finding | None:
    """Any row without a gold answer; broken above `TOLERATED`, below it the rows can be dropped."""
    if not facts.without_gold:
        return None
    rows = ", ".join(map(str, facts.without_gold[:_SHOWN]))
    return finding(
        "gold-missing",
        f"{count_of(len(facts.without_gold), facts.rows)} rows have no gold answer, row {rows} among them",
        level=_row_severity(len(facts.without_gold), facts.rows),
        rows=len(facts.without_gold),
    )


def gold_unparsable(facts: DataFacts) -> Finding | None:
    """Any gold answer that cannot be read; broken above `TOLERATED`, below it the rows can be dropped."""
    if not facts.unparsable:
        return None
    shown = "; ".join(f"row {bad.row}: {bad.value!r} ({bad.reason})" for bad in facts.unparsable[:_SHOWN])
    return finding(
        "gold-unparsable",
        f"{count_of(len(facts.unparsable), facts.rows)} gold answers cannot be read: {shown}",
        level=_row_severity(len(facts.unparsable), facts.rows),
        rows=len(facts.unparsable),
    )


def gold_alike(facts: DataFacts) -> Finding | None:
    """(Nearly) all of many different problems have one gold: it is not theirs."""
    different = facts.rows - facts.repeated
    if different < MANY_ROWS or facts.same_gold < ALIKE * facts.rows:
        return None
    evidence = f"{count_of(facts.same_gold, facts.rows)} problems have the gold answer {facts.commonest!r}"
    return finding("gold-alike", evidence, rows=facts.same_gold)


def gold_conflicts(facts: DataFacts) -> Finding | None:
    """Rows with the same problem as an earlier one and another gold; a row or two can be dropped."""
    if not facts.conflicting:
        return None
    evidence = f"{count_of(facts.conflicting, facts.rows)} rows have the problem of an earlier row and another gold answer"
    return finding(
        "gold-conflicts",
        evidence,
        level=_row_severity(facts.conflicting, facts.rows),
        rows=facts.conflicting,
    )


def problems_repeated(facts: DataFacts) -> Finding | None:
    """More than `REPEATED` of the rows are a problem that an earlier row has."""
    if facts.rows < MANY_ROWS or facts.repeated <= REPEATED * facts.rows:
        return None
    evidence = f"{count_of(facts.repeated, facts.rows)} rows have the problem of an earlier row"
    return finding("problems-repeated", evidence, rows=facts.repeated)


def _row_severity(rows: int, of: int) -> Severity:
    return Severity.BROKEN if rows > TOLERATED * of else Severity.WARNING


def overlap(facts: DataFacts) -> Finding | None:
    """Any held-out problem in the training data."""
    if not facts.overlap:
        return None
    evidence = f"{count_of(facts.overlap, facts.held_out)} held-out problems are in the training data"
    return finding("overlap", evidence, problems=facts.overlap)


def reward_fault(kind: FaultKind, faults: Sequence[RewardFault]) -> Finding | None:
    """One kind of fault, by the reward function that shows it most.

    A single row that raises ends a run of stock TRL, and a wrong length or NaN spoils the batch: one is
    enough. Running out of time and "cannot tell" happen to sound graders: there the lower end of the
    interval must be above `TOLERATED`, and "cannot tell" is broken only from `UNDECIDED_BROKEN` on.
    """
    same = [fault for fault in faults if fault.kind == kind and fault.rows > 0]
    if not same:
        return None
    worst = max(same, key=lambda fault: fault.rows / fault.of)
    if kind in ("times-out", "undecided") and wilson(worst.rows, worst.of).low <= TOLERATED:
        return None
    evidence = f"{worst.name} {_DID[kind]} on {count_of(worst.rows, worst.of)} completions"
    if worst.example:
        evidence += f": {worst.example}"
    is_mild = kind == "undecided" and worst.rows < UNDECIDED_BROKEN * worst.of
    return finding(
        _CODES[kind],
        evidence,
        level=Severity.WARNING if is_mild else None,
        reward=worst.name,
        rows=worst.rows,
    )


def adapter_frozen(facts: SmokeFacts) -> Finding | None:
    """No parameter requires a gradient, or none of LoRA's B matrices, which begin at zero."""
    if facts.trainable and facts.trainable_lora_b != 0:
        return None
    evidence = "0 parameters require a gradient"
    if facts.trainable:
        evidence = f"{facts.trainable:,} parameters require a gradient, and none of them in LoRA's B matrices"
    return finding("adapter-frozen", evidence)


def adapter_dropped(facts: SmokeFacts) -> Finding | None:
    """The trainer's own model writes the format less often than the model SFT left behind.

    More than `FORMAT_GAP` below, and the intervals do not touch. Above is no loss of the adapter.
    """
    if facts.format_in_trainer is None or facts.format_after_sft is None:
        return None
    inside, after = wilson(*facts.format_in_trainer), wilson(*facts.format_after_sft)
    if inside.value >= after.value - FORMAT_GAP or inside.high >= after.low:
        return None
    return finding(
        "adapter-dropped",
        f"inside the trainer {count_of(*facts.format_in_trainer)} completions have the format, "
        f"after SFT {count_of(*facts.format_after_sft)} had",
        inside=inside.value,
        after_sft=after.value,
    )


def all_masked(facts: SmokeFacts) -> Finding | None:
    """No token counts in the loss."""
    if facts.supervised_tokens:
        return None
    return finding("all-masked", "0 tokens count in the loss")


def not_a_number(facts: SmokeFacts) -> Finding | None:
    """Loss, gradient or the changed weights are not finite."""
    named = {"loss": facts.loss, "gradient norm": facts.grad_norm, "weight change": facts.largest_change}
    broken = [name for name, value in named.items() if not math.isfinite(value)]
    if not broken:
        return None
    return finding("not-a-number", f"the {' and the '.join(broken)} of one synthetic step is not finite")


def gradient_blocked(facts: SmokeFacts) -> Finding | None:
    """Advantages of +1 and −1 leave no gradient, or one that moves no weight although the rate is positive."""
    norm = facts.grad_norm if facts.grad_norm_lora_b is None else facts.grad_norm_lora_b
    advice = None
    if norm == 0:
        where = "the weights" if facts.grad_norm_lora_b is None else "the B matrices of LoRA"
        evidence = f"advantages of +1 and −1 gave a gradient of 0 on {where}"
        if facts.has_checkpointing and facts.inputs_require_grad is False:
            evidence += "; gradient checkpointing is on and its inputs require no gradient"
            advice = "call enable_input_require_grads(), or turn gradient checkpointing off"
        else:
            advice = "look for a detach() or no_grad() on the way, and for a LoRA alpha of 0"
    elif facts.learning_rate and facts.largest_change < BARELY * facts.learning_rate:
        evidence = (
            f"a gradient of {norm:.2g} moved no weight by more than {facts.largest_change:.2g} in one step "
            f"at a rate of {facts.learning_rate:.2g}"
        )
        advice = "give the optimiser the parameters that require a gradient"
        if facts.max_grad_norm and norm > 1e3 * facts.max_grad_norm:
            evidence += f"; it is clipped to {facts.max_grad_norm:.2g}"
            advice = "raise max_grad_norm: 0.1 to 1 is usual"
    else:
        return None
    return finding("gradient-blocked", evidence, advice, grad_norm=norm)


def nothing_moves(facts: SmokeFacts) -> Finding | None:
    """The rate of the synthetic step is 0: nothing can be said of the weights, and nothing is learnt."""
    if facts.learning_rate != 0 or facts.largest_change != 0:
        return None
    return finding("rate-too-small", "the learning rate is 0", "set a positive rate", level=Severity.BROKEN)


def targets_unpaid(facts: SmokeFacts) -> Finding | None:
    """Any SFT target that does not earn full marks: what the warm start teaches would not be paid."""
    if facts.targets is None or not facts.targets.failing:
        return None
    evidence = f"{count_of(facts.targets.failing, facts.targets.of)} SFT targets do not earn full marks under the rewards"
    if facts.targets.example:
        evidence += f": {facts.targets.example}"
    return finding(
        "reward-blind",
        evidence,
        "make the rewards pay the very texts SFT teaches",
        failing=facts.targets.failing,
    )
