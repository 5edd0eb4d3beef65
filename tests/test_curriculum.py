from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmstart.curriculum import DWELL, PATIENCE, RewardPlan
from warmstart.rewards.functions import STAGE_WEIGHTS


def _walk(plan, shares):
    said = []
    for soft, strict in shares:
        plan, why = plan.step(soft=soft, strict=strict)
        said += [why] if why else []
    return plan, said


def test_it_goes_from_shape_over_format_to_solve_as_the_format_comes() -> None:
    plan, said = _walk(RewardPlan(), [(0.9, 0.0)] * DWELL)
    assert (plan.stage, plan.steps) == ("format", 0)
    assert said == ["reward plan shape → format: 90% of the completions have all tags in order"]
    # 0 → 0.95 by a running mean with memory 0.7: 1 − 0.7^n of it, 0.8 passed at n = 6.
    plan, said = _walk(plan, [(0.95, 0.95)] * 5)
    assert plan.stage == "format"
    plan, said = _walk(plan, [(0.95, 0.95)])
    assert plan.stage == "solve"
    assert plan.is_gated
    assert plan.weights == STAGE_WEIGHTS["solve"]


def test_it_goes_back_when_the_format_is_lost() -> None:
    plan, said = _walk(RewardPlan("solve", 10, 0.9, 0.9), [(0.6, 0.0)] * 2)
    assert plan.stage == "format"  # 0.9 · 0.7² = 0.44 < 0.5
    assert "only 44%" in said[0]
    plan, _ = _walk(plan, [(0.0, 0.0)] * 6)
    assert plan.stage == "shape"


def test_no_stage_changes_before_it_has_been_tried() -> None:
    assert _walk(RewardPlan(), [(1.0, 1.0)] * (DWELL - 1))[0].stage == "shape"


@pytest.mark.parametrize("seed", range(5))
def test_noise_about_a_threshold_does_not_make_it_flap(seed) -> None:
    rng = random.Random(seed)
    shares = [(0.9, 0.8 + rng.uniform(-0.12, 0.12)) for _ in range(300)]
    plan, said = _walk(RewardPlan("format"), shares)
    assert plan.stage == "solve"
    assert len(said) == 1


def _steps(plan, count, **shares):
    said = []
    for _ in range(count):
        plan, why = plan.step(**shares)
        said += [why] if why else []
    return plan, said


def test_solve_waits_for_groups_with_right_and_wrong_answers() -> None:
    plan, _ = _steps(RewardPlan("format"), 20, soft=1.0, strict=0.9, mixed=0.0)
    assert plan.stage == "format"
    # 0.3 · 0.25 = 0.075 after one step, 0.1275 after the second: 0.10 is passed there.
    plan, _ = _steps(plan, 1, soft=1.0, strict=0.9, mixed=0.25)
    assert plan.stage == "format"
    plan, said = _steps(plan, 1, soft=1.0, strict=0.9, mixed=0.25)
    assert plan.stage == "solve"
    assert said == [
        "reward plan format → solve: 90% of the completions have the exact format, "
        "and 13% of the groups have right and wrong answers"
    ]


def test_solve_is_not_waited_for_longer_than_the_patience() -> None:
    plan, said = _steps(RewardPlan("format"), PATIENCE - 1, soft=1.0, strict=0.9, mixed=0.02)
    assert (plan.stage, said) == ("format", [])
    plan, said = _steps(plan, 1, soft=1.0, strict=0.9, mixed=0.02)
    assert plan.stage == "solve"
    assert said[0].endswith("50 steps brought right and wrong answers to 2% of the groups only")


def test_patience_does_not_replace_the_exact_format() -> None:
    plan, _ = _steps(RewardPlan("format"), 3 * PATIENCE, soft=0.9, strict=0.7, mixed=0.5)
    assert plan.stage == "format"


def test_solve_stays_when_its_groups_run_out_and_goes_when_its_format_collapses() -> None:
    plan, said = _steps(RewardPlan("solve", 9, 1.0, 1.0, 0.5), 30, soft=1.0, strict=0.9, mixed=0.0)
    assert (plan.stage, said) == ("solve", [])
    plan, said = _steps(plan, 2, soft=0.0, strict=0.0, mixed=0.0)  # 0.9 · 0.7² = 0.44 < 0.5
    assert plan.stage == "format"
    assert plan.steps == 0


def test_a_step_that_could_not_be_told_changes_no_running_mean() -> None:
    before = RewardPlan("format", 10, 0.9, 0.7, 0.2)
    plan, why = before.step(soft=math.nan, strict=math.nan, mixed=math.nan)
    assert why is None
    assert plan == RewardPlan("format", 11, 0.9, 0.7, 0.2)
    assert _steps(plan, 10, soft=0.95, strict=0.95, mixed=0.5)[0].stage == "solve"


def test_a_plan_that_was_never_told_anything_stays_where_it_is() -> None:
    plan, said = _steps(RewardPlan(), 2 * PATIENCE, soft=math.nan, strict=math.nan, mixed=math.nan)
    assert (plan.stage, plan.soft, said) == ("shape", None, [])


_SHARE = st.one_of(st.floats(0, 1), st.just(math.nan))


@given(
    st.sampled_from(["shape", "format", "solve"]),
    st.lists(st.tuples(_SHARE, _SHARE, _SHARE), max_size=30),
)
def test_a_plan_survives_its_checkpoint_at_any_point_and_never_holds_nan(stage, steps) -> None:
    plan = RewardPlan(stage)
    for soft, strict, mixed in steps:
        plan, _ = plan.step(soft=soft, strict=strict, mixed=mixed)
    assert RewardPlan.from_dict(plan.to_dict()) == plan
    held = [share for share in (plan.soft, plan.strict, plan.mixed) if share is not None]
    assert all(0 <= share <= 1 for share in held)


def test_a_checkpoint_of_a_plan_without_mixed_groups_is_still_read() -> None:
    written = {"stage": "format", "steps": 4, "soft": 0.9, "strict": 0.5}
    assert RewardPlan.from_dict(written) == RewardPlan("format", 4, 0.9, 0.5)
