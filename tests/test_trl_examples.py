"""What TRL's documentation shows of `GRPOTrainer`, with warmstart's in its place: it works, or says why not."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from datasets import Dataset, IterableDataset
from peft import LoraConfig
from transformers import TrainerCallback

from warmstart import GRPOTrainer, SignalConfig
from warmstart.models import load_base, load_tokenizer

PROMPTS = ["Tom has 3 apples and buys 4 more. How many?", "A box holds 6 eggs. How many do 2 boxes hold?"]
MESSAGES = [[{"role": "user", "content": text}] for text in PROMPTS]
STANDARD = Dataset.from_list(
    [
        {
            "prompt": load_tokenizer("tiny").apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            ),
            "answer": "7",
        }
        for messages in MESSAGES * 4
    ]
)
CONVERSATIONAL = Dataset.from_list([{"prompt": messages, "answer": "7"} for messages in MESSAGES * 4])


def reward_num_unique_letters(completions: list[Any], **kwargs: Any) -> list[float]:
    """The reward of TRL's quick start."""
    texts = [c if isinstance(c, str) else c[0]["content"] for c in completions]
    return [float(len(set(text))) for text in texts]


def reward_none_for_every_other(completions: list[Any], **kwargs: Any) -> list[float | None]:
    return [None if index % 2 else 1.0 for index in range(len(completions))]


def lora(**changes: Any) -> LoraConfig:
    return LoraConfig(
        **{"r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM", **changes}
    )


def trained(
    folder: Path, *, dataset: Any = STANDARD, rewards: Any = reward_num_unique_letters, **given: Any
) -> GRPOTrainer:
    resume = given.pop("resume", None)
    made = {name: given.pop(name) for name in ("peft_config", "eval_dataset", "callbacks") if name in given}
    model = given.pop("model", None) or load_base("tiny")
    signal = given.pop("signal", None)
    config = trl.GRPOConfig(
        **{
            "output_dir": str(folder),
            "max_steps": 2,
            "per_device_train_batch_size": 8,
            "num_generations": 4,
            "max_completion_length": 6,
            "learning_rate": 1e-3,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "bf16": False,
            "dataloader_pin_memory": False,
            "gradient_checkpointing": False,
            **given,
        }
    )
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=rewards,
        args=config,
        train_dataset=dataset,
        processing_class=load_tokenizer("tiny"),
        signal=signal,
        **made,
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def weights(trainer: GRPOTrainer) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters() if p.requires_grad}


def last_log(trainer: GRPOTrainer) -> dict[str, float]:
    return [log for log in trainer.state.log_history if "reward" in log][-1]


@pytest.mark.parametrize("dataset", [STANDARD, CONVERSATIONAL], ids=["standard", "conversational"])
def test_a_plain_function_is_a_reward_on_both_kinds_of_prompt(tmp_path, dataset) -> None:
    log = last_log(trained(tmp_path, dataset=dataset, peft_config=lora()))
    assert log["reward"] > 0
    assert log["signal/live_share"] > 0


def test_full_fine_tuning_moves_the_bases_own_weights(tmp_path) -> None:
    before = dict(load_base("tiny").named_parameters())
    after = weights(trained(tmp_path))
    assert any(not torch.equal(before[name], weight) for name, weight in after.items())


@pytest.mark.parametrize("changes", [{"lora_dropout": 0.1}, {"use_rslora": True}], ids=str)
def test_lora_with_dropout_or_rank_stabilised_scaling_trains(tmp_path, changes) -> None:
    trainer = trained(tmp_path, peft_config=lora(**changes))
    assert any(weight.any() for name, weight in weights(trainer).items() if "lora_B" in name)


def test_several_rewards_are_weighed_and_a_reward_may_be_none(tmp_path) -> None:
    trainer = trained(
        tmp_path,
        rewards=[reward_num_unique_letters, reward_none_for_every_other],
        reward_weights=[0.0, 2.0],
        peft_config=lora(),
    )
    log = last_log(trainer)
    assert log["rewards/reward_none_for_every_other/mean"] == 1.0
    assert log["reward"] == pytest.approx(1.0)  # Half of the rows 2 x 1, the others nothing.


def test_evaluation_passes_through_and_touches_neither_log_nor_posterior(tmp_path) -> None:
    kept: list[int] = []
    trainer = trained(
        tmp_path,
        eval_dataset=STANDARD,
        eval_strategy="steps",
        eval_steps=1,
        per_device_eval_batch_size=8,
        peft_config=lora(),
        signal=SignalConfig(on_rollouts=lambda step, rows: kept.append(len(rows))),
    )
    evaluations = [log for log in trainer.state.log_history if "eval_reward" in log]
    assert len(evaluations) == 2
    assert all("eval_signal/live_share" not in log for log in evaluations)
    assert kept == [8, 8]


def test_callbacks_are_called(tmp_path) -> None:
    class Counts(TrainerCallback):
        steps = 0

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            self.steps += 1

    counts = Counts()
    trained(tmp_path, callbacks=[counts], peft_config=lora())
    assert counts.steps == 2


def test_resume_from_checkpoint_true_ends_where_the_whole_run_ends(tmp_path) -> None:
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "peft_config": lora()}
    whole = weights(trained(tmp_path, **settings))
    (tmp_path / "checkpoint-4").rename(tmp_path / "elsewhere")
    resumed = weights(trained(tmp_path, **settings, resume=True))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_same_seed_gives_the_same_run_bit_for_bit(tmp_path) -> None:
    first, second = (weights(trained(tmp_path / name, peft_config=lora(), seed=3)) for name in "ab")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_iterable_data_set_trains(tmp_path) -> None:
    rows = STANDARD.to_list()
    dataset = IterableDataset.from_generator(lambda: iter(rows))
    log = last_log(
        trained(tmp_path, dataset=dataset, peft_config=lora(), accelerator_config={"dispatch_batches": False})
    )
    assert log["reward"] > 0


def test_a_model_patched_by_unsloth_is_refused_in_a_sentence(tmp_path) -> None:
    model = load_base("tiny")

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return type(self).forward(self, *args, **kwargs)

    forward.__module__ = "unsloth.models.qwen2"
    model.model.layers[0].self_attn.forward = types.MethodType(forward, model.model.layers[0].self_attn)
    with pytest.raises(ValueError, match="patched by Unsloth"):
        trained(tmp_path, model=model)
