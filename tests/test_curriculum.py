from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmstart.curriculum import DWELL, RewardPlan
from warmstart.rewards import STAGE_WEIGHTS


def _walk(plan, shares):
    said = []
    for soft, strict in shares:
        plan, why = plan.step(soft=soft, strict=strict)
        said += [why] if why else []
    return plan, said


def test_it_goes_from_shape_over_format_to_solve_as_the_format_comes() -> None:
    plan, said = _walk(RewardPlan(), [(0.9, 0.0)] * DWELL)
    assert (plan.stage, plan.steps) == ("format", 0)
    assert said == ["reward plan shape → format: 90% of the completions have it"]
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


@given(st.sampled_from(["shape", "format", "solve"]), st.lists(st.floats(0, 1), max_size=30))
def test_a_plan_survives_its_checkpoint_at_any_point(stage, shares) -> None:
    plan, _ = _walk(RewardPlan(stage), [(share, share) for share in shares])
    assert RewardPlan.from_dict(plan.to_dict()) == plan
