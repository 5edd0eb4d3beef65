"""The run directory: every file name and every schema of it, in one place.

    recipe.yaml         the recipe as the user wrote it
    resolved.json       every setting of the run; it decides whether a directory is continued
    environment.json    versions, machine, and the source of the recipe's own rewards
    resumes.jsonl       one line per time the run was taken up again: {at, finished, accepted changes}
    stages.jsonl        one line per finished stage: {stage, finished_at, wall_s, …facts}
    overlap.json        what training and evaluation share
    probe/*.json        a probe each: what was measured, the findings, the verdict
    probe/cures.json    the cures tried, before and after each
    probe/plan.json     the cure the run settled on
    warmup/adapter/     the LoRA adapter after SFT
    grpo/adapter/       the LoRA adapter after GRPO
    rollouts/*.parquet  every completion of every GRPO step: step-N, and steps-A-B where they are packed
    metrics.jsonl       lines {stage, step, …numbers, events: what the watch said}: sft and grpo are training steps
    eval/STAGE.json     rates with intervals, for STAGE in base, warmup, grpo
    eval/STAGE.parquet  every completion behind them; eval/STAGE.parts/ while it is being measured
    summary.json        the results (schema 1)
    report.html         the results to look at
    unfinished/         what the running stage has done so far: sampled batches, checkpoints; gone with its end

Whole files are replaced atomically: a reader sees the old one or the new one. The ``.jsonl`` files are
appended to, line by line; a line that a kill tore off is dropped. A stage that goes on from a checkpoint
first takes back what was written after it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from warmstart.errors import RunDirError
from warmstart.runs import rollout_files, rollout_log
from warmstart.runs.changes import Changes, changes_of, shown_changes
from warmstart.runs.completion_log import CompletionLog
from warmstart.runs.durable import (
    TEMPORARY,
    Row,
    append_line,
    cut,
    drop_torn_line,
    read_lines,
    read_rows,
    replace,
    sync,
    to_json,
    write_rows,
)
from warmstart.runs.lock import NAME as LOCK

SCHEMA = 1
"""Version of summary.json."""
PROBES = ("base", "exemplar", "prefill", "warmup", "smoke", "grpo")
"""The diagnoses of a run, in the order they are made."""
EVAL_STAGES = ("base", "warmup", "grpo")
"""The models of a run that are measured, in order."""


@dataclass(frozen=True, slots=True)
class RunDir:
    """One run's directory. Make it with `create_or_resume` or `open`."""

    path: Path
    writes: bool = True
    """False on every process of a run but the main one: what it is told to write is dropped."""

    @classmethod
    def create_or_resume(
        cls,
        path: Path | str,
        resolved: Mapping[str, Any],
        recipe_yaml: str,
        *,
        accept_changes: bool = False,
    ) -> RunDir:
        """Return the run directory at ``path``: a new one, or the one that holds this very recipe.

        Args:
            path: A folder that does not exist, is empty, or is the run to go on with.
            resolved: Every setting of the run, as JSON can hold it.
            recipe_yaml: The recipe as the user wrote it.
            accept_changes: Go on with these settings although the folder was made with others.

        Raises:
            RunDirError: If the folder holds another run (the message says which settings differ), or
                anything that is not a run.
        """
        run = cls(Path(path))
        wanted = json.loads(to_json(resolved))
        if not run.resolved_path.exists():
            _make_folder(run.path)
            run.write_json(run.resolved_path, wanted)
        else:
            for log in (run.stages_path, run.metrics_path, run.resumes_path):
                drop_torn_line(log)
            changes = changes_of(run.read_json(run.resolved_path), wanted)
            if changes and not accept_changes:
                raise RunDirError(
                    f"{run.path} holds another run ({shown_changes(changes)})",
                    "choose another --out, take the recipe that the folder was made with, "
                    "or go on with this one from here: --accept-changes",
                )
            run.note_resume(changes)
            if changes:
                run.write_json(run.resolved_path, wanted)
                run.recipe_path.unlink(missing_ok=True)
        if not run.recipe_path.exists():
            replace(run.recipe_path, recipe_yaml.encode("utf-8", "surrogatepass"))
        return run

    @classmethod
    def open(cls, path: Path | str) -> RunDir:
        """Return the run directory at ``path`` for reading.

        Raises:
            RunDirError: If there is none.
        """
        run = cls(Path(path))
        if not run.resolved_path.is_file():
            raise RunDirError(
                f"{run.path} is not a run directory: it has no {run.resolved_path.name}",
                "name the folder that `warmstart run --out` wrote",
            )
        return run

    # -- names -----------------------------------------------------------------------------------

    @property
    def recipe_path(self) -> Path:
        """The recipe as the user wrote it."""
        return self.path / "recipe.yaml"

    @property
    def resolved_path(self) -> Path:
        """Every setting of the run."""
        return self.path / "resolved.json"

    @property
    def environment_path(self) -> Path:
        """Versions and machine."""
        return self.path / "environment.json"

    @property
    def resumes_path(self) -> Path:
        """The times the run was taken up again, a line each."""
        return self.path / "resumes.jsonl"

    @property
    def stages_path(self) -> Path:
        """The finished stages, a line each."""
        return self.path / "stages.jsonl"

    @property
    def overlap_path(self) -> Path:
        """What training and evaluation share."""
        return self.path / "overlap.json"

    @property
    def probe(self) -> Path:
        """The folder of diagnoses."""
        return self.path / "probe"

    def probe_path(self, stage: str) -> Path:
        """One probe."""
        return self.probe / f"{stage}.json"

    @property
    def cures_path(self) -> Path:
        """The cures tried."""
        return self.probe / "cures.json"

    @property
    def plan_path(self) -> Path:
        """The cure the run settled on."""
        return self.probe / "plan.json"

    def read_probes(self) -> list[Row]:
        """Return the probes there are, in the order the run makes them."""
        found = (self.read_json_if_there(self.probe_path(stage)) for stage in PROBES)
        return [probe for probe in found if probe is not None]

    @property
    def warmup_adapter(self) -> Path:
        """The adapter after SFT."""
        return self.path / "warmup" / "adapter"

    @property
    def grpo_adapter(self) -> Path:
        """The adapter after GRPO."""
        return self.path / "grpo" / "adapter"

    def adapter(self, stage: str = "auto") -> Path:
        """Return the folder of a trained adapter; ``auto`` is GRPO's, or the warm start's where that is all.

        Raises:
            RunDirError: If the run has not trained it.
        """
        folders = {"grpo": self.grpo_adapter, "warmup": self.warmup_adapter}
        for name in folders if stage == "auto" else (stage,):
            if (folders[name] / "adapter_config.json").is_file():
                return folders[name]
        which = "an" if stage == "auto" else f"the {stage}"
        raise RunDirError(
            f"{self.path} does not hold {which} adapter yet",
            f"go on with it: warmstart run {self.resolved_path} --out {self.path}",
        )

    @property
    def rollouts(self) -> Path:
        """The folder of training completions."""
        return self.path / "rollouts"

    @property
    def metrics_path(self) -> Path:
        """The training steps, a line each."""
        return self.path / "metrics.jsonl"

    @property
    def summary_path(self) -> Path:
        """The results."""
        return self.path / "summary.json"

    @property
    def report_path(self) -> Path:
        """The results to look at."""
        return self.path / "report.html"

    @property
    def unfinished(self) -> Path:
        """What the stage that is running has done so far."""
        return self.path / "unfinished"

    def sampling_path(self, name: str) -> Path:
        """The batches that one sampling of the running stage has drawn so far."""
        return self.unfinished / f"{name}.jsonl"

    def checkpoints_path(self, training: str) -> Path:
        """The checkpoints of one training of the running stage."""
        return self.unfinished / training

    def eval_path(self, stage: str) -> Path:
        """The rates of one measured model."""
        return self.path / "eval" / f"{stage}.json"

    def completions_path(self, stage: str) -> Path:
        """The completions of one measured model."""
        return self.path / "eval" / f"{stage}.parquet"

    def rollouts_path(self, step: int) -> Path:
        """The completions of one GRPO step."""
        return rollout_files.single(self.rollouts, step)

    # -- stages ----------------------------------------------------------------------------------

    def finished_stages(self) -> dict[str, Row]:
        """Return the facts of every finished stage, in the order they were finished."""
        return {line["stage"]: line for line in read_lines(self.stages_path)}

    def is_finished(self, stage: str) -> bool:
        """Say whether the stage has left all its results."""
        return stage in self.finished_stages()

    def finish_stage(self, stage: str, facts: Mapping[str, Any]) -> None:
        """Mark a stage as finished, after its results are on disk; what it needed to go on with is deleted."""
        if not self.writes:
            return
        append_line(self.stages_path, {"stage": stage, "finished_at": _now(), **facts}, to_disk=True)
        shutil.rmtree(self.unfinished, ignore_errors=True)

    def note_resume(self, accepted: Changes) -> None:
        """Keep that the run is taken up again, and with what changed since it was begun."""
        if accepted or not self.summary_path.exists():
            line = {"at": _now(), "finished": list(self.finished_stages()), "accepted": accepted}
            append_line(self.resumes_path, line)

    # -- going back to a checkpoint --------------------------------------------------------------

    def mark(self) -> int:
        """Bring the metrics to the disk and return their length: what `rewind` goes back to."""
        if not self.metrics_path.exists():
            return 0
        sync(self.metrics_path)
        return self.metrics_path.stat().st_size

    def rewind(self, mark: int, step: int) -> None:
        """Take back the metrics written after the mark, and the rollouts of later GRPO steps."""
        cut(self.metrics_path, mark)
        self.drop_rollouts(after=step)

    # -- metrics ---------------------------------------------------------------------------------

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Add the numbers of one training step; ``line`` has ``stage`` and ``step``."""
        if self.writes:
            append_line(self.metrics_path, line)

    def read_metrics(self, stage: str | None = None) -> list[Row]:
        """Return one line per training step, of one stage or of all.

        A stage that was killed and begun again has written some steps twice: where the step does not
        rise, what the earlier attempt wrote from there on is left out.
        """
        kept: dict[str, list[Row]] = {}
        for line in read_lines(self.metrics_path):
            lines = kept.setdefault(line["stage"], [])
            while lines and lines[-1]["step"] >= line["step"]:
                lines.pop()
            lines.append(line)
        wanted = kept.values() if stage is None else [kept.get(stage, [])]
        return [line for lines in wanted for line in lines]

    # -- results ---------------------------------------------------------------------------------

    def write_json(self, path: Path, value: object) -> None:
        """Replace a JSON file. A number that is not finite becomes null; text survives as it is."""
        if self.writes:
            replace(path, (to_json(value, indent=2) + "\n").encode("ascii"))

    def read_json(self, path: Path) -> Any:  # noqa: ANN401
        """Return what a JSON file of the run holds.

        Raises:
            RunDirError: If the file is missing or is not JSON.
        """
        try:
            return json.loads(path.read_bytes())
        except FileNotFoundError as error:
            raise RunDirError(f"{path} is missing", "run the stage that writes it first") from error
        except (ValueError, UnicodeDecodeError) as error:
            hint = "it was changed by hand; restore it or start a new run"
            raise RunDirError(f"{path} is not JSON: {error}", hint) from error

    def read_json_if_there(self, path: Path) -> Any:  # noqa: ANN401
        """Return what a JSON file holds, or None while it has not been written."""
        return self.read_json(path) if path.exists() else None

    def write_eval(self, stage: str, result: Mapping[str, Any]) -> None:
        """Replace the rates of one measured model."""
        self.write_json(self.eval_path(stage), result)

    def write_completions(self, stage: str, rows: Sequence[Row]) -> None:
        """Replace the completions behind one measured model, a row each."""
        if self.writes:
            write_rows(self.completions_path(stage), rows)

    def read_completions(self, stage: str, *, without: Sequence[str] = ()) -> list[Row]:
        """Return the completions behind one measured model, some columns left out; none while they are not written."""
        return read_rows(self.completions_path(stage), without=without)

    def completion_log(self, stage: str) -> CompletionLog:
        """Return where the completions of one measured model are written batch by batch."""
        return CompletionLog(self.completions_path(stage))

    def write_rollouts(self, step: int, rows: Sequence[Row]) -> None:
        """Replace the completions of one GRPO step, a row each; columns as in `rollout_log.COLUMNS`."""
        if not self.writes:
            return
        write_rows(self.rollouts_path(step), rows, rollout_log.COLUMNS)
        rollout_files.pack(self.rollouts)

    def rollout_files(self) -> dict[int, Path]:
        """Return the file in which each GRPO step is, in order; see `rollout_files.find`."""
        return rollout_files.find(self.rollouts)

    def drop_rollouts(self, *, after: int = 0) -> None:
        """Delete the completions of later steps: the stage writes them again, or ends earlier this time."""
        if self.writes:
            rollout_files.drop(self.rollouts, after)

    def read_rollouts(self) -> Iterator[list[Row]]:
        """Yield the completions of each GRPO step, in order."""
        rows = rollout_log.rows_of(rollout_log.select(self.rollout_files(), rollout_log.Filters()).tables())
        for _, step in groupby(rows, key=lambda row: int(row["step"])):
            yield list(step)


def _make_folder(path: Path) -> None:
    """Make the folder of a new run; one that is there must be empty."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        found = sorted(entry.name for entry in path.iterdir() if not entry.name.endswith((TEMPORARY, LOCK)))
    except OSError as error:
        said = f"{path} cannot be a run directory: {error.strerror}"
        raise RunDirError(said, "choose another --out") from error
    if found:
        shown = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
        raise RunDirError(
            f"{path} is not empty and not a run directory: it holds {shown}",
            "choose a new or an empty folder with --out",
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
