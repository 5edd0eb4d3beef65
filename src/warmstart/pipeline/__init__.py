"""The stages of a run: data → probe and plan → base measured → warm start → GRPO → summary and report.

Every stage leaves its results in the run directory and is then marked finished; the same call again goes on
inside the one that is not, from what it kept: sampled batches and checkpoints (docs/reliability.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from warmstart import environment, failures, ranks
from warmstart.config.schema import Recipe, resolved
from warmstart.data import DataSplits
from warmstart.errors import HopelessError, RunDirError
from warmstart.grading import symbolic
from warmstart.pipeline.contamination import look_for_overlap
from warmstart.pipeline.context import Run, digest_of, load_prompter, load_splits
from warmstart.pipeline.evaluating import Subject, evaluate_model, find_subject
from warmstart.pipeline.measuring import measure
from warmstart.pipeline.probing import probe_recipe, probe_stage
from warmstart.pipeline.reinforcing import grpo, grpo_arguments
from warmstart.pipeline.warming import sft
from warmstart.progress import Progress, Quiet
from warmstart.report import conclude
from warmstart.rewards.files import sources_of
from warmstart.runs import lock as run_lock
from warmstart.runs.changes import Changes, changes_of, changes_of_texts, shown_changes
from warmstart.runs.directory import RunDir

__all__ = [
    "Run",
    "Subject",
    "check_changes",
    "conclude",
    "data",
    "evaluate_model",
    "find_subject",
    "grpo",
    "grpo_arguments",
    "load_prompter",
    "load_splits",
    "measure",
    "probe_recipe",
    "probe_stage",
    "run",
    "sft",
    "stages",
]

Stage = Callable[[Run], dict[str, Any]]


def run(
    recipe: Recipe,
    out: Path,
    *,
    recipe_yaml: str,
    until: str | None = None,
    force: bool = False,
    accept_changes: bool = False,
    progress: Progress | None = None,
) -> RunDir:
    """Run the recipe's stages that are not finished yet and return the run directory.

    Args:
        recipe: What to do.
        out: The run directory; made, or continued if it holds the same recipe.
        recipe_yaml: The recipe as the user wrote it, kept beside the resolved one.
        until: Stop after this stage; after ``sft`` and before GRPO also where the plan has no warm start.
        force: Train although the diagnosis says STOP.
        accept_changes: Go on although the recipe, a package, the data or a reward of one's own is another than when
            the run was begun.
        progress: Shows what goes on; quiet by default.

    Raises:
        RunDirError: If one of them is another and that is not accepted; the message says what.
        HopelessError: If the diagnosis is STOP and ``force`` is not given; summary and report are written.
        WarmstartError: As the stages do, with what to do about it.
    """
    progress = progress if progress is not None and ranks.is_main() else Quiet()
    with ranks.together(), run_lock.held(out) as killed:
        if killed is not None:
            progress.say(f"the run of {killed}, was killed; going on from what it finished")
        folder = ranks.from_main(
            lambda: RunDir.create_or_resume(out, resolved(recipe), recipe_yaml, accept_changes=accept_changes)
        )
        folder = replace(folder, writes=ranks.is_main())
        this = Run(recipe, folder, progress, force=force or recipe.probe.force)
        with this.interrupts.listening():
            _run(this, until=until, accept_changes=accept_changes)
        return folder


def _run(this: Run, *, until: str | None, accept_changes: bool) -> None:
    folder, is_checked = this.folder, False
    for name, stage in stages(this):
        if until == "sft" and name == "grpo":
            this.progress.say("no warm start: the plan does without; nothing is trained before GRPO")
            return
        if name in ranks.from_main(folder.finished_stages):
            this.progress.say(f"{name}: already done")
        else:
            if not is_checked:
                check_changes(this, accept=accept_changes)
                is_checked = True
            began = time.perf_counter()
            environment.gpu_peak_begins()
            try:
                with failures.named(name), symbolic.counting(this.progress.say):
                    facts = stage(this)
            except HopelessError as error:
                conclude(folder)
                this.progress.say(f"report: {folder.report_path}")
                error.is_said = not ranks.is_main()
                raise
            except (KeyboardInterrupt, SystemExit):
                this.progress.say(f"stopped in {name}; the same command goes on from there")
                raise
            facts["wall_s"] = round(time.perf_counter() - began, 3)
            facts["peak_rss_gb"] = round(environment.peak_rss_gb(), 3)
            if (on_gpu := environment.peak_gpu_gb()) is not None:
                facts["peak_gpu_gb"] = round(on_gpu, 3)
            folder.finish_stage(name, facts)
        if name == until:
            return
    conclude(folder)


def check_changes(run: Run, *, accept: bool) -> None:
    """Pass if packages, data and rewards of one's own are those the run was begun with, or the changes are accepted.

    Raises:
        RunDirError: Otherwise, with what changed.
    """
    splits, rewards = run.data, run.recipe.grpo.rewards
    ranks.from_main(lambda: _check_changes(run.folder, splits, rewards, accept=accept))


def _check_changes(folder: RunDir, splits: DataSplits, rewards: Sequence[str], *, accept: bool) -> None:
    now = environment.describe() | {"rewards": sources_of(rewards)}
    before = folder.read_json_if_there(folder.environment_path)
    loaded = folder.finished_stages().get("data", {})
    changes: Changes = {}
    if before is not None:
        changes |= changes_of({"package": before.get("versions", {})}, {"package": now["versions"]})
        others = changes_of_texts(before.get("rewards", {}), now["rewards"])
        changes |= {f"reward {line}": change for line, change in others.items()}
    if "digest" in loaded:
        changes |= changes_of({"data": loaded["digest"]}, {"data": digest_of(splits)})
    if changes and not accept:
        raise RunDirError(
            f"{folder.path} was begun with others ({shown_changes(changes)})",
            "put them back, choose another --out, or go on with these from here: --accept-changes",
        )
    if changes:
        folder.note_resume(changes)
    if changes or before is None or before.get("rewards") != now["rewards"]:
        folder.write_json(folder.environment_path, now)


def stages(this: Run) -> Iterator[tuple[str, Stage]]:
    """Yield the run's stages in order; the warm start is one of them only if the plan has one."""
    yield "data", data
    yield "probe", probe_stage
    yield "eval-base", lambda run: measure(run, "base", None)
    if this.plan.warm_start != "none":
        yield "sft", sft
        yield "eval-warmup", lambda run: measure(run, "warmup", run.folder.warmup_adapter)
    yield "grpo", grpo
    yield "eval-grpo", lambda run: measure(run, "grpo", run.folder.grpo_adapter)


def data(run: Run) -> dict[str, Any]:
    """Load and check the problems; say how far training and evaluation overlap, with the pairs."""
    splits = run.data
    run.progress.say(
        f"data: {len(splits.train):,} problems to train on, {len(splits.eval):,} held out"
        + (f", {len(splits.unseen):,} of unseen families" if splits.unseen else "")
    )
    look_for_overlap(run)
    return {
        "train": len(splits.train),
        "eval": len(splits.eval),
        "unseen": len(splits.unseen),
        "digest": digest_of(splits),
    }
