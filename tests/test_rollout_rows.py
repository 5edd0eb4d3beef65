"""What the trainer writes into the rollout log, from real steps of the tiny base."""

from __future__ import annotations

import json

import numpy as np
import pytest
from datasets import Dataset
from tests.run_directories import start

from warmstart.curriculum import RewardPlan
from warmstart.data.synthetic import generate
from warmstart.grading.verdicts import grade
from warmstart.models import add_adapter, load_base, load_tokenizer
from warmstart.records import Verdict
from warmstart.rewards import functions as rewards
from warmstart.runs.rollout_log import COLUMNS
from warmstart.tags import DEFAULT_TAGS, Tags, parse
from warmstart.templates.prompter import make_prompter
from warmstart.training.callbacks import metrics_line
from warmstart.training.grpo import prompt_rows
from warmstart.training.rollout_rows import scored, verdict, written
from warmstart.training.signal_config import SignalConfig
from warmstart.training.trainer import GRPOTrainer

GROUP_SIZE = 4
PERFECT = "<reasoning>\nso\n</reasoning>\n<answer>\n{}\n</answer>"


def _train(tmp_path, write, *, plan=None, steps=1, logs=None, **settings):
    """A real step of the trainer on the tiny base, whose completions are what ``write`` says."""
    import trl

    prompter = make_prompter(load_tokenizer("tiny"), tags=DEFAULT_TAGS)

    class Written(GRPOTrainer):
        def _generate_single_turn(self, prompt_ids, *args, **kwargs):
            texts = [write(place, self.state.global_step) for place in range(len(prompt_ids))]
            return [prompter.tokenizer(text)["input_ids"] for text in texts], None

    run = start(tmp_path / "run")
    kind = GRPOTrainer if write is None else Written
    trainer = kind(
        model=add_adapter(
            load_base("tiny"), rank=4, alpha=8, dropout=0.0, target_modules="all-linear", seed=0
        ),
        reward_funcs=rewards.reward_functions(DEFAULT_TAGS),
        args=trl.GRPOConfig(
            **{
                "output_dir": str(tmp_path),
                "max_steps": steps,
                "per_device_train_batch_size": 2 * GROUP_SIZE,
                "num_generations": GROUP_SIZE,
                "max_completion_length": 64,
                "logging_steps": 1,
                "save_strategy": "no",
                "report_to": "none",
                "disable_tqdm": True,
                "bf16": False,
                "gradient_checkpointing": False,
                "dataloader_pin_memory": False,
                **settings,
            }
        ),
        train_dataset=Dataset.from_list(
            [
                {**row, "answer": "7"}
                for row in prompt_rows(prompter, generate(8 * steps, seed=0, split="train"))
            ]
        ),
        processing_class=prompter.tokenizer,
        signal=SignalConfig(outcome="correctness_reward_func", on_rollouts=run.write_rollouts, plan=plan),
    )
    trainer.train()
    if logs is not None:
        logs += trainer.state.log_history
    return [row for rows in run.read_rollouts() for row in rows]


def _mixed(place: int, step: int) -> str:
    """Group 0: right, wrong, right but not in the format, no answer. Group 1: four times right."""
    texts = [PERFECT.format(7), PERFECT.format(8), PERFECT.format(7) + "\nDone.", "It is 7."]
    return texts[place] if place < GROUP_SIZE else PERFECT.format(7)


def test_a_step_is_logged_with_verdicts_reasons_and_the_advantages_trl_used(tmp_path) -> None:
    rows = _train(tmp_path, _mixed)
    assert set(rows[0]) == {*COLUMNS, "rewards"}
    assert [(row["step"], row["group"], row["sample"]) for row in rows] == [
        (1, group, sample) for group in (0, 1) for sample in range(4)
    ]
    first = rows[:4]
    assert [row["verdict"] for row in first] == ["correct", "wrong", "correct", "no_answer"]
    assert [row["given"] for row in first] == ["7", "8", "7", None]
    assert [row["format"] for row in first] == [True, True, False, False]
    assert first[2]["why_not_strict"] == "text_after"
    assert [row["live"] for row in rows] == [True] * 4 + [False] * 4
    # Weights are 1: 0.5 each for easy, xmlcount, int, soft and strict, 2 for the answer.
    assert [row["reward"] for row in first] == pytest.approx([4.5, 2.5, 3.995, 0.0])
    totals = np.array([row["reward"] for row in first])
    expected = (totals - totals.mean()) / (totals.std(ddof=1) + 1e-4)
    assert [row["advantage"] for row in first] == pytest.approx(expected.tolist(), rel=1e-4)
    assert [row["advantage"] for row in rows[4:]] == [0.0] * 4
    # These completions were not sampled by our loop, so nothing is known of their probabilities.
    assert {(row["log_prob"], row["entropy"], row["stage"]) for row in rows} == {(None, None, None)}


def test_the_entropy_of_a_step_is_that_of_every_token_also_where_no_row_is_live(tmp_path) -> None:
    logs: list[dict[str, float]] = []
    rows = _train(tmp_path, None, logs=logs, max_completion_length=8)
    assert logs[0]["signal/update_share"] == 0.0
    assert logs[0]["entropy"] == 0.0, "TRL's own is that of the rows it was given"
    nats = sum(row["tokens"] * row["entropy"] for row in rows)
    assert logs[0]["signal/entropy"] == pytest.approx(nats / sum(row["tokens"] for row in rows), rel=1e-5)
    assert metrics_line("grpo", 1, logs[0])["entropy"] == logs[0]["signal/entropy"]


def test_completions_of_our_own_loop_come_with_their_mean_log_probability_and_entropy(tmp_path) -> None:
    rows = _train(tmp_path, None, max_completion_length=8)
    assert len(rows) == 2 * GROUP_SIZE
    assert all(row["log_prob"] < 0 < row["entropy"] for row in rows)
    assert all(1 <= row["tokens"] <= 8 for row in rows)


def test_the_reward_of_a_step_is_weighed_as_its_stage_weighs_it_right_after_the_stage_has_changed(
    tmp_path,
) -> None:
    # Two steps in `format` are behind it: the first step here moves the plan on to `solve`.
    plan = RewardPlan("format", steps=2, soft=1.0, strict=1.0)
    rows = _train(tmp_path, _mixed, plan=plan, steps=2)
    assert {(row["step"], row["stage"]) for row in rows} == {(1, "format"), (2, "solve")}
    for row in rows:
        weights = rewards.STAGE_WEIGHTS[row["stage"]]
        assert row["reward"] == pytest.approx(
            sum(weights[name] * value for name, value in row["rewards"].items())
        )
    second = [row for row in rows if row["step"] == 2 and row["group"] == 0]
    assert [row["reward"] for row in second] == pytest.approx([2.5, 0.5, 2.0, 0.0])


def _log_row(text: str, paid: list[float], **changes):
    (row,) = written([{"answer": "7"}], [text], [[1, 2]], None)
    options = {"names": ["outcome", "other"], "group_size": 1, "step": 3, "outcome": "outcome"}
    (kept,) = scored([row], np.array([paid]), np.nansum([paid], axis=1), **(options | changes))
    return kept


def test_an_undecided_completion_has_neither_rewards_nor_a_right_or_wrong() -> None:
    row = _log_row(PERFECT.format(7), [np.nan, np.nan])
    assert (row["verdict"], row["rewards"]) == ("undecided", {"outcome": None, "other": None})


def test_without_an_outcome_there_is_no_verdict() -> None:
    assert _log_row(PERFECT.format(7), [2.0, 0.5], outcome=None)["verdict"] is None


def test_the_answer_and_the_format_are_those_of_the_recipes_own_tags() -> None:
    text = "<think>\nso\n</think>\n<final>\n7\n</final>"
    row = _log_row(text, [2.0, 0.5], tags=Tags("think", "final"))
    assert (row["given"], row["format"], row["why_not_strict"]) == ("7", True, "")


def test_what_the_prompt_has_written_of_a_completion_is_logged_with_it() -> None:
    messages = [{"role": "assistant", "content": "so\n</reasoning>"}]
    (row,) = written([{}], [messages], [[1]], None, prefill="<reasoning>\n")
    assert row["text"] == "<reasoning>\nso\n</reasoning>"


def test_the_verdict_from_what_was_paid_is_the_graders_own(shared_data) -> None:
    # Not splitlines: some of the completions hold other line separators.
    lines = (shared_data / "graded" / "tricky.jsonl").read_text().split("\n")
    rows = [json.loads(line) for line in lines if line]
    for row in rows:
        text, gold = row["completion"], str(row["gold"])
        judged = grade(text, gold)
        (paid,) = rewards.correctness_reward_func(prompts=[""], completions=[text], answer=[gold])
        assert verdict(paid, parse(text)) is judged.verdict
    assert {Verdict.CORRECT, Verdict.WRONG} <= {grade(r["completion"], str(r["gold"])).verdict for r in rows}
