"""Builders of run directories as a real run leaves them, without a model and without torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from warmstart.results import rates, summary
from warmstart.runs.directory import EVAL_STAGES, RunDir

RECIPE = "name: tiny\nseed: 7\nsft:\n  steps: 60\n"
RESOLVED: dict[str, Any] = {
    "name": "tiny",
    "seed": 7,
    "model": {"name": "tiny", "revision": None},
    "prompt": {"reasoning_tag": "reasoning", "answer_tag": "answer"},
    "sft": {"enabled": True, "steps": 60, "learning_rate": 0.001},
    "grpo": {"steps": 80, "group_size": 8, "learning_rate": 0.001},
    "eval": {"problems": 120, "samples": 4, "temperature": 1.0},
}
REWARDS = ("easy", "xmlcount", "int", "soft_format", "strict_format", "correctness")
FAMILIES = ("shopping", "distances", "ages")

Row = dict[str, Any]


def completion_row(
    index: int,
    *,
    strict: bool = False,
    right: bool = False,
    formatted: bool | None = None,
    mode: str = "greedy",
    sample: int = 0,
    split: str = "eval",
    text: str | None = None,
    **changes: Any,
) -> Row:
    """One row of eval/STAGE.parquet; right in the format (strict), only right, or neither."""
    total = 12 * index + 30
    formatted = strict if formatted is None else formatted
    given = str(total if strict or right else total + 4)
    working = f"Mia packs {index + 3} boxes of 12, which is {12 * index + 36}.\n6 break, so {given} are left."
    if text is None:
        text = (
            f"<reasoning>\n{working}\n</reasoning>\n<answer>\n{given}\n</answer>"
            if formatted
            else f"{working} So {given}."
        )
    verdict = ("correct" if strict or right else "wrong") if formatted else "no_answer"
    row: Row = {
        "problem_id": f"{split}-{index:04d}",
        "family": FAMILIES[index % len(FAMILIES)],
        "steps": 2 + index % 3,
        "question": f"Mia packs {index + 3} boxes of 12 pears each. 6 pears break. How many are left?",
        "gold": str(total),
        "split": split,
        "mode": mode,
        "sample": sample,
        "text": text,
        "verdict": verdict,
        "lenient_verdict": "correct" if strict or right else "wrong",
        "given": given if formatted else None,
        "lenient_given": given,
        "strict": strict,
        "lenient": strict or right,
        "format": formatted,
        "why_not_strict": "" if formatted else "tag_missing",
        "reward_verdict": verdict,
        "reward_strict": strict,
        "checked": formatted,
        "tokens": len(text) // 3,
        "finished": True,
        "truncated": False,
    }
    return row | changes


def rows_of(results: list[list[bool]]) -> list[Row]:
    """Greedy rows from the first result of each problem, sampled rows from the others."""
    return [
        completion_row(index, strict=right, mode="sampled" if at else "greedy", sample=max(at - 1, 0))
        for index, row in enumerate(results)
        for at, right in enumerate(row)
    ]


def eval_rows(stage: str, *, problems: int = 120, samples: int = 4, seed: int = 0) -> list[Row]:
    """Rows of one stage: a cold base, a warm model that slips, a sharpened one."""
    random = np.random.default_rng([seed, EVAL_STAGES.index(stage)])
    formatted = {"base": 0.0, "warmup": 0.97, "grpo": 1.0}[stage]
    skill = {"base": (0.8, 0.5), "warmup": (0.78, 0.6), "grpo": (0.93, 0.85)}[stage]
    rows = []
    for split, count in (("eval", problems), ("unseen", problems // 4)):
        for index in range(count):
            for sample in range(-1, samples):
                mode = "greedy" if sample < 0 else "sampled"
                right = bool(random.random() < skill[mode == "sampled"])
                in_format = bool(random.random() < formatted)
                finished = bool(random.random() < 0.98)
                rows.append(
                    completion_row(
                        index, strict=right and in_format, right=right, formatted=in_format,
                        mode=mode, sample=max(sample, 0), split=split, finished=finished, truncated=not finished,
                    )
                )  # fmt: skip
    return rows


def sft_metrics(steps: int = 60) -> list[Row]:
    random = np.random.default_rng(1)
    return [
        {
            "stage": "sft",
            "step": step,
            "loss": 0.25 + 1.6 * math.exp(-step / 9) + 0.04 * random.random(),
            "learning_rate": 1e-3,
            "grad_norm": 0.6 + 0.3 * random.random(),
        }
        for step in range(1, steps + 1)
    ]


def grpo_metrics(steps: int = 80) -> list[Row]:
    random = np.random.default_rng(2)
    lines = []
    for step in range(1, steps + 1):
        learnt = 1 - math.exp(-step / 30)
        correct = 0.62 + 0.25 * learnt + 0.08 * (random.random() - 0.5)
        live = round(16 * (0.62 - 0.25 * learnt + 0.15 * (random.random() - 0.5))) / 16
        fail = round(16 * (1 - live) * 0.25) / 16
        rewards = {
            f"{name}_reward_func": (2 * correct if name == "correctness" else 0.48) for name in REWARDS
        }
        lines.append(
            {
                "stage": "grpo",
                "step": step,
                "reward": 2 * correct + 0.48,
                "reward_std": 0.5,
                "rewards": rewards,
                "live_share": live,
                "all_fail_share": fail,
                "all_pass_share": 1 - live - fail,
                "grad_norm": 0.5 + 0.3 * random.random(),
                "loss": 0.0,
                "completion_tokens": 58 + 4 * random.random(),
                "truncated_share": 0.03 * (1 - learnt),
                "tokens_per_s": 5200.0,
                "entropy": 0.6 - 0.3 * learnt,
                "step_s": 1.4,
                "generate_s": 0.8,
            }
        )
    return lines


def rollout_row(step: int = 1, group: int = 0, sample: int = 0, *, right: bool = True, **changes: Any) -> Row:
    """One row of the rollout log: a right or a wrong completion in the exact format."""
    given = "4" if right else "5"
    row: Row = {
        "step": step,
        "stage": "solve",
        "group": group,
        "sample": sample,
        "problem_id": f"train-{group}",
        "question": "2 + 2?",
        "gold": "4",
        "text": f"<reasoning>\n2 and 2.\n</reasoning>\n<answer>\n{given}\n</answer>",
        "verdict": "correct" if right else "wrong",
        "given": given,
        "format": True,
        "why_not_strict": "",
        "rewards": {"correctness_reward_func": 2.0 * right, "strict_format_reward_func": 0.5},
        "reward": 2.0 * right + 0.5,
        "advantage": 0.5 if right else -0.5,
        "live": True,
        "tokens": 20,
        "log_prob": -0.25,
        "entropy": 0.5,
    }
    return row | changes


def rollout_rows(step: int, *, problems: int = 2, group_size: int = 4) -> list[Row]:
    """One step of the rollout log: live groups whose first completion is wrong."""
    return [
        rollout_row(step, problem, sample, right=sample > 0)
        for problem in range(problems)
        for sample in range(group_size)
    ]


def start(path: Path, **changes: Any) -> RunDir:
    """A run directory in which nothing has happened yet."""
    run = RunDir.create_or_resume(path, RESOLVED | changes, RECIPE)
    machine = {
        "versions": {"python": "3.11.9", "warmstart": "0.1.0", "torch": "2.13.0"},
        "platform": "Linux",
        "cpu_cores": 2,
    }
    run.write_json(run.environment_path, machine | {"gpus": []})
    return run


def measure(run: RunDir, stage: str, rows: list[Row]) -> None:
    """What the evaluation of one stage leaves."""
    run.write_completions(stage, rows)
    run.write_eval(stage, {"stage": stage, **rates.summarise_eval(rows, temperature=1.0)})
    tokens = sum(row["tokens"] for row in rows)
    run.finish_stage(f"eval-{stage}", {"generated_tokens": tokens, "wall_s": 21.5, "peak_rss_gb": 0.9})


def finished_run(path: Path, *, problems: int = 120) -> RunDir:
    """A run that went through every stage and has its summary."""
    run = start(path)
    shared = "each 6 pears break how many are left"
    pairs = [
        {"eval_id": f"eval-{index}", "train_id": f"train-{index}", "shared": shared} for index in range(2)
    ]
    overlap = {"eval_problems": problems, "exact": 0, "normalised": 0, "ngram": 2, "pairs": pairs}
    run.write_json(run.overlap_path, overlap)
    run.finish_stage("data", {"train": 400, "eval": problems, "wall_s": 0.4, "peak_rss_gb": 0.6})
    measure(run, "base", eval_rows("base", problems=problems))
    for line in sft_metrics():
        run.append_metrics(line)
    run.finish_stage("sft", {"steps": 60, "trained_tokens": 31_000, "wall_s": 9.1, "peak_rss_gb": 1.2})
    measure(run, "warmup", eval_rows("warmup", problems=problems))
    for line in grpo_metrics():
        run.append_metrics(line)
    run.write_rollouts(1, rollout_rows(1))
    run.finish_stage(
        "grpo",
        {
            "steps": 80,
            "generated_tokens": 600_000,
            "trained_tokens": 600_000,
            "wall_s": 118.0,
            "peak_rss_gb": 1.3,
        },
    )
    measure(run, "grpo", eval_rows("grpo", problems=problems))
    run.write_json(run.summary_path, summary.build_summary(run))
    return run
