"""The warm start: SFT on the model's own solutions or on the data's, measured, and undone when it harms."""

from __future__ import annotations

import gc
import shutil
from dataclasses import replace
from typing import Any

from warmstart.diagnosis import Decision
from warmstart.errors import TrainingError
from warmstart.models import add_adapter, load_base, load_merged
from warmstart.pipeline.contamination import look_for_overlap
from warmstart.pipeline.context import Run
from warmstart.pipeline.probing import cure, keep, probe_model, probe_problems, say_cure, settings_of, stop
from warmstart.plan import Plan
from warmstart.probing import Probe
from warmstart.rates import rate_of
from warmstart.records import Problem
from warmstart.rollouts import generate
from warmstart.templates import Prompter
from warmstart.traces import worked_part
from warmstart.training.checks import Checker
from warmstart.training.sft import show_example, supervise, train_sft
from warmstart.training.stop_rule import StopRule

_GENTLER = 0.5
"""What the learning rate is multiplied with after a warm start that cost the model its skill."""
_FEWEST_TRACES = 16
"""Fewer verified solutions than this are no warm start."""
_HARMED = ("skill-lost", "over-warmed")


def sft(run: Run) -> dict[str, Any]:
    """Warm the model up as the plan says, climbing on while the probe after it does not say GO.

    Raises:
        HopelessError: If no rung helps and nobody said ``force``.
    """
    plan = run.plan
    attempts: list[tuple[str, float]] = [(plan.warm_start, 1.0), (plan.warm_start, _GENTLER)]
    if plan.warm_start == "self-warm-start" and run.recipe.probe.cure == "auto":
        attempts.append(("gold-warm-start", 1.0))
    first = _first_probe(run)
    cures = run.folder.read_json_if_there(run.folder.cures_path) or []
    facts: dict[str, Any] = {}
    found: Probe | None = None
    for number, (name, gentleness) in enumerate(attempts):
        if gentleness < 1 and not (found and any(f.code in _HARMED for f in found.diagnosis.findings)):
            continue
        try:
            problems = _rationales(run, name)
        except TrainingError:
            if number + 1 == len(attempts):
                raise
            run.progress.say(f"{name}: not enough verified solutions")
            continue
        look_for_overlap(run, {"SFT targets": [(p.id, str(p.rationale)) for p in problems]})
        facts = _train(run, problems, run.recipe.sft.learning_rate * gentleness)
        if first is None:
            # Nothing was probed before: the stage is used alone, and there is nothing to compare with.
            return facts | {"warm_start": name}
        found = _probe_again(run, first, is_last_rung=number + 1 == len(attempts))
        keep(run, found)
        shown = name if gentleness == 1 else f"{name}, gentler"
        cures.append(cure_from(shown, first, found))
        run.progress.say(say_cure(cures[-1]))
        run.folder.write_json(run.folder.cures_path, cures)
        facts |= {"warm_start": shown, "verdict": str(found.diagnosis.decision)}
        if found.diagnosis.decision is Decision.GO:
            return facts
    if found is not None:
        found = _climb_on(run, found)
        if found.diagnosis.decision is Decision.STOP or found.facts.signal()["live_share"] == 0.0:
            stop(run, found)
    return facts


def cure_from(name: str, first: dict[str, Any], after: Probe) -> dict[str, Any]:
    """Return what the warm start did, from the numbers of the first probe as its file holds them."""
    signal = first["signal"]
    wanted = ("format", "strict", "lenient", "live_share", "all_fail_share", "all_pass_share")
    before = {"verdict": first["verdict"], **{key: signal[key] for key in wanted}}
    return {"name": name, "before": before, "after": cure(name, after, after)["after"]}


def _first_probe(run: Run) -> dict[str, Any] | None:
    found: dict[str, Any] | None = run.folder.read_json_if_there(run.folder.probe_path("base"))
    return found


def _rationales(run: Run, warm_start: str) -> list[Problem]:
    if warm_start == "self-warm-start":
        traces = self_traces(run)
        if len(traces) < _FEWEST_TRACES:
            raise TrainingError(
                f"the model solved {len(traces)} of {run.recipe.sft.problems} problems its own way; too few to learn from",
                "raise sft.samples, or use the data's rationales with --cure gold-warm-start",
            )
        return traces
    chosen = [p for p in run.data.train if p.rationale is not None][: run.recipe.sft.problems]
    if not chosen:
        raise TrainingError(
            "none of the training problems has a rationale to learn the format from",
            "name the column with data.columns.rationale, or use --cure self-warm-start",
        )
    return chosen


def self_traces(run: Run) -> list[Problem]:
    """Return problems with the model's own verified solution as the rationale; gold rationales are not read.

    Of several right solutions the likeliest under the model is kept: it teaches the least that is new.
    """
    recipe, prompter = run.recipe, run.prompter(run.plan)
    wanted = recipe.sft
    problems = [replace(problem, rationale=None) for problem in run.data.train[: wanted.problems]]
    model = load_merged(recipe.model.name, None, revision=recipe.model.revision, dtype=recipe.model.dtype)
    with run.progress.task("sampling solutions", len(problems) * wanted.samples, "completions") as task:
        groups = generate(
            model,
            prompter.tokenizer,
            [prompter.prompt_ids(problem.question) for problem in problems],
            samples=wanted.samples,
            temperature=wanted.temperature,
            max_tokens=recipe.grpo.max_completion_tokens,
            batch_size=recipe.eval.batch_size,
            seed=recipe.seed + 1,
            on_progress=task.advance,
        )
    del model
    gc.collect()
    traces = []
    for problem, group in zip(problems, groups, strict=True):
        right = [
            (completion.log_prob, work)
            for completion in group
            if (work := worked_part(prompter.prefill + completion.text, problem.gold, prompter.tags))
        ]
        if right:
            traces.append(replace(problem, rationale=max(right)[1]))
    run.progress.say(f"self warm start: {len(traces)} of {len(problems)} problems have a verified solution")
    return traces


def _train(run: Run, problems: list[Problem], learning_rate: float) -> dict[str, Any]:
    recipe, prompter = run.recipe, run.prompter(run.plan)
    wanted = recipe.sft
    longest = recipe.grpo.max_completion_tokens + max(len(prompter.prompt_ids(p.question)) for p in problems)
    supervised = supervise(prompter, problems, max_tokens=longest)
    shown = show_example(prompter, supervised.rows[0])
    run.progress.say(f"SFT example, the supervised part in ⟦ ⟧:\n{shown}")
    if supervised.cut:
        run.progress.say(f"SFT: {supervised.cut} of {len(problems)} rows left out, they would be cut")
    shutil.rmtree(run.folder.warmup_adapter, ignore_errors=True)
    base = load_base(
        recipe.model.name,
        revision=recipe.model.revision,
        dtype=recipe.model.dtype,
        quantization=wanted.quantization,
    )
    facts = train_sft(
        fresh_adapter(run, base),
        prompter,
        supervised.rows,
        folder=run.folder.warmup_adapter,
        steps=wanted.steps,
        batch_size=wanted.batch_size,
        micro_batch=wanted.micro_batch,
        learning_rate=learning_rate,
        warmup_ratio=wanted.warmup_ratio,
        gradient_checkpointing=wanted.gradient_checkpointing,
        seed=recipe.seed,
        trl=dict(wanted.trl),
        progress=run.progress,
        sink=run.folder.append_metrics,
        stop=_stop_rule(run, prompter),
    )
    del base
    gc.collect()
    return facts | {"cut": supervised.cut, "template_changes": list(prompter.changes)}


def _stop_rule(run: Run, prompter: Prompter) -> StopRule | None:
    wanted = run.recipe.sft
    every = max(1, wanted.steps // 5) if wanted.check_every is None else wanted.check_every
    if not every:
        return None
    return StopRule(
        every=every,
        checker=Checker(
            probe_problems(run.data.train, wanted.check_problems),
            prompter,
            run.recipe.grpo.max_completion_tokens,
        ),
        lenient_before=_lenient_before(_first_probe(run)),
        say=run.progress.say,
    )


def _lenient_before(first: dict[str, Any] | None) -> float | None:
    return None if first is None else float(first["signal"]["lenient"])


def fresh_adapter(run: Run, base: Any) -> Any:  # noqa: ANN401
    """Return the base with a new adapter as the recipe describes it."""
    lora = run.recipe.lora
    return add_adapter(
        base,
        rank=lora.rank,
        alpha=lora.alpha,
        dropout=lora.dropout,
        target_modules=lora.target_modules,
        seed=run.recipe.seed,
    )


def _probe_again(run: Run, first: dict[str, Any], *, is_last_rung: bool) -> Probe:
    """Return the probe of the warmed model on the unquantised base, which is what GRPO trains."""
    recipe = run.recipe
    model = load_merged(
        recipe.model.name, run.folder.warmup_adapter, revision=recipe.model.revision, dtype=recipe.model.dtype
    )
    settings = settings_of(recipe)
    return probe_model(
        run,
        model,
        run.prompter(run.plan),
        probe_problems(run.data.train, settings.problems),
        settings,
        stage="warmup",
        is_last_rung=is_last_rung,
        is_warmed=True,
        lenient_before=rate_of(first["rates"]["lenient"], first["problems"]),
    )


def _climb_on(run: Run, found: Probe) -> Probe:
    """Try the last rungs on what was measured: easier problems, then larger groups."""
    plan, facts = run.plan, found.facts
    problems = {p.id: p for p in run.data.train}
    by_steps: dict[int, list[tuple[int, int]]] = {}
    for name, counts in found.solve_rates.items():
        steps = problems[name].steps
        if steps is not None:
            by_steps.setdefault(steps, []).append(counts)
    easier = _easier(by_steps)
    if easier is not None:
        run.progress.say(f"cure easier-problems: problems of at most {easier} steps, where right answers are")
        plan = replace(plan, most_steps=easier)
    larger = next(
        (f.group_size for f in found.forecasts if f.live >= 0.2 and f.group_size > facts.group_size), None
    )
    if larger is not None and larger <= found.settings.largest_group:
        run.progress.say(
            f"cure larger-groups: {larger} completions per problem instead of {facts.group_size}"
        )
        plan = replace(plan, group_size=larger)
    run.folder.write_json(run.folder.plan_path, Plan.to_dict(plan))
    return found


def _easier(by_steps: dict[int, list[tuple[int, int]]]) -> int | None:
    """Return the most steps at which at least a tenth of the completions are right, if some have more."""
    rates = {
        steps: sum(right for right, _ in counts) / max(1, sum(of for _, of in counts))
        for steps, counts in by_steps.items()
    }
    solved = [steps for steps, rate in rates.items() if rate >= 0.1]
    return max(solved) if solved and max(solved) < max(rates) else None
