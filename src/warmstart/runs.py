"""The run directory: every file name and every schema of it, in one place.

    recipe.yaml         the recipe as the user wrote it
    resolved.json       every setting of the run; it decides whether a directory is continued
    environment.json    versions and machine
    stages.jsonl        one line per finished stage: {stage, finished_at, wall_s, …facts}
    overlap.json        what training and evaluation share
    probe/*.json        a probe each: what was measured, the findings, the verdict
    probe/cures.json    the cures tried, before and after each
    probe/plan.json     the cure the run settled on
    warmup/adapter/     the LoRA adapter after SFT
    grpo/adapter/       the LoRA adapter after GRPO
    rollouts/*.parquet  every completion of every GRPO step: step-N, and steps-A-B where they are packed
    metrics.jsonl       one line per training step: {stage, step, …numbers, events: what the watch said}
    eval/STAGE.json     rates with intervals, for STAGE in base, warmup, grpo
    eval/STAGE.parquet  every completion behind them; eval/STAGE.parts/ while it is being measured
    summary.json        the results (schema 1)
    report.html         the results to look at

Whole files are replaced atomically: a reader sees the old one or the new one. The two ``.jsonl`` files
are appended to, line by line; a line that a kill tore off is dropped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from warmstart import rollout_log
from warmstart.completion_log import CompletionLog
from warmstart.durable import (
    TEMPORARY,
    Row,
    append_line,
    drop_torn_line,
    read_lines,
    read_rows,
    replace,
    to_json,
    write_rows,
)
from warmstart.errors import RunDirError
from warmstart.run_lock import NAME as LOCK

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
    def create_or_resume(cls, path: Path | str, resolved: Mapping[str, Any], recipe_yaml: str) -> RunDir:
        """Return the run directory at ``path``: a new one, or the one that holds this very recipe.

        Args:
            path: A folder that does not exist, is empty, or is the run to go on with.
            resolved: Every setting of the run, as JSON can hold it.
            recipe_yaml: The recipe as the user wrote it.

        Raises:
            RunDirError: If the folder holds another run (the message says which settings differ), or
                anything that is not a run.
        """
        run = cls(Path(path))
        wanted = json.loads(to_json(resolved))
        if run.resolved_path.exists():
            _require_equal(run.path, run.read_json(run.resolved_path), wanted)
            for log in (run.stages_path, run.metrics_path):
                drop_torn_line(log)
        else:
            _make_folder(run.path)
            run.write_json(run.resolved_path, wanted)
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

    def eval_path(self, stage: str) -> Path:
        """The rates of one measured model."""
        return self.path / "eval" / f"{stage}.json"

    def completions_path(self, stage: str) -> Path:
        """The completions of one measured model."""
        return self.path / "eval" / f"{stage}.parquet"

    def rollouts_path(self, step: int) -> Path:
        """The completions of one GRPO step."""
        return self.rollouts / f"step-{step:06d}.parquet"

    # -- stages ----------------------------------------------------------------------------------

    def finished_stages(self) -> dict[str, Row]:
        """Return the facts of every finished stage, in the order they were finished."""
        return {line["stage"]: line for line in read_lines(self.stages_path)}

    def is_finished(self, stage: str) -> bool:
        """Say whether the stage has left all its results."""
        return stage in self.finished_stages()

    def finish_stage(self, stage: str, facts: Mapping[str, Any]) -> None:
        """Mark a stage as finished, after its results are on disk."""
        if not self.writes:
            return
        finished_at = datetime.now(UTC).isoformat(timespec="seconds")
        append_line(self.stages_path, {"stage": stage, "finished_at": finished_at, **facts})

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
            raise RunDirError(
                f"{path} is not JSON: {error}", "it was changed by hand; restore it or start a new run"
            ) from error

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
        files = self.rollout_files()
        singles = [step for step, path in files.items() if path == self.rollouts_path(step)]
        if len(singles) >= rollout_log.PACK:
            self._pack_rollouts(singles)

    def _pack_rollouts(self, steps: Sequence[int]) -> None:
        """Put the files of these steps into one. Killed in between, it leaves both, and the one counts."""
        packed = self.rollouts / f"steps-{steps[0]:06d}-{steps[-1]:06d}.parquet"
        rollout_log.pack([self.rollouts_path(step) for step in steps], packed)
        for step, path in self._single_rollouts().items():
            if step <= steps[-1]:
                path.unlink()

    def rollout_files(self) -> dict[int, Path]:
        """Return the file in which each GRPO step is, in order.

        A packed file stands for all steps from its first to its last, whether the trainer drew completions
        in each of them or not.
        """
        files = self._single_rollouts()
        for path in self.rollouts.glob("steps-*-*.parquet"):
            first, last = (int(number) for number in path.stem.split("-")[1:])
            files |= dict.fromkeys(range(first, last + 1), path)
        return dict(sorted(files.items()))

    def _single_rollouts(self) -> dict[int, Path]:
        return {int(path.stem[5:]): path for path in self.rollouts.glob("step-*.parquet")}

    def drop_rollouts(self) -> None:
        """Delete the rollout log: a stage begun again may end earlier than the attempt that was killed."""
        for path in self.rollouts.glob("step*.parquet") if self.writes else ():
            path.unlink()

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
        raise RunDirError(
            f"{path} cannot be a run directory: {error.strerror}", "choose another --out"
        ) from error
    if found:
        shown = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
        raise RunDirError(
            f"{path} is not empty and not a run directory: it holds {shown}",
            "choose a new or an empty folder with --out",
        )


def _require_equal(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    before, after = dict(flat_settings(found)), dict(flat_settings(wanted))
    keys = [key for key in sorted(before | after) if before.get(key, _ABSENT) != after.get(key, _ABSENT)]
    if keys:
        shown = "; ".join(f"{key}: {_shown(before, key)} there, {_shown(after, key)} now" for key in keys[:5])
        more = f"; and {len(keys) - 5} more" if len(keys) > 5 else ""
        raise RunDirError(
            f"{path} holds another run ({shown}{more})",
            "choose another --out, or go on with the recipe that the folder was made with",
        )


_ABSENT = object()


def _shown(flat: Mapping[str, Any], key: str) -> str:
    if key not in flat:
        return "unset"
    text = json.dumps(flat[key], ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"


def flat_settings(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting with its dotted key."""
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            yield from flat_settings(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner
