"""The stages of a run: data → base measured → SFT → measured → GRPO → measured → summary and report.

Every stage leaves its results in the run directory and is then marked finished; the same call again
goes on after the last finished one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate import PartialState

from warmstart import environment, summary
from warmstart.batching import plan_batches
from warmstart.config import Recipe, resolved
from warmstart.data import DataSplits, load
from warmstart.data.overlap import find_overlap
from warmstart.errors import TrainingError
from warmstart.evaluation import evaluate
from warmstart.models import add_adapter, continue_adapter, load_base, load_merged, load_tokenizer
from warmstart.progress import Progress, Quiet
from warmstart.records import Problem
from warmstart.report import build_report
from warmstart.rewards import STAGE_WEIGHTS, reward_functions
from warmstart.runs import RunDir
from warmstart.templates import Prompter, make_prompter
from warmstart.training.grpo import train_grpo
from warmstart.training.sft import show_example, supervise, train_sft

OUTCOME = "correctness_reward_func"
_HANDOVER_PROBLEMS = 64


@dataclass
class Run:
    """What the stages share: the recipe, the directory, the data and the prompter."""

    recipe: Recipe
    folder: RunDir
    progress: Progress
    _data: DataSplits | None = field(default=None, init=False)

    @property
    def data(self) -> DataSplits:
        """The problems, loaded once."""
        if self._data is None:
            self._data = load_splits(self.recipe)
        return self._data

    def prompter(self) -> Prompter:
        """Return a prompter on a freshly loaded tokenizer: stages cannot disturb each other's."""
        return load_prompter(self.recipe)


def load_splits(recipe: Recipe) -> DataSplits:
    """Return the recipe's problems: to train on, held out, and of unseen families."""
    return load(
        recipe.data,
        seed=recipe.seed,
        eval_problems=recipe.eval.problems,
        unseen_problems=recipe.eval.unseen_problems,
    )


def load_prompter(recipe: Recipe) -> Prompter:
    """Return what puts the recipe's problems to its model."""
    model, prompt = recipe.model, recipe.prompt
    return make_prompter(
        load_tokenizer(model.name, revision=model.revision),
        tags=prompt.tags,
        text=prompt.instructions,
        role=prompt.role,
        enable_thinking=prompt.enable_thinking,
        end_token=model.end_token,
    )


Stage = Callable[[Run], dict[str, Any]]


def run(
    recipe: Recipe, out: Path, *, recipe_yaml: str, until: str | None = None, progress: Progress | None = None
) -> RunDir:
    """Run the recipe's stages that are not finished yet and return the run directory.

    Args:
        recipe: What to do.
        out: The run directory; made, or continued if it holds the same recipe.
        recipe_yaml: The recipe as the user wrote it, kept beside the resolved one.
        until: Stop after this stage.
        progress: Shows what goes on; quiet by default.

    Raises:
        WarmstartError: As the stages do, with what to do about it.
    """
    folder = RunDir.create_or_resume(out, resolved(recipe), recipe_yaml)
    this = Run(recipe, folder, progress or Quiet())
    folder.write_json(folder.environment_path, environment.describe())
    for name, stage in stages(recipe):
        if folder.is_finished(name):
            this.progress.say(f"{name}: already done")
        else:
            began = time.perf_counter()
            facts = stage(this)
            facts["wall_s"] = round(time.perf_counter() - began, 3)
            facts["peak_rss_gb"] = round(environment.peak_rss_gb(), 3)
            folder.finish_stage(name, facts)
        if name == until:
            return folder
    conclude(folder)
    return folder


def stages(recipe: Recipe) -> list[tuple[str, Stage]]:
    """Return the recipe's stages in order."""
    warmup: list[tuple[str, Stage]] = [
        ("sft", sft),
        ("eval-warmup", lambda run: measure(run, "warmup", run.folder.warmup_adapter)),
    ]
    return [
        ("data", data),
        ("eval-base", lambda run: measure(run, "base", None)),
        *(warmup if recipe.sft.enabled else []),
        ("grpo", grpo),
        ("eval-grpo", lambda run: measure(run, "grpo", run.folder.grpo_adapter)),
    ]


def conclude(folder: RunDir) -> None:
    """Write summary.json and report.html from what the run directory holds."""
    folder.write_json(folder.summary_path, summary.build_summary(folder))
    build_report(folder.path)


def data(run: Run) -> dict[str, Any]:
    """Load and check the problems; say how far training and evaluation overlap."""
    splits = run.data
    overlap = find_overlap(splits.train, splits.eval)
    run.folder.write_json(run.folder.overlap_path, overlap.to_dict())
    run.progress.say(
        f"data: {len(splits.train):,} problems to train on, {len(splits.eval):,} held out"
        + (f", {len(splits.unseen):,} of unseen families" if splits.unseen else "")
    )
    run.progress.say(f"overlap: {overlap.describe()}")
    return {"train": len(splits.train), "eval": len(splits.eval), "unseen": len(splits.unseen)}


def measure(run: Run, name: str, adapter: Path | None) -> dict[str, Any]:
    """Evaluate one model of the run on the held-out problems and keep every completion."""
    rows = _completions(run.recipe, run.data, run.prompter(), adapter, run.progress, name)
    run.folder.write_completions(name, rows)
    result = summary.summarise_eval(rows, temperature=run.recipe.eval.temperature)
    run.folder.write_eval(name, {"stage": name, **result})
    run.progress.say(f"{name}: {summary.eval_line(result)}")
    return {"generated_tokens": sum(row["tokens"] for row in rows)}


def evaluate_model(
    recipe: Recipe, adapter: Path | None, *, progress: Progress | None = None
) -> dict[str, Any]:
    """Return the evaluation of the recipe's base, or of an adapter on it, outside any run directory."""
    rows = _completions(
        recipe, load_splits(recipe), load_prompter(recipe), adapter, progress or Quiet(), "the model"
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
    return rows


def sft(run: Run) -> dict[str, Any]:
    """Teach the format on the data's own rationales (QLoRA)."""
    recipe, prompter = run.recipe, run.prompter()
    for change in prompter.changes:
        run.progress.say(f"template: {change}")
    problems = _with_rationale(run.data.train, recipe.sft.problems)
    longest = recipe.grpo.max_completion_tokens + max(len(prompter.prompt_ids(p.question)) for p in problems)
    supervised = supervise(prompter, problems, max_tokens=longest)
    run.progress.say(
        f"SFT example, the supervised part in ⟦ ⟧:\n{show_example(prompter, supervised.rows[0])}"
    )
    if supervised.cut:
        run.progress.say(f"SFT: {supervised.cut} of {len(problems)} rows left out, they would be cut")
    base = load_base(
        recipe.model.name,
        revision=recipe.model.revision,
        dtype=recipe.model.dtype,
        quantization=recipe.sft.quantization,
    )
    facts = train_sft(
        _fresh_adapter(recipe, base),
        prompter,
        supervised.rows,
        folder=run.folder.warmup_adapter,
        steps=recipe.sft.steps,
        batch_size=recipe.sft.batch_size,
        micro_batch=recipe.sft.micro_batch,
        learning_rate=recipe.sft.learning_rate,
        warmup_ratio=recipe.sft.warmup_ratio,
        gradient_checkpointing=recipe.sft.gradient_checkpointing,
        seed=recipe.seed,
        trl=dict(recipe.sft.trl),
        progress=run.progress,
        sink=run.folder.append_metrics,
    )
    return facts | {"cut": supervised.cut, "template_changes": list(prompter.changes)}


def _with_rationale(problems: list[Problem], wanted: int) -> list[Problem]:
    chosen = [problem for problem in problems if problem.rationale is not None][:wanted]
    if not chosen:
        raise TrainingError(
            "none of the training problems has a rationale to learn the format from",
            "name the column with data.columns.rationale, or set sft.enabled=false",
        )
    return chosen


def _fresh_adapter(recipe: Recipe, base: Any) -> Any:  # noqa: ANN401
    lora = recipe.lora
    return add_adapter(
        base,
        rank=lora.rank,
        alpha=lora.alpha,
        dropout=lora.dropout,
        target_modules=lora.target_modules,
        seed=recipe.seed,
    )


def grpo(run: Run) -> dict[str, Any]:
    """Sharpen the answers with GRPO, continuing the adapter of the warm start on the unquantised base."""
    recipe, prompter = run.recipe, run.prompter()
    wanted = recipe.grpo
    base = load_base(
        recipe.model.name,
        revision=recipe.model.revision,
        dtype=recipe.model.dtype,
        quantization=wanted.quantization,
    )
    warm = recipe.sft.enabled
    model = continue_adapter(base, run.folder.warmup_adapter) if warm else _fresh_adapter(recipe, base)
    functions = {function.__name__: function for function in reward_functions(recipe.prompt.tags)}
    weights = {**STAGE_WEIGHTS[wanted.stage], **(wanted.reward_weights or {})}
    return train_grpo(
        model,
        prompter,
        run.data.train,
        {name: (function, weights[name]) for name, function in functions.items()},
        outcome=OUTCOME,
        folder=run.folder.grpo_adapter,
        steps=wanted.steps,
        group_size=wanted.group_size,
        batches=plan_batches(
            wanted.problems_per_step,
            wanted.group_size,
            micro_batch=wanted.micro_batch,
            processes=PartialState().num_processes,
        ),
        arguments=grpo_arguments(recipe, base.dtype),
        handover=_handover(run) if warm else None,
        progress=run.progress,
        sink=run.folder.append_metrics,
        on_rollouts=run.folder.write_rollouts,
    )


def grpo_arguments(recipe: Recipe, dtype: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the arguments of TRL's `GRPOConfig` that the recipe decides, ``grpo.trl`` last."""
    import torch

    wanted, on_gpu = recipe.grpo, torch.cuda.is_available()
    arguments: dict[str, Any] = {
        "learning_rate": wanted.learning_rate,
        "lr_scheduler_type": wanted.lr_schedule,
        "warmup_steps": round(wanted.warmup_ratio * wanted.steps),
        "beta": wanted.beta,
        "temperature": wanted.temperature,
        "top_p": wanted.top_p,
        "top_k": 0,
        "max_completion_length": wanted.max_completion_tokens,
        "loss_type": wanted.loss_type,
        "scale_rewards": wanted.scale_rewards,
        "max_grad_norm": wanted.max_grad_norm,
        "gradient_checkpointing": wanted.gradient_checkpointing,
        "bf16": on_gpu and dtype == torch.bfloat16,
        "fp16": on_gpu and dtype == torch.float16,
        "seed": recipe.seed,
    }
    if wanted.vllm != "off":
        arguments |= {"use_vllm": True, "vllm_mode": wanted.vllm}
    return arguments | dict(wanted.trl)


def _handover(run: Run) -> tuple[list[Problem], float] | None:
    """Return the problems and their greedy format rate after SFT, as `eval-warmup` measured it."""
    if not run.folder.is_finished("eval-warmup"):
        return None
    greedy = {
        row["problem_id"]: row["format"]
        for row in run.folder.read_completions("warmup")
        if row["mode"] == "greedy" and row["split"] == "eval"
    }
    problems = [problem for problem in run.data.eval if problem.id in greedy][:_HANDOVER_PROBLEMS]
    return problems, sum(greedy[problem.id] for problem in problems) / len(problems)
