from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from warmstart.errors import RunDirError
from warmstart.runs.directory import RunDir
from warmstart.runs.lock import NAME, held

HOLD = """
import sys, time
from pathlib import Path
from warmstart.runs.lock import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the directory."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_run_in_a_directory_is_refused_with_the_process_that_holds_it(tmp_path, other) -> None:
    with pytest.raises(
        RunDirError, match=rf"run is in use by process {other.pid} on .+, since 20"
    ) as refused:
        held(tmp_path / "run").__enter__()
    assert f"kill {other.pid}" in refused.value.hint
    assert refused.value.exit_code == 2


def test_the_lock_of_a_killed_run_is_taken_over_and_its_holder_told(tmp_path, other) -> None:
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert (tmp_path / "run" / NAME).exists()
    with held(tmp_path / "run") as before:
        assert before is not None
        assert before.pid == other.pid


def test_a_lock_that_names_a_living_process_that_does_not_hold_it_is_no_obstacle(tmp_path) -> None:
    # After a reboot the number of the killed run is some other process's.
    (tmp_path / NAME).write_text(f'{{"pid": {os.getppid()}, "host": "here", "since": "2020"}}')
    with held(tmp_path) as before:
        assert before is not None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}', "\0" * 100])
def test_a_torn_lock_file_is_no_obstacle(tmp_path, content) -> None:
    (tmp_path / NAME).write_text(content)
    with held(tmp_path) as before:
        assert before is None


def test_a_run_that_ends_leaves_no_lock_whether_by_itself_or_by_an_error(tmp_path) -> None:
    with held(tmp_path / "run"):
        assert (tmp_path / "run" / NAME).exists()
    with pytest.raises(KeyError), held(tmp_path / "run"):
        raise KeyError
    assert list((tmp_path / "run").iterdir()) == []


def test_a_held_directory_is_still_a_new_one_for_its_run(tmp_path) -> None:
    with held(tmp_path / "run"):
        run = RunDir.create_or_resume(tmp_path / "run", {"seed": 1}, "seed: 1")
    assert run.read_json(run.resolved_path) == {"seed": 1}


def test_only_the_first_of_several_processes_of_one_run_takes_the_lock(tmp_path, other, monkeypatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with held(tmp_path / "run") as before:
        assert before is None


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(RunDirError, match="cannot be a run directory: File exists"):
        held(tmp_path / "run").__enter__()
    assert (tmp_path / "run").read_text() == "mine"
