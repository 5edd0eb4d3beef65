"""Healthy facts, of which each test changes one thing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from warmstart.diagnosis import ProbeFacts, SmokeFacts, TrainingWindow
from warmstart.tags import DEFAULT_TAGS

NAMES = ("strict_format_reward_func", "correctness_reward_func")
WORDS = [
    "so",
    "we",
    "add",
    "the",
    "two",
    "parts",
    "and",
    "take",
    "away",
    "what",
    "was",
    "sold",
    "then",
    "multiply",
    "by",
    "days",
    "left",
    "over",
]


def healthy_probe(
    seed: int = 0,
    *,
    problems: int = 64,
    samples: int = 8,
    solve: tuple[float, float] = (0.8, 0.3),
    **changes: Any,
) -> ProbeFacts:
    """Return the facts after a good warm start: format 0.89, strict 0.64, lenient 0.7, half the groups live.

    Args:
        seed: Of everything drawn.
        problems: P.
        samples: K.
        solve: The Beta distribution of the problems' solve rates; its mean is 0.73.
        changes: Attributes to replace.
    """
    random = np.random.default_rng(seed)
    shape = (problems, samples)
    golds = [str(value) for value in random.integers(2, 500, problems)]
    right = random.random(shape) < random.beta(*solve, size=(problems, 1))
    finished = random.random(shape) >= 0.05
    exact = finished & (random.random(shape) < 0.93)
    answered = finished & (random.random(shape) < 0.97) | exact
    lenient = right & finished
    given = [
        [
            (golds[p] if lenient[p, k] else str(int(golds[p]) + 1 + int(random.integers(60))))
            if finished[p, k]
            else None
            for k in range(samples)
        ]
        for p in range(problems)
    ]
    texts = [
        [
            completion(random, given[p][k], is_exact=bool(exact[p, k]), is_answered=bool(answered[p, k]))
            for k in range(samples)
        ]
        for p in range(problems)
    ]
    strict = (lenient & exact).astype(float)
    rewards = np.stack([0.5 * exact, 2.0 * (lenient & answered)], axis=2)
    facts = ProbeFacts(
        format_P_K=exact,
        strict_P_K=strict,
        lenient_P_K=lenient.astype(float),
        answered_P_K=answered,
        finished_P_K=finished,
        tokens_P_K=np.where(finished, random.integers(40, 120, shape), 160),
        rewards_P_K_R=rewards,
        reward_names=NAMES,
        weights=(1.0, 1.0),
        outcome=NAMES[1],
        texts=texts,
        group_size=8,
        cap=160,
        entropy=0.06 + 0.5 * random.random(),
        given_P_K=given,
        golds=golds,
        is_warmed=True,
    )
    return replace(facts, **changes)


def completion(random: np.random.Generator, answer: str | None, *, is_exact: bool, is_answered: bool) -> str:
    """Return a completion; without an answer it is cut off."""
    reasoning = " ".join([*random.choice(WORDS, 25), *map(str, random.integers(0, 99, 5))])
    if answer is None:
        return f"<reasoning>\n{reasoning}"
    if is_exact:
        return DEFAULT_TAGS.wrap(reasoning, answer)
    if is_answered:
        return f"{reasoning} <answer>{answer}</answer>"
    return f"{reasoning}\nThe answer is {answer}."


def cold_probe(seed: int = 0, **changes: Any) -> ProbeFacts:
    """Return the facts of a base that solves problems its own way and never uses the tags."""
    facts = healthy_probe(seed)
    random = np.random.default_rng(seed)
    texts = [
        [completion(random, answer, is_exact=False, is_answered=False) for answer in group]
        for group in facts.given_P_K or ()
    ]
    never = np.zeros_like(facts.format_P_K)
    return replace(
        facts,
        format_P_K=never,
        answered_P_K=never,
        strict_P_K=np.zeros(never.shape),
        rewards_P_K_R=np.zeros((*never.shape, 2)),
        texts=texts,
        is_warmed=False,
        **changes,
    )


def healthy_smoke(**changes: Any) -> SmokeFacts:
    """Return the facts of a synthetic step that works."""
    facts = SmokeFacts(
        trainable=40_960,
        supervised_tokens=512,
        grad_norm=0.4,
        grad_norm_lora_b=0.3,
        largest_change=1e-3,
        loss=0.01,
        learning_rate=1e-3,
        format_in_trainer=(57, 64),
        format_after_sft=(450, 500),
    )
    return replace(facts, **changes)


def healthy_lines(seed: int = 0, steps: int = 60, groups: int = 16, size: int = 8) -> list[dict[str, Any]]:
    """Return the lines of a healthy tiny run: 16 groups of 8 per step, the skill slowly rising."""
    random = np.random.default_rng(seed)
    lines = []
    for step in range(1, steps + 1):
        progress = step / steps
        exact = random.random((groups, size)) < 0.89 + 0.08 * progress
        solve = random.beta(0.8 + 0.4 * progress, 0.4, size=(groups, 1))
        right = exact & (random.random((groups, size)) < solve)
        totals = 0.5 * exact + 2.0 * right
        live = np.ptp(totals, axis=1) > 0
        lines.append(
            {
                "stage": "grpo",
                "step": step,
                "loss": float(random.normal(0, 0.01)),
                "learning_rate": 1e-3,
                "grad_norm": float(np.exp(random.normal(-0.9, 0.5))),
                "reward": float(totals.mean()),
                "reward_std": float(totals.std(axis=1).mean()),
                "entropy": float(max(0.05, random.normal(0.5 - 0.2 * progress, 0.04))),
                "completion_tokens": float(random.normal(62, 3)),
                "truncated_share": float(random.binomial(128, 0.05) / 128),
                "live_share": float(live.mean()),
                "all_fail_share": float((~live & ~right.any(axis=1)).mean()),
                "all_pass_share": float((~live & right.all(axis=1)).mean()),
                "undecided_share": 0.0,
                "rewards": {NAMES[0]: float(0.5 * exact.mean()), NAMES[1]: float(2.0 * right.mean())},
            }
        )
    return lines


def window_of(lines: list[dict[str, Any]], **known: Any) -> TrainingWindow:
    """Return the window over lines with what is known of a tiny run."""
    return TrainingWindow.from_metrics(lines, **({"cap": 160, "usual_rate": 1e-3} | known))


def changed(lines: list[dict[str, Any]], first: int = 0, **values: Any) -> list[dict[str, Any]]:
    """Return the lines with values replaced from index ``first`` on; ``format`` and ``right`` are shares."""
    result = []
    for at, line in enumerate(lines):
        new = dict(line)
        if at >= first:
            new |= {key: value for key, value in values.items() if key not in ("format", "right")}
            new["rewards"] = dict(line["rewards"])
            if "format" in values:
                new["rewards"][NAMES[0]] = 0.5 * values["format"]
            if "right" in values:
                new["rewards"][NAMES[1]] = 2.0 * values["right"]
        result.append(new)
    return result
