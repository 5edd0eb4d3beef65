"""How long does the browser of the rollout log take, and the report, on a log of a million completions?

    python benchmarks/rollouts.py [--rows 1000000] [--keep DIR]

Makes a finished run with such a log in a temporary folder (minutes; or in DIR, and takes the one that is
there already), asks it what a user would, each question in a process of its own, and builds the report.
Prints wall seconds, start of the process included, and peak memory; exits with 1 if the question of one
step takes more than 2 s, or the report more than 60 s or 2 GB.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from warmstart.data.synthetic import generate
from warmstart.records import Problem
from warmstart.results import rates
from warmstart.rewards.functions import STAGE_WEIGHTS, score
from warmstart.runs.directory import EVAL_STAGES, RunDir
from warmstart.tags import render_target

GROUPS, GROUP_SIZE = 16, 8
STEP_S, REPORT_S, REPORT_GB = 2.0, 60.0, 2.0
QUESTIONS = {
    "one step": ["--dead", "--step", "500"],
    "one step, groups": ["--groups", "--step", "500"],
    "one problem": ["--problem", "synthetic-train-0-7"],
    "whole log": ["--wrong-but-strict"],
    "whole log, sorted": ["--sort", "advantage"],
    "whole log, groups": ["--groups", "--live", "--sort", "tokens"],
}

Row = dict[str, Any]


def graded(problem: Problem, given: str) -> Row:
    """Return what the log says of one completion of a problem, its place aside."""
    text = render_target(problem.rationale or "it is so", given)
    found = score(text, problem.gold)
    return {
        "problem_id": problem.id,
        "question": problem.question,
        "gold": problem.gold,
        "text": text,
        "verdict": str(found.grade.verdict),
        "given": found.grade.given,
        "format": found.grade.parsed.strict,
        "why_not_strict": "",
        "rewards": found.rewards,
        "reward": found.total(STAGE_WEIGHTS["solve"]),
        "tokens": len(text) // 3,
        "log_prob": -0.3,
        "entropy": 0.4,
        "stage": "solve",
    }


def write_log(run: RunDir, steps: int) -> None:
    """Write a log whose texts are of real length and all different; every third group is dead."""
    rng = random.Random(0)
    problems = generate(2_000, seed=0, split="train")
    workings = [problem.rationale or "" for problem in problems]
    right = [graded(problem, problem.gold) for problem in problems]
    wrong = [graded(problem, f"{rng.randrange(10**6)}") for problem in problems]
    for step in range(1, steps + 1):
        rows = []
        for group, place in enumerate(rng.sample(range(len(problems)), GROUPS)):
            solved = GROUP_SIZE if group % 3 == 0 else rng.randrange(1, GROUP_SIZE)
            for sample in range(GROUP_SIZE):
                row = right[place] if sample < solved else wrong[place]
                advantage = 0.0 if solved == GROUP_SIZE else rng.gauss(0, 1)
                # Repeated texts would be stored once, and the log a tenth of its size.
                draft = "\n".join([*rng.choices(workings, k=4), f"Draft {rng.getrandbits(64):x}."])
                text = row["text"].replace("<reasoning>\n", f"<reasoning>\n{draft}\n", 1)
                at = {"step": step, "group": group, "sample": sample, "text": text}
                rows.append({**row, **at, "live": solved < GROUP_SIZE, "advantage": advantage})
        run.write_rollouts(step, rows)
        run.append_metrics(
            {"stage": "grpo", "step": step, "reward": 2.0, "reward_std": 0.5, "live_share": 0.62}
            | {"all_fail_share": 0.0, "all_pass_share": 0.38, "grad_norm": 0.5, "loss": 0.0, "entropy": 0.4}
            | {"completion_tokens": 60.0, "truncated_share": 0.0, "step_s": 1.4, "generate_s": 0.8}
            | {"rewards": dict.fromkeys(STAGE_WEIGHTS["solve"], 0.5)}
        )


def write_evaluations(run: RunDir) -> None:
    """Write what the report needs beside the log: three measured models, 500 problems × 5 completions."""
    problems = generate(500, seed=1, split="eval")
    for stage in EVAL_STAGES:
        rows = [
            {
                **graded(problem, problem.gold if place % 3 else "1"),
                **{"family": problem.family, "steps": problem.steps, "split": "eval", "finished": True},
                **{"mode": "sampled" if sample else "greedy", "sample": max(0, sample - 1)},
                **{"strict": place % 3 > 0, "lenient": place % 3 > 0, "lenient_given": problem.gold},
                **{"lenient_verdict": "correct" if place % 3 else "wrong", "format": True},
            }
            for place, problem in enumerate(problems)
            for sample in range(5)
        ]
        run.write_completions(stage, rows)
        run.write_eval(stage, {"stage": stage, **rates.summarise_eval(rows, temperature=1.0)})
        run.finish_stage(f"eval-{stage}", {"wall_s": 1.0, "peak_rss_gb": 1.0, "generated_tokens": 1})


def measure(arguments: list[str], output: Path) -> tuple[float, float]:
    """Return the wall seconds and the peak gigabytes of one call of the program.

    Raises:
        RuntimeError: If it fails.
    """
    started = time.perf_counter()
    with output.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "warmstart", *arguments], stdout=file)
        _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise RuntimeError(f"warmstart {' '.join(arguments)} ended with status {status}")
    return time.perf_counter() - started, usage.ru_maxrss / 1e6


def main() -> int:
    """Make the log, measure, print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch) / "run"
        run = RunDir.create_or_resume(folder, {"name": "million", "seed": 0}, "name: million\n")
        steps = -(-options.rows // (GROUPS * GROUP_SIZE))
        if len(run.rollout_files()) < steps:
            started = time.perf_counter()
            write_log(run, steps)
            print(f"{steps} steps written, {(time.perf_counter() - started) / steps * 1e3:.1f} ms each")
            write_evaluations(run)
            run.finish_stage("grpo", {"steps": steps, "wall_s": 1.0, "peak_rss_gb": 1.0})
        files = set(run.rollout_files().values())
        size = sum(path.stat().st_size for path in files)
        print(f"{steps * GROUPS * GROUP_SIZE:,} completions in {len(files):,} files, {size / 1e6:,.0f} MB")
        output = Path(scratch) / "output"
        found = {}
        for name, arguments in QUESTIONS.items():
            found[name] = measure(["rollouts", str(folder), *arguments], output)
        found["export"] = measure(
            ["rollouts", str(folder), "--live", "--export", f"{scratch}/live.parquet"], output
        )
        found["report"] = measure(["report", str(folder)], output)
        for name, (seconds, peak) in found.items():
            print(f"{name:20} {seconds:7.2f} s {peak:6.2f} GB")
        seconds, peak = found["report"]
        return int(found["one step"][0] > STEP_S or seconds > REPORT_S or peak > REPORT_GB)


if __name__ == "__main__":
    sys.exit(main())
