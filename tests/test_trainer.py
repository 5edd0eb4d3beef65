"""The trainer's shortcuts against stock TRL, on the same completions."""

from __future__ import annotations

import random

import pytest
import torch
import trl
from datasets import Dataset
from transformers import TrainerCallback, TrainerState

from warmstart.curriculum import RewardPlan
from warmstart.data.synthetic import generate
from warmstart.models import add_adapter, load_base, load_tokenizer
from warmstart.tags import DEFAULT_TAGS
from warmstart.templates.prompter import make_prompter
from warmstart.training.grpo import prompt_rows
from warmstart.training.live_rows import dead_rows
from warmstart.training.plan_keeper import PlanKeeper
from warmstart.training.signal_config import SignalConfig
from warmstart.training.trainer import GRPOTrainer

GROUPS, GROUP_SIZE = 6, 4


class Gradients(TrainerCallback):
    """Keeps the gradient of every trainable tensor right before the optimizer takes it."""

    def __init__(self) -> None:
        self.found: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs) -> None:
        self.found = {
            name: torch.zeros_like(p) if p.grad is None else p.grad.detach().clone()
            for name, p in model.named_parameters()
            if p.requires_grad
        }


def _adapted(quantization: str = "none", **changes):
    base = load_base("tiny", quantization=quantization, dtype="float32")
    model = add_adapter(
        base, rank=4, alpha=8, dropout=changes.pop("dropout", 0.0), target_modules="all-linear", seed=0
    )
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn_like(parameter) * 0.05
    return model


def _written(prompt_ids: list[list[int]]) -> list[list[int]]:
    """Completions that depend on nothing but their place: the same for every trainer."""
    rng = random.Random(7)
    return [
        [rng.randrange(3, 900) for _ in range(rng.randrange(2, 20))] + [2] for _ in range(len(prompt_ids))
    ]


def _reward(completions, **kwargs) -> list[float]:
    """Groups 0 and 3 are dead, the others live."""
    values = [float((7 * place) % 5) for place in range(len(completions))]
    for group in (0, 3):
        values[group * GROUP_SIZE : (group + 1) * GROUP_SIZE] = [1.0] * GROUP_SIZE
    return values


def _gradients(kind, tmp_path, *, model=None, signal=None, reward=_reward, **changes):
    class Canned(kind):
        def _generate_single_turn(self, prompt_ids, *args, **kwargs):
            return _written(prompt_ids), None

    prompter = make_prompter(load_tokenizer("tiny"), tags=DEFAULT_TAGS)
    config = trl.GRPOConfig(
        **{
            "output_dir": str(tmp_path),
            "max_steps": 1,
            "per_device_train_batch_size": GROUPS * GROUP_SIZE // 2,
            "gradient_accumulation_steps": 2,
            "num_generations": GROUP_SIZE,
            "max_completion_length": 24,
            "max_grad_norm": 0.0,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "dataloader_pin_memory": False,
            "use_cpu": not torch.cuda.is_available(),
            **changes,
        }
    )
    gradients = Gradients()
    trainer = Canned(
        model=model or _adapted(),
        reward_funcs=reward if isinstance(reward, list) else [reward],
        args=config,
        train_dataset=Dataset.from_list(prompt_rows(prompter, generate(32, seed=0, split="train"))),
        processing_class=prompter.tokenizer,
        callbacks=[gradients],
        **({} if signal is None else {"signal": signal}),
    )
    trainer.train()
    (log,) = [log for log in trainer.state.log_history if "reward" in log]
    return gradients.found, log, trainer


def _relative_gap(ours: dict[str, torch.Tensor], stocks: dict[str, torch.Tensor]) -> float:
    assert ours.keys() == stocks.keys()
    difference = sum(float((ours[name] - stocks[name]).double().square().sum()) for name in stocks)
    size = sum(float(stocks[name].double().square().sum()) for name in stocks)
    assert size > 0
    return (difference / size) ** 0.5


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"])
def test_gradient_and_loss_are_stock_trls_for_every_loss_type(tmp_path, loss_type, level) -> None:
    settings = {"loss_type": loss_type, "importance_sampling_level": level}
    stock, stock_log, _ = _gradients(trl.GRPOTrainer, tmp_path, **settings)
    ours, our_log, _ = _gradients(GRPOTrainer, tmp_path, **settings)
    assert _relative_gap(ours, stock) <= 1e-5
    assert our_log["loss"] == pytest.approx(stock_log["loss"], abs=1e-6)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_gradient_is_stock_trls_however_advantages_are_scaled(tmp_path, scale) -> None:
    stock, _, _ = _gradients(trl.GRPOTrainer, tmp_path, scale_rewards=scale)
    ours, _, _ = _gradients(GRPOTrainer, tmp_path, scale_rewards=scale)
    assert _relative_gap(ours, stock) <= 1e-5


@pytest.mark.parametrize(
    "settings",
    [
        {"beta": 0.04},
        {"entropy_coef": 0.01},
        {"top_entropy_quantile": 0.5},
        {"gradient_checkpointing": True},
        {"mask_truncated_completions": True},
        {"num_iterations": 2, "max_steps": 2},
        {"steps_per_generation": 4, "max_steps": 2},
        {"temperature": 0.7},
        {"delta": 1.5},
    ],
    ids=str,
)
def test_gradient_is_stock_trls_under_settings_that_touch_dead_rows_or_the_loss(tmp_path, settings) -> None:
    if "steps_per_generation" in settings:
        # Which rows meet in one of the two updates is TRL's random order there; the first update of
        # both has the same rows only when every row is taken.
        settings = {**settings, "gradient_accumulation_steps": 4, "max_steps": 1}
        settings["per_device_train_batch_size"] = GROUPS * GROUP_SIZE // 4
    stock, _, _ = _gradients(trl.GRPOTrainer, tmp_path, **settings)
    ours, _, _ = _gradients(GRPOTrainer, tmp_path, **settings)
    assert _relative_gap(ours, stock) <= 1e-5


def test_gradient_is_stock_trls_on_a_four_bit_base(tmp_path) -> None:
    stock, _, _ = _gradients(trl.GRPOTrainer, tmp_path, model=_adapted("nf4"))
    ours, _, _ = _gradients(GRPOTrainer, tmp_path, model=_adapted("nf4"))
    assert _relative_gap(ours, stock) <= 2e-2


def test_dead_groups_do_not_go_through_the_update(tmp_path) -> None:
    _, log, trainer = _gradients(GRPOTrainer, tmp_path)
    rows = [len(batch["advantages"]) for batch in trainer._buffered_inputs]
    assert rows == [2 * GROUP_SIZE, 2 * GROUP_SIZE]  # Four of six groups are live.
    assert log["signal/update_share"] == pytest.approx(4 / 6)


def test_with_the_outcome_gate_format_alone_gives_no_gradient(tmp_path) -> None:
    """Groups whose outcomes are all equal differ in shaping only: with the gate they are dead."""

    def outcome(completions, **kwargs):
        # Groups 1 and 4 are mixed, the others all wrong.
        return [2.0 * (place // GROUP_SIZE in (1, 4) and place % 2) for place in range(len(completions))]

    class Shaped(GRPOTrainer):
        def __init__(self, *args, reward_funcs, signal, **kwargs):
            super().__init__(*args, reward_funcs=[*reward_funcs, outcome], signal=signal, **kwargs)

    gated = SignalConfig(outcome="outcome")
    _, log, trainer = _gradients(Shaped, tmp_path, signal=gated)
    rows = sum(int(batch["completion_mask"].any(dim=1).sum()) for batch in trainer._buffered_inputs)
    assert rows == 2 * GROUP_SIZE
    assert log["signal/update_share"] == pytest.approx(2 / 6)
    assert log["rewards/_reward/mean"] == pytest.approx(sum(_reward([0] * 24)) / 24)
    _, log, _ = _gradients(Shaped, tmp_path, signal=SignalConfig(outcome="outcome", gate=False))
    assert log["signal/update_share"] > 2 / 6


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU adds up in another order and hits the mean")
def test_a_dead_group_has_no_gradient_where_its_mean_misses_its_rewards_by_a_digit(tmp_path) -> None:
    """Eight times 0.35 in float32 have another mean than 0.35, which stock TRL makes an advantage of."""

    def same(completions, **kwargs):
        return [0.35] * len(completions)

    settings = {"reward": same, "num_generations": 8}
    stock, _, _ = _gradients(trl.GRPOTrainer, tmp_path, **settings)
    ours, log, _ = _gradients(GRPOTrainer, tmp_path, **settings)
    assert max(float(value.abs().max()) for value in stock.values()) > 0
    assert max(float(value.abs().max()) for value in ours.values()) == 0
    assert log["signal/update_share"] == 0.0


def test_dead_rows_are_those_of_equal_known_totals() -> None:
    totals = torch.tensor([0.35, 0.35, 0.35 + 1e-7, float("nan"), 0.35, 0.36, 0.35, 0.35])
    assert dead_rows(totals[:, None], 4).tolist() == [True] * 4 + [False] * 4
    assert dead_rows(torch.full((2, 1), float("nan")), 2).tolist() == [True, True]


def test_rewards_that_cancel_in_the_total_are_live_where_each_is_normalised_by_itself(tmp_path) -> None:
    def first(completions, **kwargs):
        return [float(place % 2) for place in range(len(completions))]

    def second(completions, **kwargs):
        return [2.0 - 2.0 * (place % 2) for place in range(len(completions))]

    settings = {"multi_objective_aggregation": "normalize_then_sum", "reward_weights": [2.0, 1.0]}
    stock, _, _ = _gradients(trl.GRPOTrainer, tmp_path, reward=[first, second], **settings)
    ours, log, _ = _gradients(GRPOTrainer, tmp_path, reward=[first, second], **settings)
    assert _relative_gap(ours, stock) <= 1e-5
    assert log["signal/live_share"] == 1.0
    # Summed first, the totals are 2 everywhere, and nothing is to be learnt from them.
    _, log, _ = _gradients(GRPOTrainer, tmp_path, reward=[first, second], reward_weights=[2.0, 1.0])
    assert log["signal/live_share"] == log["signal/update_share"] == 0.0


def test_the_reward_plan_moves_on_what_is_measured_and_is_kept_in_the_checkpoint(tmp_path) -> None:
    def soft_format_reward_func(completions, **kwargs):
        return [0.5] * len(completions)

    said: list[str] = []

    class Planned(GRPOTrainer):
        def __init__(self, *args, reward_funcs, signal, **kwargs):
            super().__init__(
                *args, reward_funcs=[*reward_funcs, soft_format_reward_func], signal=signal, **kwargs
            )

    signal = SignalConfig(plan=RewardPlan("shape", steps=5), on_plan=lambda step, why: said.append(why))
    _, _, trainer = _gradients(Planned, tmp_path, signal=signal, save_strategy="steps", save_steps=1)
    assert trainer.plan.plan.stage == "format"
    assert said == ["reward plan shape → format: 100% of the completions have all tags in order"]
    resumed = PlanKeeper(RewardPlan("shape"))
    state = TrainerState.load_from_json(str(tmp_path / "checkpoint-1" / "trainer_state.json"))
    resumed.on_train_begin(trainer.args, state, trainer.control)
    assert resumed.plan == trainer.plan.plan


def test_a_batch_without_a_live_group_has_no_gradient_and_does_not_fail(tmp_path) -> None:
    ours, log, _ = _gradients(
        GRPOTrainer, tmp_path, reward=lambda completions, **kwargs: [0.0] * len(completions)
    )
    assert all(not gradient.any() for gradient in ours.values())
    assert log["loss"] == 0.0


def test_every_problem_of_an_evaluation_has_draws_of_its_own(tmp_path, monkeypatch) -> None:
    _, _, trainer = _gradients(GRPOTrainer, tmp_path)
    seen = []

    def drawn(model, prompts, rows, draws, **kwargs):
        seen.append([one[0] for one in draws])
        return []

    monkeypatch.setattr("warmstart.training.trainer.decode", drawn)
    trainer.model.eval()
    # Two batches of one evaluation, a group each: neither the step nor the place in the batch tells them apart.
    trainer._rollouts([[5, 6], [5, 6]], 2)
    trainer._rollouts([[7, 8], [7, 8]], 2)
    assert len({draw for batch in seen for draw in batch}) == 4


def test_the_log_has_the_advantage_that_was_trained_on(tmp_path) -> None:
    rows = []
    signal = SignalConfig(on_rollouts=lambda step, kept: rows.extend(kept))
    _gradients(
        GRPOTrainer,
        tmp_path,
        reward=lambda completions, **kwargs: [0.35] * len(completions),
        signal=signal,
        num_generations=8,
    )
    assert {row["advantage"] for row in rows} == {0.0}


def test_restored_callbacks_are_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="restore_callback_states_from_checkpoint puts new callbacks"):
        _gradients(GRPOTrainer, tmp_path, restore_callback_states_from_checkpoint=True)


@pytest.mark.parametrize("loss_type", ["dapo", "grpo"])
def test_a_micro_batch_that_no_live_group_fills_changes_neither_gradient_nor_entropy(
    tmp_path, loss_type
) -> None:
    # Four live groups of four fill two micro-batches of eight rows; the third one is left.
    cut = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 3, "loss_type": loss_type}
    stock, _, _ = _gradients(trl.GRPOTrainer, tmp_path, **cut)
    ours, log, trainer = _gradients(GRPOTrainer, tmp_path, **cut)
    assert [batch["is_filler"] for batch in trainer._buffered_inputs] == [False, False, True]
    assert _relative_gap(ours, stock) <= 1e-5
    # Of a base that never saw these random tokens each micro-batch has about the same entropy; a third that
    # counted as 0 would take a third away.
    _, whole, _ = _gradients(GRPOTrainer, tmp_path, signal=SignalConfig(live_rows_only=False), **cut)
    assert log["entropy"] == pytest.approx(whole["entropy"], rel=0.1)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradient_is_stock_trls_when_groups_are_cut_into_rows_of_like_length(
    tmp_path, monkeypatch, checkpointing
) -> None:
    monkeypatch.setattr("warmstart.training.live_rows._WORTH", 10.0)
    cut = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 3}
    stock, _, _ = _gradients(trl.GRPOTrainer, tmp_path, **cut)
    ours, _, trainer = _gradients(GRPOTrainer, tmp_path, gradient_checkpointing=checkpointing, **cut)
    first, second, _ = (batch["completion_mask"].sum(dim=1) for batch in trainer._buffered_inputs)
    assert first.min() >= second.max(), "the longer half of all rows, then the shorter one"
    assert _relative_gap(ours, stock) <= 1e-5


def test_two_threads_come_to_the_same_gradient_bit_for_bit(tmp_path) -> None:
    """A micro-batch of one group: both threads add to the gradient of its one prompt at once."""

    def unlike(completions, **kwargs):
        return [float(place % 3) for place in range(len(completions))]

    one = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "num_generations": 8}
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first, *others = (_gradients(GRPOTrainer, tmp_path, reward=unlike, **one)[0] for _ in range(5))
    finally:
        torch.set_num_threads(threads)
    for other in others:
        assert all(torch.equal(first[name], other[name]) for name in first)


def test_a_generation_for_two_updates_gives_each_of_them_a_share_of_the_live_groups(tmp_path) -> None:
    cut = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3, "steps_per_generation": 6}
    _, _, trainer = _gradients(GRPOTrainer, tmp_path, **cut)
    assert [batch["is_filler"] for batch in trainer._buffered_inputs] == [False, False, True] * 2


@pytest.mark.parametrize(
    "shortcuts",
    [{"live_rows_only": False}, {"share_prompts": False}, {"live_rows_only": False, "share_prompts": False}],
    ids=str,
)
def test_each_shortcut_can_be_switched_off_and_changes_nothing(tmp_path, shortcuts) -> None:
    ours, _, _ = _gradients(GRPOTrainer, tmp_path)
    plain, _, _ = _gradients(GRPOTrainer, tmp_path, signal=SignalConfig(**shortcuts))
    assert _relative_gap(plain, ours) <= 1e-5
