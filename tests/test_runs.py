"""The run directory: what continues, what is refused, what survives a kill."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.run_directories import RECIPE, RESOLVED, completion_row, rollout_rows, start

from warmstart.errors import RunDirError
from warmstart.runs import durable
from warmstart.runs.directory import RunDir


def test_a_new_run_keeps_the_recipe_and_every_setting(tmp_path) -> None:
    run = start(tmp_path / "a" / "run")
    assert run.recipe_path.read_text() == RECIPE
    assert run.read_json(run.resolved_path) == RESOLVED
    assert run.finished_stages() == {}


def test_the_names_are_those_of_the_contract(tmp_path) -> None:
    run = RunDir(tmp_path)
    named = (
        run.recipe_path, run.resolved_path, run.environment_path, run.stages_path, run.overlap_path,
        run.probe, run.warmup_adapter, run.grpo_adapter, run.rollouts, run.rollouts_path(12),
        run.metrics_path, run.eval_path("base"), run.completions_path("grpo"),
        run.summary_path, run.report_path,
    )  # fmt: skip
    assert [path.relative_to(tmp_path).as_posix() for path in named] == [
        "recipe.yaml", "resolved.json", "environment.json", "stages.jsonl", "overlap.json", "probe",
        "warmup/adapter", "grpo/adapter", "rollouts", "rollouts/step-000012.parquet", "metrics.jsonl",
        "eval/base.json", "eval/grpo.parquet", "summary.json", "report.html",
    ]  # fmt: skip


def test_the_same_recipe_goes_on_with_what_is_finished(tmp_path) -> None:
    start(tmp_path).finish_stage("data", {"train": 400, "wall_s": 0.5})
    run = start(tmp_path)
    assert run.is_finished("data")
    assert not run.is_finished("sft")
    facts = run.finished_stages()["data"]
    assert facts["train"] == 400
    assert facts["finished_at"].endswith("+00:00")


def test_settings_are_compared_as_json_holds_them(tmp_path) -> None:
    first = start(tmp_path, layers=(1, 2))
    assert start(tmp_path, layers=[1, 2]) == first


def test_another_recipe_is_refused_with_the_settings_that_differ(tmp_path) -> None:
    start(tmp_path)
    with pytest.raises(RunDirError) as caught:
        start(tmp_path, sft={"enabled": True, "steps": 80}, extra="x")
    assert 'extra: unset there, "x" now' in caught.value.message
    assert "sft.steps: 60 there, 80 now" in caught.value.message
    assert "sft.learning_rate: 0.001 there, unset now" in caught.value.message
    assert "--out" in caught.value.hint


def test_many_differences_are_counted_not_listed(tmp_path) -> None:
    start(tmp_path)
    with pytest.raises(RunDirError, match="and 2 more"):
        start(tmp_path, **{f"k{index}": "x" * 500 for index in range(7)})


def test_a_folder_with_something_else_in_it_is_refused(tmp_path) -> None:
    (tmp_path / "thesis.tex").write_text("dear diary")
    with pytest.raises(RunDirError, match=r"not a run directory: it holds thesis\.tex"):
        start(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(RunDirError, match="cannot be a run directory"):
        start(tmp_path / "run")


def test_a_folder_in_which_the_start_itself_was_killed_is_begun_again(tmp_path) -> None:
    (tmp_path / ".resolved.json.123.tmp").write_text("{")
    assert start(tmp_path).read_json(tmp_path / "resolved.json") == RESOLVED


def test_opening_needs_a_run(tmp_path) -> None:
    start(tmp_path / "run")
    assert RunDir.open(tmp_path / "run").recipe_path.exists()
    for missing in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RunDirError, match=r"has no resolved\.json"):
            RunDir.open(missing)


def test_a_missing_and_a_broken_file_are_named(tmp_path) -> None:
    run = start(tmp_path)
    with pytest.raises(RunDirError, match=r"summary\.json is missing"):
        run.read_json(run.summary_path)
    assert run.read_json_if_there(run.summary_path) is None
    run.summary_path.write_text("{oops")
    with pytest.raises(RunDirError, match=r"summary\.json is not JSON"):
        run.read_json(run.summary_path)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch) -> None:
    run = start(tmp_path / "run")
    run.write_json(run.summary_path, {"schema": 1})
    before = sorted(path.name for path in run.path.iterdir())

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        run.write_json(run.summary_path, {"schema": 2})
    assert run.read_json(run.summary_path) == {"schema": 1}
    assert sorted(path.name for path in run.path.iterdir()) == before


def test_whole_files_reach_the_disk_before_they_take_their_place(tmp_path, monkeypatch) -> None:
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (order.append("fsync"), fsync(descriptor))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("replace"), replace(a, b))[1])
    durable.replace(tmp_path / "file", b"content")
    # The content before it has its name, the name before anything builds on it.
    assert order == ["fsync", "replace", "fsync"]


def test_json_keeps_lone_surrogates_and_writes_numbers_that_are_not_finite_as_null(tmp_path) -> None:
    run = start(tmp_path)
    value = {
        "text": "half a character \ud83d, NUL \x00, כן",
        "numbers": [math.nan, math.inf, np.float64(0.5), np.int64(3)],
        "array": np.array([1.0, math.nan]),
        "path": Path("a") / "b",
    }
    run.write_json(run.summary_path, value)
    assert run.read_json(run.summary_path) == {
        "text": value["text"],
        "numbers": [None, None, 0.5, 3],
        "array": [1.0, None],
        "path": "a/b",
    }
    assert "NaN" not in run.summary_path.read_text("ascii")


def test_a_line_torn_off_by_a_kill_is_dropped_and_the_next_one_is_whole(tmp_path) -> None:
    run = start(tmp_path)
    run.append_metrics({"stage": "sft", "step": 1, "loss": 1.0})
    with run.metrics_path.open("ab") as file:
        file.write(b'{"stage": "sft", "st')
    assert [line["step"] for line in run.read_metrics()] == [1]
    again = start(tmp_path)
    again.append_metrics({"stage": "sft", "step": 2, "loss": 0.9})
    assert [line["step"] for line in again.read_metrics()] == [1, 2]


def test_a_line_broken_in_the_middle_is_named(tmp_path) -> None:
    run = start(tmp_path)
    run.metrics_path.write_text('{"stage": "sft", "step": 1}\noops\n{"stage": "sft", "step": 2}\n')
    with pytest.raises(RunDirError, match=r"metrics\.jsonl line 2 is not JSON"):
        run.read_metrics()


def test_steps_of_an_attempt_that_was_killed_give_way_to_those_of_the_next(tmp_path) -> None:
    run = start(tmp_path)
    for stage, step, loss in [
        ("sft", 1, 9),
        ("sft", 2, 9),
        ("sft", 3, 9),
        ("sft", 1, 1),
        ("sft", 2, 2),
        ("grpo", 1, 5),
    ]:
        run.append_metrics({"stage": stage, "step": step, "loss": loss})
    assert [(line["step"], line["loss"]) for line in run.read_metrics("sft")] == [(1, 1), (2, 2)]
    assert [line["loss"] for line in run.read_metrics()] == [1, 2, 5]
    assert run.read_metrics("probe") == []


def test_each_line_is_readable_as_soon_as_it_is_appended(tmp_path) -> None:
    run = start(tmp_path)
    run.append_metrics({"stage": "grpo", "step": 1, "reward": float("nan")})
    assert json.loads(run.metrics_path.read_text()) == {"stage": "grpo", "step": 1, "reward": None}


def test_completions_come_back_as_they_were_written(tmp_path) -> None:
    run = start(tmp_path)
    rows = [completion_row(0, strict=True), completion_row(1, text="NUL \x00 and עברית 😀", family=None)]
    run.write_completions("base", rows)
    assert run.read_completions("base") == rows
    assert run.read_completions("warmup") == []


def test_a_column_that_only_some_rows_have_is_null_elsewhere(tmp_path) -> None:
    run = start(tmp_path)
    run.write_completions("base", [{"a": 1}, {"a": 2, "late": "x"}])
    assert run.read_completions("base") == [{"a": 1, "late": None}, {"a": 2, "late": "x"}]


def test_a_lone_surrogate_in_a_completion_becomes_the_replacement_character(tmp_path) -> None:
    run = start(tmp_path)
    run.write_completions("base", [{"text": "a\ud800b"}, {"text": "\ud83d\ude00"}])
    assert [row["text"] for row in run.read_completions("base")] == ["a\ufffdb", "😀"]


def test_rollouts_are_read_step_by_step_with_rewards_as_named_numbers(tmp_path) -> None:
    run = start(tmp_path)
    assert list(run.read_rollouts()) == []
    for step in (2, 1):
        run.write_rollouts(step, rollout_rows(step))
    steps = list(run.read_rollouts())
    assert [rows[0]["step"] for rows in steps] == [1, 2]
    assert steps[0] == rollout_rows(1)
    assert str(pq.read_schema(run.rollouts_path(1)).field("rewards").type).startswith(
        "struct<correctness_reward_func: double"
    )


def test_a_step_in_which_no_reward_could_be_told_has_the_types_of_any_other(tmp_path) -> None:
    run = start(tmp_path)
    run.write_rollouts(1, [row | {"rewards": {"correctness_reward_func": None}} for row in rollout_rows(1)])
    assert "double" in str(pq.read_schema(run.rollouts_path(1)).field("rewards").type)


def test_a_directory_of_an_older_version_is_named_by_what_it_does_not_know_and_stays_as_it_is(
    tmp_path,
) -> None:
    older = {"seed": 7, "grpo": {"steps": 80}}
    run = RunDir.create_or_resume(tmp_path, older, "seed: 7")
    run.finish_stage("data", {"train": 4})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    newer = {"seed": 7, "grpo": {"steps": 80, "rewards": []}, "prompt": {"role": "auto"}}
    with pytest.raises(RunDirError, match=r"grpo\.rewards: unset there, \[\] now") as refused:
        RunDir.create_or_resume(tmp_path, newer, "seed: 7")
    assert 'prompt.role: unset there, "auto" now' in refused.value.message
    assert refused.value.exit_code == 2
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert list(RunDir.open(tmp_path).finished_stages()) == ["data"]
