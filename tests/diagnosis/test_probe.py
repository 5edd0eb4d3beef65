from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from healthy import NAMES, cold_probe, completion, healthy_probe
from hypothesis import given
from hypothesis import strategies as st

from warmstart.diagnosis import (
    CAUSES,
    Decision,
    EndToken,
    PlainRates,
    ProbeFacts,
    RewardFault,
    Severity,
    decide,
    diagnose_probe,
    live_chances,
)
from warmstart.estimates import wilson

SEEDS = range(3)


def codes(facts: ProbeFacts) -> list[str]:
    return [found.code for found in diagnose_probe(facts)]


def first(facts: ProbeFacts) -> str:
    return next(iter(codes(facts)), "")


def random_texts(facts: ProbeFacts, *, tail: str = "", answered: bool = False) -> list[list[str]]:
    """Return texts that are all different, cut off in the middle unless ``answered``."""
    random = np.random.default_rng(1)
    answer = "7" if answered else None
    problems, samples = facts.format_P_K.shape
    return [
        [completion(random, answer, is_exact=answered, is_answered=answered) + tail for _ in range(samples)]
        for _ in range(problems)
    ]


def unfinished(
    facts: ProbeFacts, texts: list[list[str]], share: float = 1.0, **changes: object
) -> ProbeFacts:
    """Return the facts with this share of the completions ending at the cap with these texts."""
    cut = np.random.default_rng(2).random(facts.format_P_K.shape) < share
    mixed = [
        [new if is_cut else old for new, old, is_cut in zip(*group, strict=True)]
        for group in zip(texts, facts.texts, cut, strict=True)
    ]
    return replace(
        facts,
        finished_P_K=facts.finished_P_K & ~cut,
        format_P_K=facts.format_P_K & ~cut,
        strict_P_K=np.where(cut, 0.0, facts.strict_P_K),
        tokens_P_K=np.where(cut, facts.cap, facts.tokens_P_K),
        texts=mixed,
        **changes,  # type: ignore[arg-type]
    )


def cut_off(facts: ProbeFacts, share: float = 1.0) -> ProbeFacts:
    """Return the facts with this share of the completions cut before their answer."""
    facts = unfinished(facts, random_texts(facts), share)
    ended = facts.finished_P_K
    return replace(
        facts,
        answered_P_K=facts.answered_P_K & ended,
        lenient_P_K=facts.lenient_P_K * ended,
        rewards_P_K_R=facts.rewards_P_K_R * ended[:, :, None],
    )


def paid(facts: ProbeFacts, outcome: np.ndarray) -> ProbeFacts:
    """Return the facts with another outcome reward."""
    return replace(facts, rewards_P_K_R=np.stack([facts.rewards_P_K_R[:, :, 0], 2.0 * outcome], axis=2))


# -- no false alarm ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_a_healthy_probe_has_no_finding(seed: int) -> None:
    facts = healthy_probe(seed)
    assert codes(facts) == []
    assert decide([], facts.live_outcome.value) is Decision.GO


@given(
    seed=st.integers(0, 10**6),
    mean_solve=st.floats(0.25, 0.7),
    spread=st.floats(1.0, 4.0),
    problems=st.integers(24, 80),
)
def test_healthy_probes_of_any_size_and_skill_have_nothing_serious(
    seed: int, mean_solve: float, spread: float, problems: int
) -> None:
    solve = (mean_solve * spread, (1 - mean_solve) * spread)
    found = diagnose_probe(healthy_probe(seed, problems=problems, solve=solve))
    assert [one.code for one in found if one.severity is not Severity.NOTE] == []


def test_the_chance_of_a_live_group_is_counted_without_replacement() -> None:
    nan = np.nan
    values = np.array(
        [[1, 0, 0, 0], [1, 1, 1, 1], [1, 0, nan, nan], [nan, nan, nan, 1], [1, 1, 0, 0]], dtype=float
    )
    # One right of four is in a pair of them with chance 1/2; two of four make 4 mixed pairs of 6.
    assert live_chances(values, 2).tolist() == pytest.approx([1 / 2, 0, 1, 0, 2 / 3])
    assert live_chances(values, 8).tolist() == [1, 0, 1, 0, 1]


def test_facts_whose_shapes_disagree_are_refused() -> None:
    facts = healthy_probe()
    with pytest.raises(ValueError, match="strict_P_K has shape"):
        replace(facts, strict_P_K=facts.strict_P_K[:3])
    with pytest.raises(ValueError, match="none of"):
        replace(facts, outcome="other")


# -- the cold start ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cold_base_is_named_no_format_with_its_hidden_skill(seed: int) -> None:
    facts = cold_probe(seed)
    (found,) = diagnose_probe(facts)
    right = round(100 * facts.lenient_P_K.mean())
    assert found.code == "no-format"
    assert found.evidence == (
        f"0 of 512 completions used the format (p < 0.6 %); {right} % of them hold the right answer anyway"
    )
    assert decide([found], facts.live_outcome.value) is Decision.FIX


def test_a_format_sampled_once_in_a_hundred_is_still_a_cold_start() -> None:
    facts = cold_probe()
    answered = facts.answered_P_K.copy()
    answered.flat[::100] = True
    assert first(replace(facts, answered_P_K=answered, format_P_K=answered)) == "no-format"


def test_shaping_that_is_live_on_stray_tags_does_not_hide_the_cold_start() -> None:
    facts = cold_probe()
    shaping = 0.125 * np.random.default_rng(0).integers(0, 3, facts.format_P_K.shape)
    facts = replace(facts, rewards_P_K_R=np.stack([shaping, np.zeros_like(shaping)], axis=2))
    assert facts.live_total > 0.9
    assert codes(facts) == ["no-format"]


def test_a_third_in_the_format_is_no_cold_start() -> None:
    facts = healthy_probe()
    rare = np.random.default_rng(0).random(facts.format_P_K.shape) < 0.3
    outcome = facts.lenient_P_K * (facts.answered_P_K & rare)
    facts = replace(
        paid(facts, outcome),
        answered_P_K=facts.answered_P_K & rare,
        format_P_K=facts.format_P_K & rare,
        strict_P_K=facts.strict_P_K * rare,
    )
    assert "no-format" not in codes(facts)


def test_tags_without_the_exact_format_are_a_warning_and_no_cold_start() -> None:
    facts = healthy_probe()
    never = np.zeros_like(facts.format_P_K)
    facts = replace(facts, format_P_K=never, strict_P_K=np.zeros(never.shape))
    assert [(one.code, one.severity) for one in diagnose_probe(facts)] == [
        ("format-inexact", Severity.WARNING)
    ]


# -- the cap and the end -------------------------------------------------------------------------


@pytest.mark.parametrize("facts", [healthy_probe(1), cold_probe(1)], ids=["warm", "cold"])
def test_completions_cut_before_their_answer_are_truncated_and_nothing_else(facts: ProbeFacts) -> None:
    (found,) = diagnose_probe(cut_off(facts))
    assert (found.code, found.severity) == ("truncated", Severity.ILL)
    assert "cap of 160 tokens" in found.evidence
    assert "320" in found.advice


def test_a_cold_base_of_which_half_is_cut_is_truncated_first_and_cold_second() -> None:
    assert codes(cut_off(cold_probe(), 0.6)) == ["truncated", "no-format"]


def test_a_third_cut_is_a_warning_and_five_percent_are_nothing() -> None:
    (found,) = diagnose_probe(cut_off(healthy_probe(2), 0.35))
    assert (found.code, found.severity) == ("truncated", Severity.WARNING)


@pytest.mark.parametrize(
    "tail", ["\n" + "and so on " * 30, "\nQuestion: Bob has 4 pears and eats one of them."]
)
def test_texts_that_loop_or_begin_another_turn_never_stop(tail: str) -> None:
    facts = healthy_probe(1)
    assert first(unfinished(facts, random_texts(facts, tail=tail))) == "never-stops"


def test_a_small_warm_start_that_answers_and_runs_into_the_cap_never_stops() -> None:
    # Seen: 0.7 % exact format, 62 % of the groups live, every completion at the cap.
    facts = healthy_probe(1)
    facts = unfinished(facts, random_texts(facts, answered=True, tail="\n" + "Now, what is left? " * 8))
    found = diagnose_probe(facts)
    assert found[0].code == "never-stops"
    assert facts.live_outcome.value > 0.5
    assert decide(found, facts.live_outcome.value) is Decision.FIX


def test_an_untrained_end_token_is_said() -> None:
    facts = replace(cut_off(healthy_probe(1)), end_token=EndToken("<|im_end|>", 1e-5, is_untrained=True))
    found = diagnose_probe(facts)[0]
    assert found.code == "never-stops"
    assert "the embedding of <|im_end|> is untrained" in found.evidence
    assert first(healthy_probe(end_token=EndToken("<|im_end|>", 1e-5, is_untrained=True))) == ""


# -- sampling ------------------------------------------------------------------------------------


def same_texts(facts: ProbeFacts) -> ProbeFacts:
    """Return the facts with the first completion of every problem in place of all of its group."""
    pick = np.zeros(facts.format_P_K.shape[1], dtype=int)
    return replace(
        facts,
        **{
            name: getattr(facts, name)[:, pick]
            for name in (
                "format_P_K",
                "strict_P_K",
                "lenient_P_K",
                "answered_P_K",
                "finished_P_K",
                "tokens_P_K",
                "rewards_P_K_R",
            )
        },
        texts=[[group[0]] * len(group) for group in facts.texts],
        given_P_K=[[group[0]] * len(group) for group in facts.given_P_K or ()],
    )


@pytest.mark.parametrize("settings", [{"temperature": 0.0}, {"top_k": 1}, {}])
@pytest.mark.parametrize("seed", SEEDS)
def test_groups_of_one_text_are_degenerate_sampling(settings: dict[str, float], seed: int) -> None:
    found = diagnose_probe(replace(same_texts(healthy_probe(seed)), **settings))  # type: ignore[arg-type]
    assert [one.code for one in found] == ["sampling-degenerate"]
    assert ("random stream" in found[0].advice) == (not settings)


def test_a_cold_base_sampled_greedily_is_degenerate_before_it_is_cold() -> None:
    assert codes(replace(same_texts(cold_probe()), temperature=0.0)) == ["sampling-degenerate", "no-format"]


def test_short_texts_that_agree_because_they_are_cut_are_truncated() -> None:
    facts = cut_off(healthy_probe())
    assert first(replace(facts, texts=[["<reasoning>\nFirst"] * 8] * 64)) == "truncated"


def test_equal_texts_of_a_model_without_entropy_are_over_warmed() -> None:
    assert codes(replace(same_texts(healthy_probe()), entropy=0.004)) == ["over-warmed"]


# -- the rewards ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_a_reward_that_pays_no_right_answer_is_blind(seed: int) -> None:
    facts = healthy_probe(seed)
    found = diagnose_probe(paid(facts, np.zeros_like(facts.lenient_P_K)))
    assert [one.code for one in found] == ["reward-blind"]
    assert found[0].severity is Severity.BROKEN


def test_a_reward_that_misses_one_spelling_in_five_is_half_blind() -> None:
    facts = healthy_probe()
    seen = np.random.default_rng(0).random(facts.format_P_K.shape) < 0.8
    (found,) = diagnose_probe(paid(facts, facts.lenient_P_K * facts.answered_P_K * seen))
    assert (found.code, found.severity) == ("reward-blind", Severity.WARNING)


def test_a_reward_of_the_exact_format_alone_is_not_blind_in_a_healthy_run() -> None:
    facts = healthy_probe()
    assert codes(paid(facts, facts.strict_P_K)) == []


def test_a_reward_that_wants_the_exact_format_is_blind_where_answers_come_without() -> None:
    facts = healthy_probe()
    never = np.zeros_like(facts.format_P_K)
    facts = replace(facts, format_P_K=never, strict_P_K=np.zeros(never.shape))
    assert first(paid(facts, np.zeros(never.shape))) == "reward-blind"


def test_a_cold_base_under_a_blind_reward_is_cold_first() -> None:
    assert first(cold_probe()) == "no-format"


def test_a_reward_that_pays_every_answer_pays_wrong_ones() -> None:
    facts = healthy_probe()
    assert codes(paid(facts, facts.answered_P_K.astype(float))) == ["reward-pays-wrong"]


def test_weights_of_opposite_sign_on_one_reward_cancel() -> None:
    facts = healthy_probe()
    outcome = facts.rewards_P_K_R[:, :, 1]
    facts = replace(
        facts,
        rewards_P_K_R=np.stack([outcome / 4, outcome], axis=2),
        weights=(-4.0, 1.0),
    )
    found = diagnose_probe(facts)
    assert found[0].code == "rewards-cancel"
    assert f"-4 · {NAMES[0]}" in found[0].evidence


@pytest.mark.parametrize("weights", [(1.0, -1.0), (1.0, 0.0)])
def test_right_answers_that_earn_no_more_are_outweighed(weights: tuple[float, float]) -> None:
    random = np.random.default_rng(0)
    facts = healthy_probe()
    noise = random.random(facts.format_P_K.shape)
    facts = replace(
        facts, rewards_P_K_R=np.stack([noise, facts.rewards_P_K_R[:, :, 1]], axis=2), weights=weights
    )
    assert first(facts) == "outcome-outweighed"


def test_a_penalty_per_character_outweighs_the_outcome_although_right_answers_are_shorter() -> None:
    facts = healthy_probe()
    right = facts.rewards_P_K_R[:, :, 1]
    length = np.random.default_rng(0).normal(200.0, 40.0, right.shape) - 10.0 * (right > 0)
    facts = replace(facts, rewards_P_K_R=np.stack([-length, right], axis=2))
    [found] = diagnose_probe(facts)
    assert found.code == "outcome-outweighed"
    assert "decides 1" in found.evidence or "decides 2" in found.evidence


def test_a_format_reward_of_ten_times_its_weight_does_not_outweigh_an_outcome_that_needs_it() -> None:
    facts = healthy_probe()
    assert not codes(replace(facts, weights=(10.0, 1.0)))


@pytest.mark.parametrize("kind", ["raises", "wrong-length", "times-out", "not-a-number", "undecided"])
def test_a_broken_reward_explains_what_it_makes_of_the_groups(kind: str) -> None:
    facts = healthy_probe(faults=(RewardFault(NAMES[1], kind, 512, 512, "boom"),))  # type: ignore[arg-type]
    zeros = np.full(facts.format_P_K.shape, np.nan if kind == "undecided" else 0.0)
    assert codes(paid(facts, zeros)) == [f"reward-{kind}"]


# -- golds and skill -----------------------------------------------------------------------------


def against_golds(facts: ProbeFacts, golds: list[str], given: list[list[str | None]]) -> ProbeFacts:
    """Return the facts graded anew against these golds, answers compared as text."""
    lenient = np.array(
        [[answer == gold for answer in group] for gold, group in zip(golds, given, strict=True)]
    )
    graded = replace(facts, lenient_P_K=lenient.astype(float), golds=golds, given_P_K=given)
    graded = replace(graded, strict_P_K=lenient * facts.format_P_K.astype(float))
    return paid(graded, lenient * facts.answered_P_K.astype(float))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("base", [healthy_probe, cold_probe])
def test_shuffled_golds_are_contradicted_and_no_hard_problems(base: object, seed: int) -> None:
    facts = base(seed)  # type: ignore[operator]
    golds = [*facts.golds[1:], facts.golds[0]]
    found = diagnose_probe(against_golds(facts, golds, facts.given_P_K))
    assert found[0].code == "gold-contradicted"
    assert "too-hard" not in [one.code for one in found]
    assert decide(found, 0.0, 0.0) is Decision.STOP


def test_golds_that_a_warm_start_unlearnt_are_lost_skill_and_no_wrong_golds() -> None:
    facts = healthy_probe()
    wrong = against_golds(facts, [*facts.golds[1:], facts.golds[0]], facts.given_P_K)  # type: ignore[arg-type]
    # Right on 260 of 384 before it: golds that were met so often are not shuffled.
    assert first(replace(wrong, lenient_before=wilson(260, 384))) == "skill-lost"
    # Never right before either: nothing speaks for the golds.
    assert first(replace(wrong, lenient_before=wilson(4, 384))) == "gold-contradicted"


def test_a_weak_model_that_now_and_then_agrees_with_itself_says_nothing_of_the_golds() -> None:
    # Seen on problems of three steps: 13 majorities of 64 problems, all against true golds, one of them sure.
    facts = cold_probe()
    given = [[str(1000 * row + column) for column in range(8)] for row in range(facts.problems)]
    for row in range(13):
        given[row][: 6 if row == 0 else 4] = [f"{row}.5"] * (6 if row == 0 else 4)
    wrong = against_golds(facts, list(facts.golds), [tuple(row) for row in given])
    assert "gold-contradicted" not in codes(wrong)  # type: ignore[arg-type]
    for row in range(13):
        given[row][:6] = [f"{row}.5"] * 6
    sure = against_golds(facts, list(facts.golds), [tuple(row) for row in given])
    assert "gold-contradicted" in codes(sure)  # type: ignore[arg-type]


def test_golds_that_are_all_off_by_one_are_contradicted_too() -> None:
    facts = healthy_probe()
    golds = [str(int(gold) + 1) for gold in facts.golds]
    assert first(against_golds(facts, golds, facts.given_P_K)) == "gold-contradicted"  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", SEEDS)
def test_scattered_wrong_answers_are_hard_problems_and_no_wrong_golds(seed: int) -> None:
    facts = healthy_probe(seed)
    random = np.random.default_rng(seed)
    given = [[str(value) for value in random.integers(500, 900, 8)] for _ in facts.golds]
    found = diagnose_probe(against_golds(facts, list(facts.golds), given))
    assert [one.code for one in found] == ["too-hard", "shaping-only"]
    assert found[0].evidence.startswith("0 of 512 completions solve their problem")
    assert "(p < 0.6 %)" in found[0].evidence


def test_one_answer_to_every_problem_is_no_agreement_about_it() -> None:
    facts = healthy_probe()
    found = codes(against_golds(facts, list(facts.golds), [["1000"] * 8 for _ in facts.golds]))
    assert found == ["too-hard", "shaping-only"]


def test_a_cold_base_that_solves_nothing_is_too_hard_before_it_is_cold() -> None:
    facts = cold_probe()
    random = np.random.default_rng(0)
    given = [[str(value) for value in random.integers(500, 900, 8)] for _ in facts.golds]
    assert codes(against_golds(facts, list(facts.golds), given)) == ["too-hard", "no-format"]


def test_hard_problems_with_live_shaping_are_too_hard_first() -> None:
    facts = healthy_probe(solve=(0.01, 5.0))
    assert facts.live_total > 0.3
    assert codes(facts)[0] == "too-hard"
    assert "shaping-only" in codes(facts)


def test_a_few_right_answers_spread_over_many_problems_are_not_too_hard() -> None:
    assert "too-hard" not in codes(healthy_probe(solve=(6.0, 60.0)))


@pytest.mark.parametrize("seed", SEEDS)
def test_problems_that_are_solved_are_saturated(seed: int) -> None:
    facts = healthy_probe(seed, solve=(1e6, 1.0))
    sure = np.ones_like(facts.format_P_K)
    facts = paid(
        replace(facts, format_P_K=sure, finished_P_K=sure, answered_P_K=sure, lenient_P_K=sure.astype(float)),
        sure.astype(float),
    )
    assert codes(replace(facts, strict_P_K=sure.astype(float))) == ["saturated"]


def test_a_warm_start_that_bought_the_format_with_the_skill_lost_it() -> None:
    # Seen: strict format 97 %, lenient 89 → 4 %.
    facts = healthy_probe(solve=(0.04, 0.96), lenient_before=wilson(267, 300))
    found = diagnose_probe(facts)
    assert found[0].code == "skill-lost"
    assert "89.0 %" in found[0].evidence


def test_a_few_points_less_are_no_lost_skill() -> None:
    facts = healthy_probe()
    before = wilson(round(300 * (facts.lenient_P_K.mean() + 0.05)), 300)
    assert codes(replace(facts, lenient_before=before)) == []


def test_low_entropy_with_live_groups_is_not_over_warmed() -> None:
    assert codes(healthy_probe(entropy=0.01)) == []


def test_problems_half_solved_and_half_hopeless_leave_few_live_groups() -> None:
    facts = healthy_probe(solve=(0.01, 0.01))
    sure = np.ones_like(facts.format_P_K)
    right = np.repeat((np.arange(64) % 2 == 0)[:, None], 8, axis=1).astype(float)
    facts = replace(
        facts, format_P_K=sure, finished_P_K=sure, answered_P_K=sure, lenient_P_K=right, strict_P_K=right
    )
    facts = replace(facts, rewards_P_K_R=np.stack([0.5 * sure, 2 * right], axis=2), given_P_K=None)
    (found,) = diagnose_probe(facts)
    assert found.code == "few-live"
    assert "in 50 % all fail, in 50 % all pass" in found.evidence


def test_live_format_over_dead_outcomes_is_shaping_only() -> None:
    facts = healthy_probe(solve=(0.01, 0.01))
    right = np.repeat((np.arange(64) % 2 == 0)[:, None], 8, axis=1).astype(float)
    facts = replace(
        paid(facts, right), lenient_P_K=right, strict_P_K=right * facts.format_P_K, given_P_K=None
    )
    assert codes(facts) == ["shaping-only", "few-live"]


def test_a_gap_between_the_bases_is_four_bit_drift() -> None:
    assert codes(healthy_probe(four_bit_gap=0.3)) == ["four-bit-drift"]
    assert codes(healthy_probe(four_bit_gap=0.05)) == []


def test_every_finding_is_a_known_cause_with_evidence() -> None:
    for found in diagnose_probe(cut_off(cold_probe(), 0.6)):
        assert found.code in CAUSES
        assert found.evidence
        assert not found.evidence.endswith(".")


# -- rewards that do not follow the answers, tags that differ, samplers that spoil ----------------


def outcome_of(facts: ProbeFacts, paid: np.ndarray, **changes: object) -> ProbeFacts:
    """Return the facts with another outcome reward."""
    rewards = facts.rewards_P_K_R.copy()
    rewards[:, :, 1] = paid
    return replace(facts, rewards_P_K_R=rewards, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_reward_of_the_next_row_of_chance_or_of_the_wrong_sign_follows_no_answer(seed: int) -> None:
    facts = healthy_probe(seed)
    chance = 2.0 * (np.random.default_rng(seed).random(facts.format_P_K.shape) < 0.5)
    paid = facts.rewards_P_K_R[:, :, 1]
    assert first(outcome_of(facts, chance)) == "reward-unrelated"
    assert first(outcome_of(facts, 2.0 - paid)) == "reward-unrelated"
    assert first(outcome_of(facts, np.roll(paid, 1, axis=0))) == "reward-unrelated"
    assert first(outcome_of(facts, np.full(paid.shape, 1.0))) == "reward-pays-wrong"
    assert first(outcome_of(facts, np.where(paid > 0, 1.0, -1.0))) == ""


@pytest.mark.parametrize("weights", [(1.0, 0.0), (1.0, -1.0)])
def test_an_outcome_without_weight_is_said_whatever_else_correlates(weights: tuple[float, float]) -> None:
    found = diagnose_probe(healthy_probe(0, weights=weights))
    assert found[0].code == "outcome-outweighed"
    assert f"the weight of {NAMES[1]} is {weights[1]:g}" in found[0].evidence


def test_weights_of_zero_leave_no_reward() -> None:
    assert "rewards-cancel" in codes(healthy_probe(0, weights=(0.0, 0.0)))


def test_a_term_that_pays_nobody_is_idle_where_the_format_is_there() -> None:
    rewards = healthy_probe(0).rewards_P_K_R.copy()
    rewards[:, :, 0] = 0.0
    assert codes(healthy_probe(0, rewards_P_K_R=rewards)) == ["reward-idle"]
    assert "reward-idle" not in codes(cold_probe(0))


def test_a_prompt_that_speaks_of_other_tags_than_the_rewards_read_is_named() -> None:
    other, ours = frozenset({"think", "result"}), frozenset({"reasoning", "answer", "b"})
    cold = cold_probe(0, tags_asked_P=[other] * 64)
    found = diagnose_probe(cold)
    assert (found[0].code, found[0].severity) == ("tags-differ", Severity.ILL)
    assert found[0].evidence == (
        "the prompt speaks of <result> and <think>, and the rewards read <reasoning> and <answer>"
    )
    warm = diagnose_probe(healthy_probe(0, tags_asked_P=[other] * 64))
    assert [(one.code, one.severity) for one in warm] == [("tags-differ", Severity.WARNING)]
    assert codes(healthy_probe(0, tags_asked_P=[ours] * 64)) == []
    assert first(cold_probe(0, tags_asked_P=[ours] * 64)) == "no-format"


def test_a_model_that_writes_other_tags_is_told_from_one_that_writes_none() -> None:
    cold = cold_probe(0)
    boxed = [[f"<thought>{text}</thought> <result>7</result>" for text in group] for group in cold.texts]
    thought = [[f"<think>{text}</think> 7" for text in group] for group in cold.texts]
    assert first(replace(cold, texts=boxed)) == "tags-differ"
    assert first(replace(cold, texts=thought)) == "no-format"


def test_a_cold_start_says_when_nothing_asks_for_the_format() -> None:
    (found,) = diagnose_probe(cold_probe(0, tags_asked_P=[frozenset()] * 64))
    assert found.code == "no-format"
    assert found.evidence.endswith("nothing in the prompt asks for it")
    assert found.advice.startswith("say in the prompt to write <reasoning> and <answer>")


def test_a_sampler_is_blamed_only_where_the_models_own_distribution_is_better() -> None:
    hot = {"temperature": 2.5, "plain": PlainRates(64, format=58, right=45)}
    assert codes(cold_probe(0, **hot)) == ["sampling-distorted"]
    assert codes(healthy_probe(0, **hot)) == []
    assert first(cold_probe(0, temperature=2.5, plain=PlainRates(64, format=0, right=45))) == "no-format"


def test_probabilities_that_are_no_numbers_come_before_what_they_wrote() -> None:
    assert codes(cold_probe(0, not_finite=3)) == ["not-a-number"]


@pytest.mark.parametrize("seed", SEEDS)
def test_golds_wrong_for_half_of_the_problems_are_told_by_the_answers_the_model_is_sure_of(seed: int) -> None:
    facts = healthy_probe(seed, solve=(2.0, 0.2))
    golds = [*facts.golds[1:33], facts.golds[0], *facts.golds[33:]]
    assert "gold-contradicted" in codes(against_golds(facts, golds, facts.given_P_K))  # type: ignore[arg-type]
    assert "gold-contradicted" not in codes(against_golds(facts, list(facts.golds), facts.given_P_K))  # type: ignore[arg-type]
