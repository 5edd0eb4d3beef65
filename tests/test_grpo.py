from __future__ import annotations

import pytest
import torch
import trl
from datasets import Dataset

from warmstart.batching import plan_batches
from warmstart.data.synthetic import generate
from warmstart.errors import TrainingError
from warmstart.models import add_adapter, continue_adapter, load_base, load_tokenizer
from warmstart.progress import Quiet
from warmstart.rewards import functions as rewards
from warmstart.tags import DEFAULT_TAGS
from warmstart.templates.prompter import make_prompter
from warmstart.training.grpo import prompt_rows, train_grpo
from warmstart.training.signal_config import SignalConfig
from warmstart.training.start_checks import check_handover
from warmstart.training.trainer import GRPOTrainer

SIX = rewards.reward_functions(DEFAULT_TAGS)
STRICT_AND_RIGHT = {
    f.__name__: (f, 1.0)
    for f in SIX
    if f.__name__ in ("correctness_reward_func", "strict_format_reward_func")
}


@pytest.fixture
def prompter():
    return make_prompter(load_tokenizer("tiny"), tags=DEFAULT_TAGS)


def _adapter(seed: int = 0):
    return add_adapter(
        load_base("tiny"), rank=8, alpha=16, dropout=0.0, target_modules="all-linear", seed=seed
    )


def _config(tmp_path, **changes):
    values = {
        "output_dir": str(tmp_path),
        "max_steps": 1,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 8,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
    }
    return trl.GRPOConfig(**{**values, **changes})


def test_grpo_straight_from_the_base_learns_nothing(prompter, tmp_path) -> None:
    """The mission's starting point: reward 0, gradient 0, every group dead."""
    lines: list[dict] = []
    rows: list[dict] = []
    model = _adapter()
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    train_grpo(
        model,
        prompter,
        generate(64, seed=0, split="train"),
        STRICT_AND_RIGHT,
        outcome="correctness_reward_func",
        folder=tmp_path / "adapter",
        steps=3,
        group_size=8,
        batches=plan_batches(8, 8, micro_batch=64),
        arguments={
            "learning_rate": 1e-3,
            "max_completion_length": 128,
            "bf16": False,
            "gradient_checkpointing": False,
        },
        handover=None,
        progress=Quiet(),
        sink=lines.append,
        on_rollouts=lambda step, found: rows.extend(found),
    )
    assert [line["reward"] for line in lines] == [0.0, 0.0, 0.0]
    assert [line["grad_norm"] for line in lines] == [0.0, 0.0, 0.0]
    assert [line["live_share"] for line in lines] == [0.0, 0.0, 0.0]
    assert [line["all_fail_share"] for line in lines] == [1.0, 1.0, 1.0]
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters() if name in before)
    assert len(rows) == 3 * 64
    assert {row["live"] for row in rows} == {False}
    assert {row["advantage"] for row in rows} == {0.0}


@pytest.mark.parametrize("conversational", [False, True], ids=["standard", "conversational"])
def test_the_six_rewards_work_in_trls_own_trainer(prompter, tmp_path, conversational) -> None:
    problems = generate(4, seed=0, split="train")
    prompts = [
        prompter.messages(p.question) if conversational else prompter.render(p.question) for p in problems
    ]
    trainer = trl.GRPOTrainer(
        model=_adapter(),
        reward_funcs=[
            rewards.easy_reward_func,
            rewards.xmlcount_reward_func,
            rewards.int_reward_func,
            rewards.soft_format_reward_func,
            rewards.strict_format_reward_func,
            rewards.correctness_reward_func,
        ],
        args=_config(tmp_path),
        train_dataset=Dataset.from_list(
            [{"prompt": p, "answer": q.gold} for p, q in zip(prompts, problems, strict=True)]
        ),
        processing_class=prompter.tokenizer,
    )
    trainer.train()
    (log,) = [log for log in trainer.state.log_history if "reward" in log]
    for function in SIX:
        assert f"rewards/{function.__name__}/mean" in log


def test_an_undecided_outcome_takes_the_whole_completion_out_of_its_group(prompter, tmp_path) -> None:
    def outcome(prompts, completions, **kwargs):
        return [None if index % 4 == 0 else float(index % 4 == 1) * 2.0 for index in range(len(completions))]

    def shaping(prompts, completions, **kwargs):
        return [0.5] * len(completions)

    kept: list[dict] = []
    trainer = GRPOTrainer(
        model=_adapter(),
        reward_funcs=[outcome, shaping],
        args=_config(tmp_path),
        train_dataset=Dataset.from_list(prompt_rows(prompter, generate(4, seed=0, split="train"))),
        processing_class=prompter.tokenizer,
        signal=SignalConfig(outcome="outcome", on_rollouts=lambda step, rows: kept.extend(rows)),
    )
    trainer.train()
    undecided, right = kept[0], kept[1]
    assert undecided["reward"] is None
    assert undecided["advantage"] == 0.0
    assert right["reward"] == 2.5
    # Three decided rewards 2.5, 0.5, 0.5: mean 7/6, standard deviation 2/√3.
    assert right["advantage"] == pytest.approx((2.5 - 7 / 6) / (2 / 3**0.5 + 1e-4), rel=1e-4)
    assert [row["sample"] for row in kept[:4]] == [0, 1, 2, 3]


def test_an_outcome_that_is_no_reward_is_refused(prompter, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"signal\.outcome 'accuracy' is none of"):
        GRPOTrainer(
            model=_adapter(),
            reward_funcs=[rewards.easy_reward_func],
            args=_config(tmp_path),
            train_dataset=Dataset.from_list(prompt_rows(prompter, generate(4, seed=0, split="train"))),
            processing_class=prompter.tokenizer,
            signal=SignalConfig(outcome="accuracy"),
        )


def test_a_warm_start_that_got_lost_stops_the_run(prompter, tmp_path) -> None:
    problems = generate(8, seed=0, split="eval")
    trainer = GRPOTrainer(
        model=_adapter(),
        reward_funcs=[rewards.correctness_reward_func],
        args=_config(tmp_path, max_completion_length=96),
        train_dataset=Dataset.from_list(prompt_rows(prompter, problems)),
        processing_class=prompter.tokenizer,
    )
    assert check_handover(trainer, prompter, problems, 0.0) == 0.0
    with pytest.raises(TrainingError, match="98% after SFT, 0% inside the GRPO trainer"):
        check_handover(trainer, prompter, problems, 0.98)


def test_a_saved_adapter_goes_on_training_instead_of_starting_frozen_or_anew(tmp_path) -> None:
    model = _adapter(seed=3)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.02)
    model.save_pretrained(str(tmp_path))
    again = continue_adapter(load_base("tiny"), tmp_path)
    saved = dict(model.named_parameters())
    trainable = {name: p for name, p in again.named_parameters() if p.requires_grad}
    assert trainable
    assert all("lora_" in name for name in trainable)
    assert all(torch.equal(p, saved[name]) for name, p in trainable.items())
