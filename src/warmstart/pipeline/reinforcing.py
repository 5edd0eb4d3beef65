"""The GRPO stage: what the recipe and the plan say, as TRL's trainer wants it."""

from __future__ import annotations

import os
from typing import Any

from warmstart import ranks
from warmstart.batching import plan_batches
from warmstart.config.schema import GrpoConfig, Recipe
from warmstart.curriculum import RewardPlan
from warmstart.models import continue_adapter, load_base
from warmstart.pipeline.context import Run
from warmstart.pipeline.probing import OUTCOME
from warmstart.pipeline.warming import fresh_adapter
from warmstart.records import Problem
from warmstart.training.adaptive_sampler import ProblemSampling
from warmstart.training.checks import Checker
from warmstart.training.grpo import train_grpo
from warmstart.training.trackers import tracker_arguments
from warmstart.training.watch import SignalWatch

VLLM_URL = "WARMSTART_VLLM_URL"
"""Where the vLLM server is, with grpo.vllm=server: no setting of the recipe, since a run that goes on may
find its server on another machine."""
_HANDOVER_PROBLEMS = 64


def grpo(run: Run) -> dict[str, Any]:
    """Sharpen the answers with GRPO, continuing the adapter of the warm start on the unquantised base."""
    recipe, plan = run.recipe, run.plan
    checkpoints = run.checkpoints("grpo", every=recipe.grpo.checkpoint_every)
    finished = checkpoints.facts()
    if finished is not None:
        return finished
    wanted, prompter = recipe.grpo, run.prompter(plan)
    base = load_base(
        recipe.model.name,
        revision=recipe.model.revision,
        dtype=recipe.model.dtype,
        quantization=wanted.quantization,
    )
    warm = plan.warm_start != "none"
    model = continue_adapter(base, run.folder.warmup_adapter) if warm else fresh_adapter(run, base)
    functions, weights = run.rewards(recipe.prompt.tags)
    group_size = plan.group_size or wanted.group_size
    problems_per_step = max(1, wanted.problems_per_step * wanted.group_size // group_size)
    problems, kept_out = _split(run)
    every = max(1, wanted.steps // 5) if wanted.check_every is None else wanted.check_every
    watch = SignalWatch(
        outcome=OUTCOME,
        tags=recipe.prompt.tags,
        say=run.progress.say,
        stop=not run.force,
        checker=Checker(kept_out, prompter, wanted.max_completion_tokens),
        check_every=every if kept_out and ranks.sharded() is None else 0,
        sink=run.folder.append_metrics,
    )
    with checkpoints.training(watch):
        facts = train_grpo(
            model,
            prompter,
            problems,
            {function.__name__: (function, weights[function.__name__]) for function in functions},
            outcome=OUTCOME,
            folder=run.folder.grpo_adapter,
            steps=wanted.steps,
            group_size=group_size,
            batches=plan_batches(
                problems_per_step,
                group_size,
                micro_batch=wanted.micro_batch,
                processes=ranks.count(),
            ),
            arguments=grpo_arguments(recipe, base.dtype),
            handover=_handover(run) if warm else None,
            progress=run.progress,
            sink=run.folder.append_metrics,
            on_rollouts=run.folder.write_rollouts,
            watch=watch,
            plan=RewardPlan(wanted.stage) if wanted.plan == "moves" else None,
            gate=is_gated(wanted),
            sampling=_sampling(run, problems) if wanted.problems == "adaptive" else None,
            checkpoints=checkpoints,
        )
        checkpoints.finish(run.folder.grpo_adapter, facts)
    return facts


def is_gated(wanted: GrpoConfig) -> bool:
    """Say whether the outcome gate may close: a plan that moves decides by its stage, else the recipe's stage does."""
    return wanted.plan == "moves" or RewardPlan(wanted.stage).is_gated


def _split(run: Run) -> tuple[list[Problem], list[Problem]]:
    """Return the problems to train on and those the run is checked by: the last ones, a tenth at most."""
    problems, wanted = run.training_problems(), run.recipe.grpo
    count = 0 if wanted.check_every == 0 else min(wanted.check_problems, len(problems) // 10)
    return problems[: len(problems) - count], problems[len(problems) - count :]


def _sampling(run: Run, problems: list[Problem]) -> ProblemSampling:
    """Return what is known of the problems: their family and steps, and the last probe's solve rates."""
    told = [(problem.family, problem.steps) for problem in problems]
    probes = ranks.from_main(run.folder.read_probes)
    rates = probes[-1].get("solve_rates", {}) if probes else {}
    return ProblemSampling(
        strata=told if len(set(told)) > 1 else None,
        known={row: rates[problem.id] for row, problem in enumerate(problems) if problem.id in rates},
        rest=run.recipe.grpo.rest,
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
    if wanted.vllm == "server" and (address := os.environ.get(VLLM_URL)):
        arguments["vllm_server_base_url"] = address
    arguments |= tracker_arguments(recipe.trackers, f"{recipe.name}-grpo")
    return arguments | dict(wanted.trl)


def _handover(run: Run) -> tuple[list[Problem], float] | None:
    """Return the problems and their greedy format rate after SFT, as `eval-warmup` measured it."""
    if not ranks.from_main(lambda: run.folder.is_finished("eval-warmup")):
        return None
    greedy = {
        row["problem_id"]: row["format"]
        for row in ranks.from_main(lambda: run.folder.read_completions("warmup"))
        if row["mode"] == "greedy" and row["split"] == "eval"
    }
    problems = [problem for problem in run.data.eval if problem.id in greedy][:_HANDOVER_PROBLEMS]
    return problems, sum(greedy[problem.id] for problem in problems) / len(problems)
