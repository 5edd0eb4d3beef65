"""Measuring a model on the held-out problems: base, after the warm start, after GRPO."""

from __future__ import annotations

import gc
import hashlib
from pathlib import Path
from typing import Any

from warmstart.config.schema import Recipe
from warmstart.data import DataSplits
from warmstart.evaluation import InProcess, Wanted, evaluate
from warmstart.models import load_merged
from warmstart.pipeline.context import Run
from warmstart.records import Problem
from warmstart.results import summary
from warmstart.results.rates import summarise_eval
from warmstart.templates.prompter import Prompter

_ASKED = "What is 40 + 2?"


def measure(run: Run, name: str, adapter: Path | None) -> dict[str, Any]:
    """Evaluate one model of the run on the held-out problems and keep every completion.

    The base is asked with the plain prompt, as it was found; the trained models with the plan's. Killed
    and called again, it goes on after the last batch that was written.
    """
    recipe, prompter = run.recipe, run.prompter(None if name == "base" else run.plan)
    model = load_merged(recipe.model.name, adapter, revision=recipe.model.revision, dtype=recipe.model.dtype)
    rows = evaluate(
        InProcess(model, prompter),
        splits_of(run.data),
        wanted_by(recipe),
        log=run.folder.completion_log(name),
        of=identity(recipe, prompter, adapter),
        progress=run.progress,
        label=f"measuring {name}",
    )
    del model
    gc.collect()
    result = summarise_eval(rows, temperature=recipe.eval.temperature)
    run.folder.write_eval(name, {"stage": name, **result})
    run.progress.say(f"{name}: {summary.eval_line(result)}")
    if differing := summary.describe_grading(result):
        run.progress.say(f"{name}: {differing}")
    return {"generated_tokens": sum(row["tokens"] for row in rows)}


def wanted_by(recipe: Recipe) -> Wanted:
    """Return what the recipe's evaluation generates of every problem."""
    return Wanted(
        samples=recipe.eval.samples,
        temperature=recipe.eval.temperature,
        top_p=recipe.eval.top_p,
        max_tokens=recipe.eval.max_completion_tokens or recipe.grpo.max_completion_tokens,
        batch_size=recipe.eval.batch_size,
        seed=recipe.seed,
    )


def splits_of(data: DataSplits) -> dict[str, list[Problem]]:
    """Return the held-out problems by split; a split without problems is left out."""
    return {name: problems for name, problems in (("eval", data.eval), ("unseen", data.unseen)) if problems}


def identity(recipe: Recipe, prompter: Prompter, adapter: Path | None) -> dict[str, Any]:
    """Return what decides the completions beside the problems and the sampling."""
    return {
        "model": recipe.model.name,
        "revision": recipe.model.revision,
        "dtype": recipe.model.dtype,
        "adapter": None if adapter is None else _digest(adapter),
        "prompt": prompter.render(_ASKED),
        "prefill": prompter.prefill,
    }


def _digest(adapter: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(adapter.glob("adapter_*")):
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()
