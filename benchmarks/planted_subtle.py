"""Faults planted after the rules were written, each judged as in `planted_faults.py`: is its cause named first?

    python benchmarks/planted_subtle.py [--run RUN] [--seeds 3] [--only NAME]

What users get wrong without noticing: a forgotten return, a reward of the next row, half of the golds
shuffled, a prompt that asks for other tags, a template of another family, a clipping of almost zero.
"""

# ruff: noqa: D103, ANN401 - the name of a plant says what is planted.
from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from planted_faults import Bench, Plant, Rows, answers_of, judge, smoke
from warmstart.diagnosis import Finding
from warmstart.models import load_merged, load_tokenizer
from warmstart.rewards.functions import correctness_reward_func, reward_functions, strict_format_reward_func
from warmstart.tags import Tags

Paid = Callable[[Any, Any, Any], Any]
LLAMA = (
    "{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + "
    "message['content'] + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


def _paid_by(b: Bench, paid: Paid, **changes: Any) -> list[Finding]:
    """Return the findings with another outcome reward beside the strict format."""

    def outcome(prompts: Any, completions: Any, answer: Any, **kwargs: Any) -> Any:
        return paid(prompts, completions, answer)

    return b.findings(rewards=[outcome, strict_format_reward_func], outcome="outcome", **changes)


def _right(prompts: Any, completions: Any, answer: Any) -> list[float]:
    return [value or 0.0 for value in correctness_reward_func(prompts, completions, answer)]


def _with_golds(b: Bench, golds: Sequence[str]) -> Rows:
    return [{**row, "answer": gold} for row, gold in zip(b.rows(), golds, strict=True)]


def _told(b: Bench, change: Callable[[dict[str, str]], str]) -> Rows:
    """Return the rows with the content of every message changed."""
    return [
        {**row, "prompt": [{**message, "content": change(message)} for message in row["prompt"]]}
        for row in b.rows()
    ]


@contextmanager
def _template(b: Bench, old: str, new: str) -> Iterator[None]:
    tokenizer, healthy = load_tokenizer("tiny"), b.prompter
    tokenizer.chat_template = tokenizer.chat_template.replace(old, new) if old else new
    b.prompter = replace(healthy, tokenizer=tokenizer)
    try:
        yield
    finally:
        b.prompter = healthy


# -- what a reward function returns, and of what -------------------------------------------------


def reward_forgets_its_return(b: Bench) -> list[Finding]:
    return _paid_by(b, lambda p, c, a: None)


def reward_returns_one_number(b: Bench) -> list[Finding]:
    return _paid_by(b, lambda p, c, a: sum(_right(p, c, a)))


def reward_returns_texts(b: Bench) -> list[Finding]:
    return _paid_by(b, lambda p, c, a: [str(value) for value in _right(p, c, a)])


def reward_is_case_sensitive(b: Bench) -> list[Finding]:
    def paid(prompts: Any, completions: Any, answer: Any) -> list[float]:
        return [
            2.0 * bool(re.search(rf"<Answer>\s*{re.escape(gold)}\s*</Answer>", c[-1]["content"]))
            for c, gold in zip(completions, answer, strict=True)
        ]

    return _paid_by(b, paid)


def reward_compares_with_cents(b: Bench) -> list[Finding]:
    return _paid_by(
        b,
        lambda p, c, a: [
            2.0 * (given == f"{int(gold):,}.00") for given, gold in zip(answers_of(c), a, strict=True)
        ],
    )


def reward_looks_anywhere(b: Bench) -> list[Finding]:
    return _paid_by(
        b, lambda p, c, a: [2.0 * (gold in one[-1]["content"]) for one, gold in zip(c, a, strict=True)]
    )


def reward_is_chance(b: Bench) -> list[Finding]:
    draw = random.Random(b.seed)
    return _paid_by(b, lambda p, c, a: [2.0 * (draw.random() < 0.5) for _ in c])


def reward_of_the_next_row(b: Bench) -> list[Finding]:
    return _paid_by(b, lambda p, c, a: (values := _right(p, c, a))[8:] + values[:8])


def reward_is_inverted(b: Bench) -> list[Finding]:
    return _paid_by(b, lambda p, c, a: [2.0 - value for value in _right(p, c, a)])


def reward_changes_the_completions(b: Bench) -> list[Finding]:
    def cleaned(completions: Any, **kwargs: Any) -> list[float]:
        for completion in completions:
            completion[-1]["content"] = re.sub(r"<[^>]*>", "", completion[-1]["content"])
        return [0.1] * len(completions)

    return b.findings(rewards=[cleaned, strict_format_reward_func, correctness_reward_func])


def format_reward_of_other_tags(b: Bench) -> list[Finding]:
    other = reward_functions(Tags("think", "result"))
    shaping = [f for f in other if f.__name__ != "correctness_reward_func"]
    return b.findings(rewards=[*shaping, correctness_reward_func])


def outcome_without_weight(b: Bench) -> list[Finding]:
    return b.findings(reward_weights=[1.0, 0.0])


def no_reward_has_weight(b: Bench) -> list[Finding]:
    return b.findings(reward_weights=[0.0, 0.0], outcome=None, rewards=[strict_format_reward_func] * 2)


# -- golds and problems --------------------------------------------------------------------------


def golds_with_words(b: Bench) -> list[Finding]:
    return _paid_by(
        b,
        lambda p, c, a: [2.0 * (given == gold) for given, gold in zip(answers_of(c), a, strict=True)],
        rows=_with_golds(b, [f"{problem.gold} in all" for problem in b.problems]),
    )


def golds_of_another_column(b: Bench) -> list[Finding]:
    return b.findings(rows=_with_golds(b, [problem.question for problem in b.problems]))


def golds_all_alike(b: Bench) -> list[Finding]:
    return b.findings(rows=_with_golds(b, ["42"] * len(b.problems)))


def golds_are_the_first_number(b: Bench) -> list[Finding]:
    return b.findings(rows=_with_golds(b, [re.findall(r"\d+", p.question)[0] for p in b.problems]))


def golds_negated(b: Bench) -> list[Finding]:
    return b.findings(rows=_with_golds(b, [f"-{problem.gold}" for problem in b.problems]))


def half_of_the_golds_shuffled(b: Bench) -> list[Finding]:
    golds = [problem.gold for problem in b.problems]
    half = golds[: len(golds) // 2]
    random.Random(b.seed).shuffle(half)
    return b.findings(rows=_with_golds(b, [*half, *golds[len(half) :]]))


def one_problem_in_every_row(b: Bench) -> list[Finding]:
    return b.findings(rows=b.rows()[:1] * 48)


def questions_left_out(b: Bench) -> list[Finding]:
    return b.findings(rows=_told(b, lambda m: "" if m["role"] == "user" else m["content"]))


# -- prompt, template and sampler ----------------------------------------------------------------


def prompt_asks_for_other_tags(b: Bench) -> list[Finding]:
    return b.findings(
        rows=_told(b, lambda m: m["content"].replace("reasoning", "thought").replace("answer", "result"))
    )


def template_opens_thinking_in_the_probe(b: Bench) -> list[Finding]:
    with _template(b, "assistant\n' }}{% endif", "assistant\n<think>\n' }}{% endif"):
        return b.findings()


def template_of_another_family(b: Bench) -> list[Finding]:
    with _template(b, "", LLAMA):
        return b.findings()


def template_asks_for_no_turn(b: Bench) -> list[Finding]:
    with _template(b, "{% if add_generation_prompt %}", "{% if false %}"):
        return b.findings()


def temperature_of_three(b: Bench) -> list[Finding]:
    return b.findings(temperature=3.0)


def repetition_penalty_of_two(b: Bench) -> list[Finding]:
    return b.findings(repetition_penalty=2.0)


def top_k_of_one(b: Bench) -> list[Finding]:
    return b.findings(top_k=1)


def cap_of_four(b: Bench) -> list[Finding]:
    return b.findings(cap=4)


# -- weights and gradient ------------------------------------------------------------------------


def a_weight_that_is_no_number(b: Bench) -> list[Finding]:
    model = load_merged("tiny", b.adapter)
    model.model.norm.weight.data[0] = float("nan")
    return b.findings(model=model)


def b_matrices_frozen(b: Bench) -> list[Finding]:
    def change(trainer: Any) -> None:
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:
                parameter.requires_grad_(requires_grad=False)

    return smoke(b, change)


def lora_alpha_of_zero(b: Bench) -> list[Finding]:
    return smoke(b, lambda trainer: None, alpha=0)


def gradient_clipped_to_nothing(b: Bench) -> list[Finding]:
    return smoke(b, lambda trainer: None, max_grad_norm=1e-10)


def optimiser_without_the_adapter(b: Bench) -> list[Finding]:
    def change(trainer: Any) -> None:
        trainer.optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(3))], lr=1e-4)

    return smoke(b, change)


PLANTS: list[Plant] = [
    (reward_forgets_its_return, "reward-undecided"),
    (reward_returns_one_number, "reward-wrong-length"),
    (reward_returns_texts, "reward-not-a-number"),
    (reward_is_case_sensitive, "reward-blind"),
    (reward_compares_with_cents, "reward-blind"),
    (reward_looks_anywhere, "reward-pays-wrong"),
    (reward_is_chance, "reward-unrelated"),
    (reward_of_the_next_row, "reward-unrelated"),
    (reward_is_inverted, "reward-unrelated"),
    (reward_changes_the_completions, "reward-blind"),
    (format_reward_of_other_tags, "reward-idle"),
    (outcome_without_weight, "outcome-outweighed"),
    (no_reward_has_weight, "rewards-cancel"),
    (golds_with_words, "reward-blind"),
    (golds_of_another_column, "gold-unparsable"),
    (golds_all_alike, "gold-alike"),
    (golds_are_the_first_number, "gold-contradicted"),
    (golds_negated, "gold-contradicted"),
    (half_of_the_golds_shuffled, "gold-contradicted"),
    (b_matrices_frozen, "adapter-frozen"),
    (lora_alpha_of_zero, "gradient-blocked"),
    (gradient_clipped_to_nothing, "gradient-blocked"),
    (optimiser_without_the_adapter, "gradient-blocked"),
    (one_problem_in_every_row, "problems-repeated"),
    (questions_left_out, "gold-conflicts"),
    (prompt_asks_for_other_tags, "tags-differ"),
    (template_opens_thinking_in_the_probe, "template-opens-thinking"),
    (template_of_another_family, "template-foreign"),
    (template_asks_for_no_turn, "template-opens-no-turn"),
    (temperature_of_three, "sampling-distorted"),
    (repetition_penalty_of_two, "sampling-distorted"),
    (top_k_of_one, "sampling-degenerate"),
    (cap_of_four, "truncated"),
    (a_weight_that_is_no_number, "not-a-number"),
]


if __name__ == "__main__":
    sys.exit(judge(__doc__ or "", PLANTS))
