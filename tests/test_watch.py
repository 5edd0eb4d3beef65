"""What the watch reads of the completions, in TRL's own trainer too."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from transformers import TrainerControl, TrainerState

from warmstart import SignalWatch
from warmstart.data.synthetic import generate
from warmstart.models import add_adapter, load_base, load_tokenizer
from warmstart.rewards.functions import correctness_reward_func, strict_format_reward_func
from warmstart.tags import DEFAULT_TAGS
from warmstart.templates.prompter import Prompter, make_prompter
from warmstart.training.checks import Check, Checker

GOOD = DEFAULT_TAGS.wrap("2 + 2 = 4.", "4")
HACK = DEFAULT_TAGS.wrap("2 + 2 = 4.", "4") + "\n<answer>\n9\n</answer>"


def first_block(prompts: object, completions: list[str], answer: list[str], **columns: object) -> list[float]:
    """Pay 2 where the first answer block holds the gold: the classic mistake."""
    return [
        2.0 * (text.split("<answer>")[1].split("</answer>")[0].strip() == gold)
        for text, gold in zip(completions, answer, strict=True)
    ]


@pytest.fixture(scope="module")
def prompter() -> Prompter:
    return make_prompter(load_tokenizer("tiny"), tags=DEFAULT_TAGS)


def read(watch: SignalWatch, texts: list[str], golds: list[str], step: int = 3) -> list[float | None]:
    outcome = watch.reading([strict_format_reward_func, first_block])[1]
    return outcome(
        prompts=["2 + 2?"] * len(texts),
        completions=texts,
        answer=golds,
        trainer_state=SimpleNamespace(global_step=step),
    )


def test_reading_changes_neither_names_nor_values() -> None:
    watch = SignalWatch(outcome="first_block")
    functions = watch.reading([strict_format_reward_func, first_block])
    assert [function.__name__ for function in functions] == ["strict_format_reward_func", "first_block"]
    assert functions[0] is strict_format_reward_func
    assert read(watch, [GOOD, GOOD], ["4", "5"]) == [2.0, 0.0]


def test_what_it_read_tells_paid_hacks_from_right_answers() -> None:
    watch = SignalWatch(outcome="first_block")
    read(watch, [GOOD, HACK, HACK, GOOD], ["4", "4", "4", "5"])
    [seen] = watch.rollouts
    assert (seen.step, seen.several_blocks, seen.paid_wrong) == (4, 0.5, 0.5)


def test_what_it_read_is_kept_as_lines_for_the_curves() -> None:
    lines: list[dict] = []
    watch = SignalWatch(outcome="first_block", sink=lines.append)
    read(watch, [GOOD, HACK], ["4", "4"])
    [line] = lines
    assert (line["stage"], line["step"], line["repeated_tags"], line["reasoning_words"]) == (
        "writing",
        4,
        0.5,
        5.0,
    )


def test_conversational_completions_are_read_too() -> None:
    watch = SignalWatch()
    [outcome] = watch.reading([correctness_reward_func])
    turns = [[{"role": "assistant", "content": GOOD}]]
    assert outcome(prompts=["2 + 2?"], completions=turns, answer=["4"]) == [2.0]
    assert watch.rollouts[0].paid_wrong == 0.0


def test_reading_without_the_outcome_is_refused() -> None:
    with pytest.raises(ValueError, match="'correctness_reward_func' is none of the rewards"):
        SignalWatch().reading([strict_format_reward_func])


# -- held-out problems ---------------------------------------------------------------------------


@dataclass
class Scripted:
    """A checker whose results are given: strict accuracy of 32 problems at each call."""

    strict: list[float]

    def measure(self, model: object, step: int) -> Check:
        share = self.strict.pop(0)
        return Check(
            step,
            format=1.0,
            lenient=share,
            live=0.5,
            strict_P=(1.0,) * round(32 * share) + (0.0,) * round(32 * (1 - share)),
        )


def test_on_collapse_the_adapter_of_the_best_held_out_check_is_put_back() -> None:
    said: list[str] = []
    watch = SignalWatch(say=said.append, checker=Scripted([0.5, 0.75, 0.0625, 0.0]), check_every=5)  # type: ignore[arg-type]
    model = add_adapter(load_base("tiny"), rank=2, alpha=4, dropout=0.0, target_modules="all-linear", seed=0)
    state, control = TrainerState(), TrainerControl()
    weight = next(p for name, p in model.named_parameters() if "lora_B" in name)
    for step in range(1, 21):
        state.global_step = step
        weight.data.fill_(float(step))
        watch.on_step_end(None, state, control, model=model)  # type: ignore[arg-type]
        logs = {"reward": 2.0, "rewards/correctness_reward_func/mean": 1.5, "grad_norm": 0.1, "loss": 0.0}
        watch.on_log(None, state, control, logs=logs, model=model)  # type: ignore[arg-type]
        if control.should_training_stop:
            break
    told = [(event["code"], event["severity"]) for event in watch.events if event["severity"] != "note"]
    assert told == [("collapse", "ill"), ("collapse", "stop")]
    assert watch.said_at(state.global_step)[-1]["advice"] == "the adapter of step 10 is put back"
    assert control.should_training_stop
    assert "the adapter of step 10 is put back" in said
    assert weight.detach()[0, 0] == 10.0


def test_a_check_reads_the_same_model_the_same_way_every_time_and_the_cold_base_as_cold(prompter) -> None:
    checker = Checker(generate(6, seed=3, split="train"), prompter, cap=100)
    first, again = (checker.measure(load_base("tiny"), 4) for _ in range(2))
    assert first == again
    assert (first.format, first.strict_P, first.live) == (0.0, (0.0,) * 6, 0.0)
    assert 0.0 < first.lenient < 1.0
