"""The problem sampler inside the real trainer: its order, its memory, and when it steps aside."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from datasets import Dataset
from transformers import TrainerControl, TrainerState, TrainingArguments

from warmstart import GRPOTrainer, ProblemSampling, SignalConfig
from warmstart.config.schema import GrpoConfig
from warmstart.data.synthetic import generate
from warmstart.models import add_adapter, load_base, load_tokenizer
from warmstart.problem_sampling import Posterior
from warmstart.tags import DEFAULT_TAGS
from warmstart.templates.prompter import make_prompter
from warmstart.training.adaptive_sampler import AdaptiveSampler, SamplerKeeper, strata_by_length
from warmstart.training.grpo import prompt_rows

ROWS = prompt_rows(
    make_prompter(load_tokenizer("tiny"), tags=DEFAULT_TAGS), generate(24, seed=5, split="train")
)


def by_problem(prompts: Any, completions: Any, problem_id: list[str], **columns: Any) -> list[float]:
    """Problems whose number is even are mixed, the others solved: the place in the group decides."""
    return [
        float(index % 2) if int(name.rsplit("-", 1)[1]) % 2 == 0 else 1.0
        for index, name in enumerate(problem_id)
    ]


def trained(
    folder: Path, *, steps: int = 5, resume: bool = False, **options: Any
) -> tuple[GRPOTrainer, list[list[str]]]:
    asked: list[list[str]] = []

    def remember(step: int, rows: list[dict[str, Any]]) -> None:
        asked.append([row["problem_id"] for row in rows[::2]])

    signal = SignalConfig(outcome="by_problem", on_rollouts=remember, **options.pop("signal", {}))
    rows = options.pop("rows", ROWS)
    trainer = GRPOTrainer(
        model=add_adapter(load_base("tiny"), rank=2, alpha=4, dropout=0.0, target_modules=["q_proj"], seed=0),
        reward_funcs=[by_problem],
        args=trl.GRPOConfig(
            **{
                "output_dir": str(folder),
                "max_steps": steps,
                "per_device_train_batch_size": 4,
                "gradient_accumulation_steps": 2,
                "num_generations": 2,
                "max_completion_length": 6,
                "learning_rate": 1e-3,
                "save_strategy": "steps",
                "save_steps": 2,
                "report_to": "none",
                "disable_tqdm": True,
                "bf16": False,
                "gradient_checkpointing": False,
                "dataloader_pin_memory": False,
                **options,
            }
        ),
        train_dataset=Dataset.from_list([{**row, "problem_id": f"p-{i}"} for i, row in enumerate(rows)]),
        processing_class=load_tokenizer("tiny"),
        signal=signal,
    )
    trainer.train(resume_from_checkpoint=str(folder / "checkpoint-2") if resume else None)
    return trainer, asked


def test_each_steps_problems_come_in_trls_order() -> None:
    keeper = SamplerKeeper(Posterior.fresh([0] * 9), problems_per_step=2, group_size=3, seed=0)
    sampler = AdaptiveSampler(keeper, steps=2, repeats=2)
    rows = list(sampler)
    assert len(rows) == len(sampler) == 24
    first, second = rows[0], rows[3]
    assert rows[:12] == [first] * 3 + [second] * 3 + [first] * 3 + [second] * 3
    assert len({first, second, rows[12], rows[15]}) == 4


@pytest.mark.parametrize(
    ("updates", "skipped"),
    # Three draws of one batch each make an epoch of two updates: of two batches, and of the one that is left.
    [(0, 0), (1, 2), (2, 0), (3, 2), (4, 0)],
)
def test_after_a_resume_what_the_trainer_skips_is_what_was_drawn_in_this_epoch(
    updates: int, skipped: int
) -> None:
    keeper = SamplerKeeper(Posterior.fresh([0] * 30), problems_per_step=2, group_size=2, seed=0)
    keeper.resumed_at = (updates, 2)
    rows = list(AdaptiveSampler(keeper, steps=3, repeats=1))
    assert rows[: 4 * skipped] == [0] * 4 * skipped
    assert len(keeper.state()["attributes"]["written"]["drawn"]) == 3 - skipped
    assert list(AdaptiveSampler(keeper, steps=3, repeats=1)) != [0] * 12


def test_a_checkpoint_keeps_what_is_drawn_again_and_not_yet_asked() -> None:
    keeper = SamplerKeeper(Posterior.fresh([0] * 30), problems_per_step=2, group_size=2, seed=0)
    for _ in range(3):
        keeper.draw()
    state = TrainerState(global_step=1, stateful_callbacks={"SamplerKeeper": keeper.state()})
    drawn = keeper.state()["attributes"]["written"]["drawn"]
    resumed = SamplerKeeper(Posterior.fresh([0] * 30), problems_per_step=2, group_size=2, seed=0)
    args = TrainingArguments(output_dir="unused", ignore_data_skip=True)
    resumed.on_train_begin(args, state, TrainerControl())
    assert resumed.draw() == drawn[0]
    assert resumed.state()["attributes"]["written"]["drawn"] == drawn


def test_outcomes_reach_the_problems_they_belong_to_and_mixed_ones_are_likelier(tmp_path: Path) -> None:
    trainer, asked = trained(tmp_path, steps=12, save_strategy="no")
    posterior = trainer.problems.posterior
    assert posterior is not None
    seen = posterior.of_N > 0
    even = torch.arange(24).numpy() % 2 == 0
    assert (posterior.right_N[seen & ~even] == posterior.of_N[seen & ~even]).all()
    assert posterior.right_N[seen & even] == pytest.approx(posterior.of_N[seen & even] / 2)
    assert all(len(set(step)) == 4 for step in asked)
    live = posterior.live(2)
    assert live[seen & even].mean() > live[seen & ~even].mean() + 0.05


def test_a_resumed_run_asks_what_the_uninterrupted_one_asks_and_ends_with_its_weights(tmp_path: Path) -> None:
    whole, asked = trained(tmp_path)
    resumed, rest = trained(tmp_path, resume=True)
    assert asked[2:] == rest
    for (name, a), (_, b) in zip(
        whole.model.named_parameters(), resumed.model.named_parameters(), strict=True
    ):
        assert torch.equal(a, b), name


def test_a_checkpoint_of_the_same_problems_in_another_order_is_refused(tmp_path: Path) -> None:
    trained(tmp_path)
    with pytest.raises(ValueError, match="or of these in another order: resume with the data set"):
        trained(tmp_path, steps=6, resume=True, rows=ROWS[::-1])


def test_what_an_earlier_training_had_fetched_ahead_is_asked_first_by_the_next_one() -> None:
    keeper = SamplerKeeper(Posterior.fresh([0] * 30), problems_per_step=2, group_size=2, seed=0)
    scored, ahead = keeper.draw(), keeper.draw()
    keeper.learn(torch.tensor([1.0, 0.0, 1.0, 1.0]))
    keeper.on_train_begin(TrainingArguments(output_dir="unused"), TrainerState(), TrainerControl())
    assert keeper.draw() == ahead != scored
    keeper.learn(torch.tensor([1.0, 1.0, 0.0, 0.0]))
    assert keeper.posterior.right_N[ahead].tolist() == [2.0, 0.0]


def test_a_checkpoint_of_another_trainer_skips_what_it_skips() -> None:
    """Nothing is known of what was drawn before; the rows the loader throws away must not be counted as asked."""
    keeper = SamplerKeeper(Posterior.fresh([0] * 30), problems_per_step=2, group_size=2, seed=0)
    state = TrainerState(global_step=3)
    keeper.on_train_begin(TrainingArguments(output_dir="unused"), state, TrainerControl())
    rows = list(AdaptiveSampler(keeper, steps=5, repeats=1))
    assert rows[:12] == [0] * 12
    assert keeper.posterior.step == 2


def test_what_a_probe_knows_counts_from_the_first_step(tmp_path: Path) -> None:
    known = {row: (400.0, 800.0) if row in (3, 11, 17, 20) else (800.0, 800.0) for row in range(24)}
    _, asked = trained(
        tmp_path, steps=1, save_strategy="no", signal={"sampling": ProblemSampling(known=known)}
    )
    assert len({"p-3", "p-11", "p-17", "p-20"} & set(asked[0])) >= 3


def test_problems_rest_as_long_as_they_are_told_to(tmp_path: Path) -> None:
    _, asked = trained(tmp_path, steps=6, save_strategy="no", signal={"sampling": ProblemSampling(rest=5)})
    assert len({name for step in asked for name in step}) == 24, "six steps of four of 24 problems: each once"


def test_a_recipe_and_the_trainer_let_problems_rest_alike_unless_told() -> None:
    assert GrpoConfig.model_fields["rest"].default == ProblemSampling().rest


def test_it_steps_aside_in_one_line_where_it_cannot_choose(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="warmstart"):
        trainer, asked = trained(tmp_path, steps=1, save_strategy="no", shuffle_dataset=False)
    assert "adaptive sampling: off, because shuffle_dataset=False" in caplog.text
    assert trainer.problems.posterior is None
    assert asked[0] == ["p-0", "p-1", "p-2", "p-3"]


def test_prompts_are_pooled_by_quarters_of_their_length() -> None:
    assert strata_by_length(["a" * n for n in (1, 2, 3, 4, 5, 6, 7, 8)]) == [0, 0, 1, 1, 2, 2, 3, 3]
