from __future__ import annotations

import pytest
import torch
from transformers import TrainerControl, TrainerState

from warmstart.errors import TrainingError
from warmstart.training.finite import PATIENCE, FiniteOnly


def _step(guard: FiniteOnly, model: torch.nn.Linear, gradient: float, step: int = 0) -> torch.Tensor:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model.weight.grad = torch.full_like(model.weight, 0.5)
    model.weight.grad[0, 0] = gradient
    state = TrainerState(global_step=step)
    guard.on_pre_optimizer_step(None, state, TrainerControl(), model=model)
    optimizer.step()
    return model.weight.detach()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_an_update_by_a_gradient_that_is_not_finite_is_left_out_and_said(bad) -> None:
    said: list[str] = []
    model = torch.nn.Linear(2, 2, bias=False)
    before = model.weight.detach().clone()
    after = _step(FiniteOnly("grpo", said.append), model, bad, step=4)
    assert torch.equal(before, after)
    assert said == ["grpo step 5: the gradient is not finite; its update is left out"]


def test_a_finite_gradient_updates_as_ever_and_ends_the_row() -> None:
    said: list[str] = []
    guard, model = FiniteOnly("sft", said.append), torch.nn.Linear(2, 2, bias=False)
    for _ in range(PATIENCE - 1):
        _step(guard, model, torch.nan)
    before = model.weight.detach().clone()
    after = _step(guard, model, 0.5)
    assert not torch.equal(before, after)
    for _ in range(PATIENCE - 1):
        _step(guard, model, torch.nan)
    assert len(said) == 2 * (PATIENCE - 1)


def test_ten_in_turn_end_the_run_with_the_weights_as_they_were() -> None:
    guard, model = FiniteOnly("grpo", lambda line: None), torch.nn.Linear(2, 2, bias=False)
    before = model.weight.detach().clone()
    for step in range(PATIENCE - 1):
        _step(guard, model, torch.nan, step)
    with pytest.raises(
        TrainingError, match="the gradient of grpo was not finite in 10 steps in turn, up to step 10"
    ):
        _step(guard, model, torch.nan, PATIENCE - 1)
    assert torch.equal(model.weight.detach(), before)
