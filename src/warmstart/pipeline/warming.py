"""The warm start: SFT on the model's own solutions or on the data's, measured, and undone when it harms."""

from __future__ import annotations

import gc
import shutil
from dataclasses import replace
from typing import Any

from warmstart import ranks
from warmstart.diagnosis import Decision, decide
from warmstart.errors import ConfigError, TrainingError
from warmstart.models import Lazy, add_adapter, load_base
from warmstart.pipeline.climbing import LAST_RUNGS, climbed, settings_under
from warmstart.pipeline.contamination import look_for_overlap
from warmstart.pipeline.context import Run, settings_of
from warmstart.pipeline.probing import (
    PROMPT_RUNGS,
    cure,
    keep,
    probe_model,
    probe_problems,
    stop,
    tell_cure,
)
from warmstart.plan import Plan
from warmstart.probing.probe import Probe, ProbeSettings
from warmstart.records import Problem
from warmstart.results.rates import rate_of
from warmstart.rollouts import generate
from warmstart.runs import durable
from warmstart.templates.prompter import Prompter
from warmstart.traces import worked_part
from warmstart.training.checks import Checker
from warmstart.training.sft import show_example, supervise, supervised_log_probs, train_sft
from warmstart.training.stop_rule import StopRule
from warmstart.training.trackers import tracker_arguments

_GENTLER = 0.5
"""What the learning rate is multiplied with after a warm start that cost the model its skill."""
_FEWEST_TRACES = 16
"""Fewer verified solutions than this are no warm start."""
_HARMED = ("skill-lost", "over-warmed")
_COMPARED = 8
"""Rows whose tokens' probabilities are compared on the 4-bit and the full base."""


def sft(run: Run) -> dict[str, Any]:
    """Warm the model up as the plan says, climbing on while the probe after it does not say GO.

    The data's rationales are a rung only where it has some.

    Raises:
        HopelessError: If no rung helps and nobody said ``force``.
        TrainingError: If there is nothing to learn the format from.
    """
    plan, cures = _settled(run)
    attempts: list[tuple[str, float]] = [(plan.warm_start, 1.0), (plan.warm_start, _GENTLER)]
    has_rationales = any(problem.rationale is not None for problem in run.data.train)
    if plan.warm_start == "self-warm-start" and run.recipe.probe.cure == "auto" and has_rationales:
        attempts.append(("gold-warm-start", 1.0))
    first = _first_probe(run)
    facts: dict[str, Any] = {}
    found: Probe | None = None
    for number, (name, gentleness) in enumerate(attempts):
        if gentleness < 1 and not (found and any(f.code in _HARMED for f in found.diagnosis.findings)):
            continue
        try:
            problems = _rationales(run, name)
        except TrainingError:
            if all(later == name for later, _ in attempts[number:]):
                raise
            run.progress.say(f"{name}: not enough verified solutions")
            continue
        look_for_overlap(run, {"SFT targets": [(p.id, str(p.rationale)) for p in problems]})
        facts, model = _train(run, problems, run.recipe.sft.learning_rate * gentleness, number + 1)
        if first is None:
            # Nothing was probed before: the stage is used alone, and there is nothing to compare with.
            return facts | {"warm_start": name}
        found = _probe_again(
            run,
            first,
            model,
            facts["adapter"][:8],
            is_last_rung=number + 1 == len(attempts),
            gap=facts["four_bit_gap"],
        )
        keep(run, found)
        shown = name if gentleness == 1 else f"{name}, gentler"
        cures.append(cure_from(shown, first, found))
        tell_cure(run, cures[-1], found)
        run.folder.write_json(run.folder.cures_path, cures)
        facts |= {"warm_start": shown, "verdict": str(found.diagnosis.decision)}
        if found.diagnosis.decision is Decision.GO:
            return facts
    if found is not None and first is not None:
        found = _climb_on(run, first, _without_more(found), model, cures)
        if found.diagnosis.decision is Decision.STOP or found.facts.signal()["live_share"] == 0.0:
            stop(run, found)
    return facts


def _settled(run: Run) -> tuple[Plan, list[dict[str, Any]]]:
    """Return the plan and the cures as the probe left them: a stage that goes on tries again what it had tried."""
    probed, written = ranks.from_main(
        lambda: (
            run.folder.finished_stages().get("probe"),
            run.folder.read_json_if_there(run.folder.cures_path) or [],
        )
    )
    if probed is not None:
        run.folder.write_json(run.folder.plan_path, probed["plan"])
    return run.plan, [done for done in written if done["name"] in PROMPT_RUNGS]


def cure_from(name: str, first: dict[str, Any], after: Probe) -> dict[str, Any]:
    """Return what the warm start did, from the numbers of the first probe as its file holds them."""
    signal = first["signal"]
    wanted = ("format", "strict", "lenient", "live_share", "all_fail_share", "all_pass_share")
    before = {"verdict": first["verdict"], **{key: signal[key] for key in wanted}}
    return {"name": name, "before": before, "after": cure(name, after, after)["after"]}


def _first_probe(run: Run) -> dict[str, Any] | None:
    path = run.folder.probe_path("base")
    found: dict[str, Any] | None = ranks.from_main(lambda: run.folder.read_json_if_there(path))
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
    with run.progress.task("sampling solutions", len(problems) * wanted.samples, "completions") as task:
        groups = generate(
            run.model(),
            prompter.tokenizer,
            [prompter.prompt_ids(problem.question) for problem in problems],
            samples=wanted.samples,
            temperature=wanted.temperature,
            max_tokens=recipe.grpo.max_completion_tokens,
            batch_size=recipe.eval.batch_size,
            seed=recipe.seed + 1,
            on_progress=task.advance,
            journal=run.journal("self-traces"),
        )
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


def _train(
    run: Run, problems: list[Problem], learning_rate: float, attempt: int
) -> tuple[dict[str, Any], Lazy]:
    """Return the facts of one attempt at the warm start, and the full base with its adapter.

    An attempt that is finished already is taken from what it kept.
    """
    checkpoints = run.checkpoints(f"sft-{attempt}", every=run.recipe.sft.checkpoint_every)
    warmed = run.model(run.folder.warmup_adapter)
    facts = checkpoints.facts()
    if facts is not None:
        return facts, warmed
    recipe, prompter = run.recipe, run.prompter(run.plan)
    wanted = recipe.sft
    longest = recipe.grpo.max_completion_tokens + max(len(prompter.prompt_ids(p.question)) for p in problems)
    supervised = supervise(prompter, problems, max_tokens=longest)
    shown = show_example(prompter, supervised.rows[0])
    run.progress.say(f"SFT example, the supervised part in ⟦ ⟧:\n{shown}")
    if supervised.cut:
        run.progress.say(f"SFT: {supervised.cut} of {len(problems)} rows left out, they would be cut")
    if ranks.is_main():
        shutil.rmtree(run.folder.warmup_adapter, ignore_errors=True)
    if ranks.sharded() is not None and wanted.quantization == "nf4":
        raise ConfigError(
            f"{ranks.sharded()} cannot split a base of 4 bits as it is loaded here",
            "set sft.quantization=none, or start the run with TRL's multi_gpu.yaml",
        )
    base = load_base(
        recipe.model.name,
        revision=recipe.model.revision,
        dtype=recipe.model.dtype,
        quantization=wanted.quantization,
    )
    model, stop = fresh_adapter(run, base), _stop_rule(run, prompter)
    with checkpoints.training(stop):
        facts = train_sft(
            model,
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
            trl=tracker_arguments(recipe.trackers, f"{recipe.name}-sft") | dict(wanted.trl),
            progress=run.progress,
            sink=run.folder.append_metrics,
            stop=stop,
            checkpoints=checkpoints,
        )
        rows, gap = supervised.rows[:_COMPARED], None
        told = None if wanted.quantization == "none" else supervised_log_probs(model, rows)
        del base, model
        gc.collect()
        if told is not None:
            gap = float((supervised_log_probs(warmed.loaded(), rows) - told).abs().mean())
        facts |= {"cut": supervised.cut, "template_changes": list(prompter.changes), "four_bit_gap": gap}
        facts["adapter"] = durable.digest(run.folder.warmup_adapter / "adapter_model.safetensors")
        checkpoints.finish(run.folder.warmup_adapter, facts)
    return facts, warmed


def _stop_rule(run: Run, prompter: Prompter) -> StopRule | None:
    wanted = run.recipe.sft
    every = max(1, wanted.steps // 5) if wanted.check_every is None else wanted.check_every
    if not every or ranks.sharded() is not None:
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


def _probe_again(
    run: Run,
    first: dict[str, Any],
    model: Lazy,
    name: str,
    *,
    is_last_rung: bool,
    gap: float | None = None,
    problems: list[Problem] | None = None,
    settings: ProbeSettings | None = None,
) -> Probe:
    """Return the probe of the warmed model on the unquantised base, which is what GRPO trains.

    Args:
        run: The run.
        first: The probe of the base.
        model: The warmed model.
        name: What the probe is called while the stage is not finished.
        is_last_rung: No cure is left to try.
        gap: Mean distance of the log-probabilities on the 4-bit and the full base, nats; None if not measured.
        problems: To ask; by default all that are trained on.
        settings: How to sample; by default as the recipe's GRPO will.
    """
    recipe = run.recipe
    settings = settings or settings_of(recipe)
    return probe_model(
        run,
        model,
        run.prompter(run.plan),
        probe_problems(run.data.train if problems is None else problems, settings.problems),
        settings,
        stage="warmup",
        is_last_rung=is_last_rung,
        is_warmed=True,
        journal=run.journal(f"probe-warmup-{name}", name),
        lenient_before=rate_of(first["rates"]["lenient"], first["problems"]),
        four_bit_gap=gap,
    )


def _without_more(found: Probe) -> Probe:
    """Return the probe as it is judged when no warm start is left; the one that was had a gentler one behind it."""
    told = found.diagnosis
    decision = decide(told.findings, told.signal["live_share"], found.live_bound, is_last_rung=True)
    return replace(found, diagnosis=replace(told, decision=decision))


def _climb_on(
    run: Run, first: dict[str, Any], found: Probe, model: Lazy, cures: list[dict[str, Any]]
) -> Probe:
    """Try the last rungs, each probed again: easier problems, then larger groups; the first GO is enough."""
    for name in LAST_RUNGS:
        plan = climbed(name, run.plan, found, run.data.train)
        if plan is None:
            continue
        run.folder.write_json(run.folder.plan_path, plan.to_dict())
        after = _probe_again(
            run,
            first,
            model,
            name,
            is_last_rung=True,
            problems=run.training_problems(),
            settings=settings_under(run.recipe, plan),
        )
        keep(run, after)
        cures.append(cure(name, found, after))
        tell_cure(run, cures[-1], after)
        run.folder.write_json(run.folder.cures_path, cures)
        found = after
        if found.diagnosis.decision is Decision.GO:
            break
    return found
