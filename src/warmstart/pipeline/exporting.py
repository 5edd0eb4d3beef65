"""A run's model, exported: the adapter alone, or merged and proven on held-out problems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from warmstart.config.schema import Recipe
from warmstart.export import Dtype, Sampling, export_adapter, export_merged
from warmstart.pipeline.context import Run
from warmstart.progress import Quiet
from warmstart.runs.directory import RunDir


def export_run(
    folder: RunDir, adapter: Path, target: Path, *, kind: str, dtype: Dtype, prompts: int
) -> dict[str, Any] | None:
    """Export ``adapter`` into ``target``; return the proof of a merged model, None for an adapter.

    Raises:
        RunDirError: If something is at ``target``.
        TrainingError: If the merged model is not the adapter's.
    """
    recipe = Recipe.model_validate(folder.read_json(folder.resolved_path))
    sampling = Sampling(
        recipe.eval.temperature,
        recipe.eval.top_p,
        recipe.eval.max_completion_tokens or recipe.grpo.max_completion_tokens,
    )
    base, revision = recipe.model.name, recipe.model.revision
    if kind == "adapter":
        export_adapter(adapter, target, base=base, revision=revision, sampling=sampling)
        return None
    run = Run(recipe, folder, Quiet())
    prompter = run.prompter(run.plan)
    proof = export_merged(
        adapter,
        target,
        base=base,
        revision=revision,
        prompts=[prompter.prompt_ids(problem.question) for problem in run.data.eval[:prompts]],
        sampling=sampling,
        dtype=dtype,
    )
    return {**proof.to_dict(), "words": proof.describe()}
