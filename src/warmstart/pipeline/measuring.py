"""Measuring a model on the held-out problems: base, after the warm start, after GRPO."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from warmstart import summary
from warmstart.config import Recipe
from warmstart.data import DataSplits
from warmstart.evaluation import evaluate
from warmstart.models import load_merged
from warmstart.pipeline.context import Run, load_prompter, load_splits
from warmstart.progress import Progress, Quiet
from warmstart.templates import Prompter


def measure(run: Run, name: str, adapter: Path | None) -> dict[str, Any]:
    """Evaluate one model of the run on the held-out problems and keep every completion.

    The base is asked with the plain prompt, as it was found; the trained models with the plan's.
    """
    prompter = run.prompter(None if name == "base" else run.plan)
    rows = _completions(run.recipe, run.data, prompter, adapter, run.progress, name)
    run.folder.write_completions(name, rows)
    result = summary.summarise_eval(rows, temperature=run.recipe.eval.temperature)
    run.folder.write_eval(name, {"stage": name, **result})
    run.progress.say(f"{name}: {summary.eval_line(result)}")
    return {"generated_tokens": sum(row["tokens"] for row in rows)}


def evaluate_model(
    recipe: Recipe, adapter: Path | None, *, progress: Progress | None = None
) -> dict[str, Any]:
    """Return the evaluation of the recipe's base, or of an adapter on it, outside any run directory."""
    shown = progress or Quiet()
    rows = _completions(
        recipe, load_splits(recipe, shown.say), load_prompter(recipe), adapter, shown, "the model"
    )
    return summary.summarise_eval(rows, temperature=recipe.eval.temperature)


def _completions(
    recipe: Recipe, data: DataSplits, prompter: Prompter, adapter: Path | None, progress: Progress, name: str
) -> list[dict[str, Any]]:
    model = load_merged(recipe.model.name, adapter, revision=recipe.model.revision, dtype=recipe.model.dtype)
    rows: list[dict[str, Any]] = []
    for split, problems in (("eval", data.eval), ("unseen", data.unseen)):
        if problems:
            rows += evaluate(
                model,
                prompter,
                problems,
                split=split,
                samples=recipe.eval.samples,
                temperature=recipe.eval.temperature,
                top_p=recipe.eval.top_p,
                max_tokens=recipe.eval.max_completion_tokens or recipe.grpo.max_completion_tokens,
                batch_size=recipe.eval.batch_size,
                seed=recipe.seed,
                progress=progress,
                label=f"measuring {name}" + (" (unseen families)" if split == "unseen" else ""),
            )
    del model
    gc.collect()
    return rows
