"""A run that is killed and started again ends bit for bit where one ends that nobody disturbed."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.resume.runs import (
    RECIPE,
    SHORT,
    STAGES,
    differences,
    finish,
    kill_in,
    outcome,
    said,
    start,
)

from warmstart.config.schema import load_recipe, recipe_text
from warmstart.errors import RunDirError
from warmstart.interrupts import TERMINATED
from warmstart.pipeline import run
from warmstart.runs.directory import RunDir
from warmstart.runs.durable import read_lines


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert finish(folder) == 0, said(folder)
    return folder


@pytest.fixture(scope="module")
def expected(undisturbed) -> dict[str, Any]:
    return outcome(undisturbed)


def whole_checkpoints(folder: Path, training: str) -> list[int]:
    """The steps of the checkpoints that were finished."""
    found = (folder / "unfinished" / training).glob("checkpoint-*/manifest.json")
    return sorted(int(path.parent.name.rpartition("-")[2]) for path in found)


def newest_checkpoint(folder: Path, training: str) -> Path:
    return folder / "unfinished" / training / f"checkpoint-{whole_checkpoints(folder, training)[-1]}"


def tear(path: Path) -> None:
    """Leave the first half of a file, as a power cut can."""
    os.truncate(path, path.stat().st_size // 2)


def test_killed_in_the_warm_start_and_in_grpo_with_a_torn_checkpoint_a_run_ends_as_if_nothing_had_happened(
    tmp_path,
) -> None:
    assert finish(tmp_path / "whole", changes=SHORT) == 0, said(tmp_path / "whole")
    folder = tmp_path / "run"
    assert finish(folder, ("sft", 5, signal.SIGKILL), SHORT) == -signal.SIGKILL
    assert whole_checkpoints(folder, "sft-1") == [2, 4]
    assert finish(folder, ("grpo", 3, signal.SIGTERM), SHORT) == TERMINATED
    assert whole_checkpoints(folder, "grpo") == [2, 3]
    tear(folder / "unfinished/grpo/checkpoint-3/optimizer.pt")
    assert finish(folder, changes=SHORT) == 0, said(folder)
    told = " ".join(said(folder).split())
    assert "going on from step 4 " in told
    assert "checkpoint-3 is torn (optimizer.pt has" in told
    assert "going on from step 2 " in told
    assert differences(outcome(tmp_path / "whole"), outcome(folder)) == []
    assert [len(line["finished"]) for line in read_lines(folder / "resumes.jsonl")] == [3, 5]


def test_another_package_and_other_data_are_shown_and_refused_until_they_are_accepted(tmp_path) -> None:
    def go_on(**options: Any) -> RunDir:
        return run(
            load_recipe("tiny", RECIPE), tmp_path, recipe_yaml=recipe_text("tiny"), until="data", **options
        )

    folder = go_on()
    (tmp_path / "stages.jsonl").unlink()
    environment = folder.read_json(folder.environment_path)
    environment["versions"]["torch"] = "1.0"
    folder.write_json(folder.environment_path, environment)
    with pytest.raises(RunDirError, match=r'package\.torch: "1\.0" there, "2\.\S+" now') as refused:
        go_on()
    assert "--accept-changes" in refused.value.hint
    go_on(accept_changes=True)
    assert folder.read_json(folder.environment_path)["versions"]["torch"] != "1.0"
    assert list(read_lines(folder.resumes_path)[-1]["accepted"]) == ["package.torch"]
    folder.finish_stage("data", {**folder.finished_stages()["data"], "digest": "of other problems"})
    with pytest.raises(RunDirError, match=r'data: "of other problems" there'):
        run(load_recipe("tiny", RECIPE), tmp_path, recipe_yaml=recipe_text("tiny"), until="probe")


def test_a_changed_recipe_is_taken_when_it_is_accepted_and_a_changed_interval_is_no_change(tmp_path) -> None:
    def go_on(change: str, **options: Any) -> RunDir:
        recipe = load_recipe("tiny", [*RECIPE, change])
        return run(recipe, tmp_path, recipe_yaml=recipe_text("tiny"), until="data", **options)

    go_on("grpo.steps=5")
    go_on("grpo.steps=5")
    with pytest.raises(RunDirError, match=r"grpo\.steps: 5 there, 6 now"):
        go_on("grpo.steps=6")
    folder = go_on("grpo.steps=6", accept_changes=True)
    assert folder.read_json(folder.resolved_path)["grpo"]["steps"] == 6
    assert read_lines(folder.resumes_path)[-1]["accepted"] == {"grpo.steps": ["5", "6"]}
    run(
        load_recipe("tiny", [*RECIPE, "grpo.steps=6", "grpo.checkpoint_every=1"]),
        tmp_path,
        recipe_yaml=recipe_text("tiny"),
        until="data",
    )


def test_a_changed_reward_of_ones_own_is_shown_by_its_line_and_refused_until_it_is_accepted(tmp_path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("def judge(completions, **kwargs):\n    return [0.5] * len(completions)\n")

    def go_on(**options: Any) -> RunDir:
        recipe = load_recipe("tiny", [*RECIPE, f"grpo.rewards=[{mine}:judge]"])
        return run(recipe, tmp_path / "run", recipe_yaml=recipe_text("tiny"), until="data", **options)

    (go_on().path / "stages.jsonl").unlink()
    mine.write_text(mine.read_text().replace("0.5", "0.7"))
    with pytest.raises(RunDirError) as refused:
        go_on()
    assert (
        'reward judge line 2: "    return [0.5] * len(completions)" there, "    return [0.7] * len(completions)" now'
        in refused.value.message
    )
    folder = go_on(accept_changes=True)
    assert list(read_lines(folder.resumes_path)[-1]["accepted"]) == ["reward judge line 2"]
    (folder.path / "stages.jsonl").unlink()
    go_on()


# -- the whole of it: CI runs this in its second step ----------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("point", range(20))
def test_killed_at_a_random_moment_of_any_stage_it_ends_the_same(
    point, undisturbed, expected, tmp_path, record_property
) -> None:
    dice = random.Random(point)
    stage = STAGES[1:][point % (len(STAGES) - 1)]
    lasts = RunDir.open(undisturbed).finished_stages()[stage]["wall_s"]
    folder = tmp_path / "run"
    hit = kill_in(start(folder), folder, stage, dice.random() * lasts)
    record_property("killed in", hit or "nothing: it was over")
    assert finish(folder) == 0, said(folder)
    assert differences(expected, outcome(folder)) == []


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES[1:])
def test_told_to_stop_in_any_stage_it_exits_with_143_and_ends_the_same(
    stage, undisturbed, expected, tmp_path
) -> None:
    lasts = RunDir.open(undisturbed).finished_stages()[stage]["wall_s"]
    folder = tmp_path / "run"
    process = start(folder)
    kill_in(process, folder, stage, 0.5 * lasts, signal.SIGTERM)
    assert process.exitcode in (TERMINATED, 0)
    assert finish(folder) == 0, said(folder)
    assert differences(expected, outcome(folder)) == []


@pytest.mark.slow
def test_killed_again_and_again_it_ends_the_same(expected, tmp_path) -> None:
    folder = tmp_path / "run"
    for stage, step in (("sft", 3), ("sft", 9), ("sft", 22), ("grpo", 1), ("grpo", 3), ("grpo", 6)):
        assert finish(folder, (stage, step, signal.SIGKILL)) == -signal.SIGKILL
    assert finish(folder) == 0, said(folder)
    assert differences(expected, outcome(folder)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("torn", "told"),
    [
        ("trainer_state.json", "trainer_state.json has"),
        ("adapter_model.safetensors", "adapter_model.safetensors has"),
        ("manifest.json", "manifest.json is torn"),
    ],
)
def test_with_its_newest_checkpoint_torn_it_goes_on_from_the_one_before(
    torn, told, expected, tmp_path
) -> None:
    folder = tmp_path / "run"
    finish(folder, ("grpo", 5, signal.SIGKILL))
    tear(newest_checkpoint(folder, "grpo") / torn)
    assert finish(folder) == 0, said(folder)
    assert told in " ".join(said(folder).split())
    assert differences(expected, outcome(folder)) == []


@pytest.mark.slow
def test_with_every_checkpoint_torn_the_training_begins_again_and_ends_the_same(expected, tmp_path) -> None:
    folder = tmp_path / "run"
    finish(folder, ("grpo", 5, signal.SIGKILL))
    for path in (folder / "unfinished" / "grpo").glob("checkpoint-*"):
        (path / "manifest.json").unlink(missing_ok=True)
    assert finish(folder) == 0, said(folder)
    assert differences(expected, outcome(folder)) == []
