"""The stage before any training: probe, diagnose, try the cures of the prompt, settle on a plan."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from warmstart.config.schema import Recipe
from warmstart.data import DataSplits
from warmstart.data.overlap import find_overlap
from warmstart.diagnosis import DataFacts, Decision, Finding, Severity, diagnose_data, told_twice
from warmstart.diagnosis.verdict import HOPELESS
from warmstart.errors import HopelessError
from warmstart.models import load_tokenizer
from warmstart.pipeline.climbing import LAST_RUNGS, climbed
from warmstart.pipeline.context import Run, cured, exemplar_of, settings_of
from warmstart.plan import Plan, can_be_cured
from warmstart.probing.probe import Probe, ProbeSettings, probe
from warmstart.progress import Progress, Quiet
from warmstart.records import Problem
from warmstart.rollouts.journal import Journal
from warmstart.rollouts.server import Server
from warmstart.templates.plumbing import inspect_prompter, inspect_template
from warmstart.templates.prompter import Prompter

OUTCOME = "correctness_reward_func"
PROMPT_RUNGS: tuple[Literal["exemplar", "prefill"], ...] = ("exemplar", "prefill")
"""The cures of the prompt, in the order they are tried."""
MOST_PROBLEMS = 4
"""A probe without one right answer is widened up to this many times its size before it says STOP."""


def probe_problems(problems: list[Problem], count: int) -> list[Problem]:
    """Return the problems a probe puts: from the end of the training set, the warm start takes the front."""
    return problems[-count:]


def probe_model(
    run: Run,
    model: Any,  # noqa: ANN401
    prompter: Prompter,
    problems: list[Problem],
    settings: ProbeSettings,
    *,
    stage: str,
    plumbing: list[Finding] | None = None,
    is_last_rung: bool = False,
    journal: Journal | None = None,
    **facts: Any,  # noqa: ANN401
) -> Probe:
    """Return the probe of one model with one prompt; its bar says what it costs."""
    functions, weights = run.rewards(prompter.tags)
    rows = [
        {
            "prompt": prompter.messages(p.question),
            "answer": p.gold,
            "problem_id": p.id,
            "question": p.question,
        }
        for p in problems[: settings.problems]
    ]
    with run.progress.task(f"probe: {stage}", len(rows) * settings.completions, "completions") as task:
        return probe(
            model,
            prompter.tokenizer,
            rows,
            functions,
            reward_weights=[weights[function.__name__] for function in functions],
            outcome=OUTCOME,
            tags=prompter.tags,
            settings=settings,
            prefill=prompter.prefill,
            stage=stage,
            plumbing=plumbing or (),
            is_last_rung=is_last_rung,
            on_progress=task.advance,
            journal=journal,
            **facts,
        )


def probe_stage(run: Run) -> dict[str, Any]:
    """Probe the base, climb the rungs of the prompt, write the plan.

    Raises:
        HopelessError: If the diagnosis is STOP and nobody said ``force``.
    """
    recipe = run.recipe
    settings = _announced(run)
    model = run.model()
    prompter = run.prompter()
    for change in prompter.changes:
        run.progress.say(f"plumbing: {change}")
    found = _wide_enough(run, model, prompter, settings)
    keep(run, found)
    run.progress.say(found.diagnosis.headline())
    _tell_warnings(run, found)
    cures: list[dict[str, Any]] = []
    if recipe.probe.cure != "auto":
        plan: Plan | None = _forced(run, found)
    elif found.diagnosis.decision is Decision.GO:
        plan = Plan()
    else:
        plan = _plan(run, model, prompter, found, cures)
    del model
    gc.collect()
    run.folder.write_json(run.folder.cures_path, cures)
    if plan is None or (recipe.probe.cure != "auto" and found.diagnosis.decision is Decision.STOP):
        stop(run, found)
        plan = plan or Plan.forced(recipe)
    if plan.prompt == "exemplar":
        plan = replace(plan, exemplar=exemplar_of(run.data.train, prompter.tags))
    run.folder.write_json(run.folder.plan_path, plan.to_dict())
    return {
        "verdict": str(found.diagnosis.decision),
        "generated_tokens": int(found.facts.tokens_P_K.sum()),
        "plan": plan.to_dict(),
    }


def probe_recipe(
    recipe: Recipe,
    adapter: Path | None = None,
    *,
    server: Server | None = None,
    progress: Progress | None = None,
) -> Probe:
    """Return the probe of the recipe's base, of an adapter on it, or of a server, outside any run directory."""
    run = Run(recipe, None, progress or Quiet())
    settings = _announced(run)
    model = server or run.model(adapter)
    return _wide_enough(run, model, run.prompter(), settings)


def _announced(run: Run) -> ProbeSettings:
    """Return what the probe asks, said before it does; data that cannot be read is refused before a model is loaded."""
    settings = settings_of(run.recipe)
    settings = replace(settings, problems=min(settings.problems, len(run.data.train)))
    asked = f"{settings.problems} problems × {settings.completions} completions"
    run.progress.say(
        f"probe: {asked}, at most {settings.most_tokens:,} tokens; {len(run.data.eval)} problems are held out"
    )
    return settings


def _wide_enough(run: Run, model: Any, prompter: Prompter, settings: ProbeSettings) -> Probe:  # noqa: ANN401
    """Return the probe of the base; without one right answer it is widened until a bound can be said."""
    recipe = run.recipe
    plumbing = [*inspect_prompter(prompter, run.data.train[:8]), *data_findings(run.data)]
    widest = min(MOST_PROBLEMS * settings.problems, len(run.data.train))
    while True:
        problems = probe_problems(run.data.train, settings.problems)
        found = probe_model(
            run,
            model,
            prompter,
            problems,
            settings,
            stage="base",
            plumbing=plumbing,
            journal=run.journal(f"probe-base-{settings.problems}"),
        )
        if not found.facts.solves_nothing or found.live_bound < HOPELESS or settings.problems >= widest:
            break
        settings = replace(settings, problems=min(2 * settings.problems, widest))
        run.progress.say(f"probe: nothing right yet, asking {settings.problems} problems")
    raw = inspect_template(load_tokenizer(recipe.model.name, revision=recipe.model.revision), prompter.tags)
    left = {one.code for one in plumbing}
    for one in raw:
        is_repaired = one.is_serious and one.code not in left
        run.progress.say(f"plumbing: {'repaired ' * is_repaired}{one.code}: {one.evidence}")
    return found


def data_findings(splits: DataSplits) -> list[Finding]:
    """Return what is amiss with the whole of the data: repeats, golds alike, held-out problems in training."""
    overlap = find_overlap(splits.train, splits.eval)
    told = [(problem.question, problem.gold) for problem in splits.train]
    facts = DataFacts(
        rows=len(told),
        overlap=max(overlap.exact, overlap.normalised),
        held_out=len(splits.eval),
        **told_twice(told),
    )
    return diagnose_data(facts)


def _forced(run: Run, found: Probe) -> Plan:
    """Return the plan with the cure that the recipe names."""
    name = run.recipe.probe.cure
    if name not in LAST_RUNGS:
        return Plan.forced(run.recipe)
    plan = climbed(name, Plan(), found, run.data.train)
    if plan is None:
        run.progress.say(f"{name}: none would help, by what the probe has seen")
    return plan or Plan()


def _plan(
    run: Run,
    model: Any,  # noqa: ANN401
    prompter: Prompter,
    first: Probe,
    cures: list[dict[str, Any]],
) -> Plan | None:
    """Return the cheapest plan that may suffice, or None for STOP."""
    findings = first.diagnosis.findings
    if first.diagnosis.decision is Decision.STOP or not can_be_cured(findings):
        return None
    half = replace(settings_of(run.recipe), problems=max(8, run.recipe.probe.problems // 2))
    problems = probe_problems(run.data.train, half.problems)
    for rung in PROMPT_RUNGS:
        if rung == "exemplar" and not any(problem.rationale for problem in run.data.train):
            continue
        try_out = cured(prompter, rung, run.data.train)
        plumbing = inspect_prompter(try_out, problems[:8])
        found = probe_model(
            run,
            model,
            try_out,
            problems,
            half,
            stage=rung,
            plumbing=plumbing,
            journal=run.journal(f"probe-{rung}"),
        )
        keep(run, found)
        cures.append(cure(rung, first, found))
        tell_cure(run, cures[-1], found)
        if found.diagnosis.decision is Decision.GO:
            return Plan(prompt=rung)
    if first.live_bound < HOPELESS:
        return None
    if not run.recipe.sft.enabled:
        return None
    return Plan(warm_start="self-warm-start")


def cure(name: str, before: Probe, after: Probe) -> dict[str, Any]:
    """Return what a rung did, as ``cures[]`` of summary.json holds it."""
    return {"name": name, "before": _shown(before), "after": _shown(after)}


def _shown(found: Probe) -> dict[str, Any]:
    signal = found.facts.signal()
    wanted = ("format", "strict", "lenient", "live_share", "all_fail_share", "all_pass_share")
    return {"verdict": str(found.diagnosis.decision), **{name: signal[name] for name in wanted}}


def tell_cure(run: Run, done: dict[str, Any], found: Probe) -> None:
    """Say one line about a rung, before → after, and what is still amiss where training goes on."""
    before, after = done["before"], done["after"]
    changes = ", ".join(
        f"{words} {before[name]:.0%} → {after[name]:.0%}"
        for name, words in (
            ("format", "format"),
            ("lenient", "right anywhere"),
            ("live_share", "live groups"),
        )
    )
    run.progress.say(f"cure {done['name']}: {changes}: {after['verdict']}")
    _tell_warnings(run, found)


def _tell_warnings(run: Run, found: Probe) -> None:
    if found.diagnosis.decision is Decision.GO:
        for one in found.diagnosis.findings:
            if one.severity is Severity.WARNING:
                run.progress.say(f"warning: {one.code}: {one.evidence}; {one.advice}")


def keep(run: Run, found: Probe) -> None:
    """Write a probe into the run directory."""
    run.folder.write_json(run.folder.probe_path(found.diagnosis.stage), found.to_dict())


def stop(run: Run, found: Probe) -> None:
    """Write STOP as the probe's verdict and end the run with its diagnosis, unless it was forced.

    Raises:
        HopelessError: Unless ``run.force``.
    """
    found = replace(found, diagnosis=replace(found.diagnosis, decision=Decision.STOP))
    keep(run, found)
    first = next(iter(found.diagnosis.findings), None)
    why = "too few groups can become live" if first is None else f"{first.code}: {first.evidence}"
    if run.force:
        run.progress.say(f"STOP, {why}; trained anyway, as --force says")
        return
    raise HopelessError(
        f"STOP: {why}",
        f"{'take easier problems or a stronger model' if first is None else first.advice}; --force trains anyway",
    )
