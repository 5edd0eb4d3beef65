"""Runs in processes of their own, that can be killed; and whether two runs ended the same."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from warmstart.runs.directory import EVAL_STAGES, RunDir
from warmstart.runs.durable import read_lines

RECIPE = [
    "data.train_problems=160",
    "probe.cure=self-warm-start",
    "probe.problems=8",
    "probe.completions=3",
    "sft.problems=36",
    "sft.samples=1",
    "sft.steps=30",
    "sft.check_every=12",
    "sft.check_problems=2",
    "sft.checkpoint_every=5",
    "grpo.steps=7",
    "grpo.problems_per_step=4",
    "grpo.group_size=4",
    "grpo.micro_batch=8",
    "grpo.check_every=3",
    "grpo.check_problems=2",
    "grpo.checkpoint_every=2",
    "eval.problems=8",
    "eval.samples=1",
    "eval.batch_size=12",
    "eval.unseen_problems=0",
]
"""The tiny base through every stage in seconds: both cures of the prompt, the warm start, GRPO with its checks."""
SHORT = [
    "probe.cure=gold-warm-start",
    "sft.problems=16",
    "sft.steps=7",
    "sft.check_every=3",
    "sft.checkpoint_every=2",
    "grpo.steps=4",
    "eval.problems=2",
    "eval.samples=0",
]
"""What makes it a third of that, and teaches nothing."""
STAGES = ("data", "probe", "eval-base", "sft", "eval-warmup", "grpo", "eval-grpo")
_OF_TIME = {
    "wall_s",
    "peak_rss_gb",
    "peak_gpu_gb",
    "finished_at",
    "step_s",
    "generate_s",
    "score_s",
    "update_s",
    "tokens_per_s",
}

_context = multiprocessing.get_context("forkserver")
# torch and TRL are imported once, in a server that every run is forked from.
_context.set_forkserver_preload(
    ["warmstart.pipeline", "warmstart.report", "bitsandbytes", "plotly.graph_objects"]
)


Signal = tuple[str, int, int]
"""The training, the step whose line of metrics has just been written, and the number of the signal."""


def start(folder: Path, signalled: Signal | None = None, changes: Sequence[str] = ()) -> Any:
    """Start a run in a process of its own; what it says goes to a file beside the folder."""
    process = _context.Process(target=_run, args=(folder, signalled, changes))
    process.start()
    return process


def finish(folder: Path, signalled: Signal | None = None, changes: Sequence[str] = ()) -> int:
    """Run to the end, or until the signal has ended it, and return the exit code."""
    process = start(folder, signalled, changes)
    process.join()
    return int(process.exitcode)


def said(folder: Path) -> str:
    """Everything the runs in a folder have said."""
    return _log(folder).read_text()


def finished(folder: Path) -> list[str]:
    return [line["stage"] for line in read_lines(folder / "stages.jsonl")]


def kill_in(process: Any, folder: Path, stage: str, after_s: float, number: int = signal.SIGKILL) -> str:
    """Send a signal some time after a stage has begun; return the stage it hit, or "" if the run was over."""
    while process.is_alive() and len(finished(folder)) < STAGES.index(stage):
        process.join(0.02)
    process.join(after_s)
    if not process.is_alive():
        return ""
    os.kill(process.pid, number)
    process.join()
    done = finished(folder)
    return STAGES[len(done)] if len(done) < len(STAGES) else "report"


def outcome(folder: Path) -> dict[str, Any]:
    """Return all that a run leaves, times and memory apart."""
    run = RunDir.open(folder)
    adapters = [
        (path / "adapter_model.safetensors").read_bytes() for path in (run.warmup_adapter, run.grpo_adapter)
    ]
    return {
        "adapters": adapters,
        # Every line there is, not only those that count: none may be there twice.
        "metrics": _timeless(read_lines(run.metrics_path)),
        "rollouts": list(run.read_rollouts()),
        "completions": {stage: run.read_completions(stage) for stage in EVAL_STAGES},
        "probes": run.read_probes(),
        "cures": run.read_json(run.cures_path),
        "plan": run.read_json(run.plan_path),
        "stages": _timeless(read_lines(run.stages_path)),
        "summary": _timeless(run.read_json(run.summary_path)),
        "left": sorted(path.name for path in folder.iterdir() if path.name != "resumes.jsonl"),
    }


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Return the names of what differs."""
    # Compared as JSON, in which NaN is equal to itself.
    return [name for name in a if _text(a[name]) != _text(b[name])]


def _text(value: Any) -> str:
    return json.dumps(value, default=repr)


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(inner) for key, inner in value.items() if key not in _OF_TIME}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


def _log(folder: Path) -> Path:
    return folder.with_suffix(".log")


def _run(folder: Path, signalled: Signal | None, changes: Sequence[str]) -> None:
    with _log(folder).open("a", buffering=1) as log:
        sys.stdout = sys.stderr = log
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        import torch

        from warmstart.cli.progress import Terminal, quiet_libraries
        from warmstart.config.schema import load_recipe, recipe_text
        from warmstart.pipeline import run

        torch.set_num_threads(1)
        # A loaded machine must not make a step too long to be waited for.
        os.environ["WARMSTART_GRACE_S"] = "600"
        quiet_libraries()
        if signalled is not None:
            _signal_at(*signalled)
        recipe = load_recipe("tiny", [*RECIPE, *changes])
        try:
            run(recipe, folder, recipe_yaml=recipe_text("tiny"), force=True, progress=Terminal())
        except Exception:
            traceback.print_exc(file=log)
            raise


def _signal_at(stage: str, step: int, number: int) -> None:
    written = RunDir.append_metrics

    def append(run: RunDir, line: dict[str, Any]) -> None:
        written(run, line)
        if (line["stage"], line["step"]) == (stage, step):
            os.kill(os.getpid(), number)

    RunDir.append_metrics = append  # type: ignore[method-assign]
