from __future__ import annotations

import math

import pytest
from healthy import healthy_smoke

from warmstart.diagnosis import (
    DataFacts,
    RewardFault,
    Severity,
    Targets,
    UnparsableGold,
    diagnose_data,
    diagnose_faults,
    diagnose_smoke,
    told_twice,
)


def test_sound_data_has_no_finding() -> None:
    assert diagnose_data(DataFacts(rows=1000, held_out=100)) == []


def test_a_missing_column_is_the_one_thing_to_say() -> None:
    facts = DataFacts(
        10, missing_columns=("answer",), columns=("question", "gold"), without_gold=tuple(range(10))
    )
    (found,) = diagnose_data(facts)
    assert (found.code, found.severity) == ("column-missing", Severity.BROKEN)
    assert found.evidence == "there is no column 'answer'; there are: question, gold"


def test_two_percent_of_golds_missing_breaks_and_one_in_a_thousand_warns() -> None:
    (many,) = diagnose_data(DataFacts(100, without_gold=(3, 8)))
    (one,) = diagnose_data(DataFacts(1000, without_gold=(3,)))
    assert many.evidence == "2 of 100 (2.0 %) rows have no gold answer, row 3, 8 among them"
    assert (many.severity, one.severity) == (Severity.BROKEN, Severity.WARNING)


def test_an_unparsable_gold_is_shown_with_its_row() -> None:
    (found,) = diagnose_data(DataFacts(50, unparsable=(UnparsableGold(7, "??", "no number"),)))
    assert found.code == "gold-unparsable"
    assert "row 7: '??' (no number)" in found.evidence


def test_overlap_is_a_warning() -> None:
    (found,) = diagnose_data(DataFacts(1000, overlap=5, held_out=200))
    assert (found.code, found.severity) == ("overlap", Severity.WARNING)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("raises", "reward-raises"),
        ("wrong-length", "reward-wrong-length"),
        ("times-out", "reward-times-out"),
        ("not-a-number", "reward-not-a-number"),
        ("undecided", "reward-undecided"),
    ],
)
def test_a_fault_on_half_of_the_rows_breaks_the_run(kind: str, code: str) -> None:
    (found,) = diagnose_faults([RewardFault("mine", kind, 64, 128, "KeyError: 'answer'")])  # type: ignore[arg-type]
    assert (found.code, found.severity) == (code, Severity.BROKEN)
    assert "mine" in found.evidence
    assert "64 of 128 (50.0 %) completions: KeyError: 'answer'" in found.evidence


def test_one_exception_is_enough_and_one_timeout_is_not() -> None:
    assert [found.code for found in diagnose_faults([RewardFault("mine", "raises", 1, 512)])] == [
        "reward-raises"
    ]
    assert diagnose_faults([RewardFault("mine", "times-out", 1, 128)]) == []
    assert diagnose_faults([RewardFault("mine", "undecided", 1, 128)]) == []


def test_a_tenth_undecided_is_a_warning() -> None:
    (found,) = diagnose_faults([RewardFault("mine", "undecided", 51, 512)])
    assert found.severity is Severity.WARNING


def test_a_step_that_works_has_no_finding() -> None:
    assert diagnose_smoke(healthy_smoke()) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        (
            {"trainable": 0, "grad_norm": 0.0, "grad_norm_lora_b": None, "largest_change": 0.0},
            "adapter-frozen",
        ),
        ({"format_in_trainer": (0, 64)}, "adapter-dropped"),
        (
            {"supervised_tokens": 0, "grad_norm": 0.0, "grad_norm_lora_b": 0.0, "largest_change": 0.0},
            "all-masked",
        ),
        ({"loss": math.nan, "grad_norm": math.nan, "grad_norm_lora_b": math.nan}, "not-a-number"),
        ({"grad_norm": math.inf}, "not-a-number"),
        ({"grad_norm": 0.0, "grad_norm_lora_b": 0.0, "largest_change": 0.0}, "gradient-blocked"),
        ({"grad_norm_lora_b": 0.0}, "gradient-blocked"),
        ({"largest_change": 0.0}, "gradient-blocked"),
        ({"largest_change": 0.0, "learning_rate": 0.0}, "rate-too-small"),
        ({"targets": Targets(3, 64, "strict_format_reward_func 0.0")}, "reward-blind"),
    ],
)
def test_a_broken_step_is_named_by_its_cause(changes: dict[str, object], code: str) -> None:
    assert [found.code for found in diagnose_smoke(healthy_smoke(**changes))] == [code]


def test_checkpointing_without_input_gradients_is_said() -> None:
    smoke = healthy_smoke(
        grad_norm=0.0,
        grad_norm_lora_b=0.0,
        largest_change=0.0,
        has_checkpointing=True,
        inputs_require_grad=False,
    )
    (found,) = diagnose_smoke(smoke)
    assert "enable_input_require_grads" in found.advice


@pytest.mark.parametrize("inside", [(57, 64), (52, 64), (64, 64)])
def test_a_format_rate_within_its_noise_is_no_lost_adapter(inside: tuple[int, int]) -> None:
    assert diagnose_smoke(healthy_smoke(format_in_trainer=inside)) == []


def test_one_gold_for_all_problems_is_another_column() -> None:
    (found,) = diagnose_data(DataFacts(64, same_gold=60, commonest="True"))
    assert (found.code, found.severity) == ("gold-alike", Severity.BROKEN)
    assert found.evidence == "60 of 64 (93.8 %) problems have the gold answer 'True'"
    assert diagnose_data(DataFacts(64, same_gold=40, commonest="True")) == []
    assert diagnose_data(DataFacts(64, repeated=63, same_gold=64))[0].code == "problems-repeated"


def test_a_problem_with_two_golds_is_a_conflict_and_one_asked_twice_is_not() -> None:
    told = [("1 + 1?", "2"), ("1 + 1?", "3"), ("2 + 2?", "4"), ("2 + 2?", "4")]
    facts = DataFacts(4, **told_twice(told))
    assert (facts.repeated, facts.conflicting, facts.same_gold, facts.commonest) == (2, 1, 2, "4")
    assert [found.code for found in diagnose_data(facts)] == ["gold-conflicts"]


def test_copies_are_worth_a_word_from_a_fifth_of_the_rows_on() -> None:
    assert [f.code for f in diagnose_data(DataFacts(100, repeated=21))] == ["problems-repeated"]
    assert diagnose_data(DataFacts(100, repeated=20)) == []


def test_an_adapter_whose_b_matrices_are_frozen_is_frozen() -> None:
    (found,) = diagnose_smoke(healthy_smoke(trainable_lora_b=0, grad_norm_lora_b=0.0, largest_change=0.0))
    assert found.code == "adapter-frozen"
    assert "none of them in LoRA's B matrices" in found.evidence


def test_a_gradient_clipped_to_nothing_is_blocked_and_the_clipping_is_said() -> None:
    (found,) = diagnose_smoke(healthy_smoke(largest_change=1e-8, max_grad_norm=1e-10))
    assert found.code == "gradient-blocked"
    assert found.advice == "raise max_grad_norm: 0.1 to 1 is usual"
    (other,) = diagnose_smoke(healthy_smoke(largest_change=1e-8, max_grad_norm=0.2))
    assert other.advice == "give the optimiser the parameters that require a gradient"
