"""The pieces that going on is made of: sealed folders, journals, a log that is taken back, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from tests.run_directories import rollout_rows

from warmstart.interrupts import TERMINATED, Interrupts
from warmstart.rollouts.journal import Journal
from warmstart.runs import durable, rollout_files, rollout_log
from warmstart.runs.changes import changes_of, changes_of_texts, shown_changes
from warmstart.runs.directory import RunDir


@pytest.fixture
def sealed(tmp_path):
    folder = tmp_path / "checkpoint-5"
    (folder / "ref").mkdir(parents=True)
    (folder / "weights").write_bytes(b"12345678")
    (folder / "ref" / "weights").write_bytes(b"abc")
    durable.seal(folder, {"step": 5})
    return folder


def test_a_sealed_folder_tells_its_facts_and_the_hash_of_every_file(sealed) -> None:
    manifest, why = durable.sealed(sealed)
    assert why == ""
    assert manifest is not None
    assert manifest["step"] == 5
    assert sorted(manifest["files"]) == ["ref/weights", "weights"]
    # sha256("abc"), from FIPS 180-2.
    assert manifest["files"]["ref/weights"]["sha256"].startswith("ba7816bf8f01cfea")


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (lambda folder: (folder / "weights").unlink(), "weights is missing"),
        (lambda folder: os.truncate(folder / "weights", 3), "weights has 3 of 8 bytes"),
        (lambda folder: (folder / "weights").write_bytes(b"12345679"), "weights is not what was written"),
        (lambda folder: os.truncate(folder / "manifest.json", 20), "manifest.json is torn"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"[]"), "manifest.json is torn"),
        (lambda folder: (folder / "manifest.json").unlink(), "it was not finished"),
    ],
    ids=["missing", "short", "changed", "manifest torn", "manifest of another kind", "no manifest"],
)
def test_a_folder_with_anything_torn_is_none_and_says_what(sealed, break_it, why) -> None:
    break_it(sealed)
    assert durable.sealed(sealed) == (None, why)


def test_a_journal_gives_back_its_batches_and_goes_on_after_a_torn_one(tmp_path) -> None:
    path = tmp_path / "new" / "probe.jsonl"
    first, second = [{"text": "half \ud83d", "log_prob": -0.1}], [{"text": "b", "log_prob": 1 / 3}]
    journal = Journal(path, model="tiny")
    assert journal.open([[1, 2]], 0.5) == []
    journal.append(first)
    journal.append(second)
    assert Journal(path, model="tiny").open([[1, 2]], 0.5) == [first, second]
    os.truncate(path, path.stat().st_size - 4)
    assert journal.open([[1, 2]], 0.5) == [first]
    journal.append(second)
    assert journal.open([[1, 2]], 0.5) == [first, second]


def test_a_journal_of_another_model_or_sampling_is_begun_anew(tmp_path) -> None:
    for model, seed in (("tiny", 0), ("tiny", 1), ("other", 1)):
        journal = Journal(tmp_path / "probe.jsonl", model=model)
        assert journal.open([[1, 2]], seed) == []
        journal.append([{"text": "a"}])


def test_what_comes_after_a_checkpoint_is_taken_back_out_of_a_packed_file_too(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(rollout_log, "PACK", 4)
    run = RunDir(tmp_path)
    for step in range(1, 7):
        run.write_rollouts(step, rollout_rows(step))
        run.append_metrics({"stage": "grpo", "step": step})
        if step == 3:
            mark = run.mark()
    assert {path.name for path in run.rollout_files().values()} == {
        "steps-000001-000004.parquet", "step-000005.parquet", "step-000006.parquet",
    }  # fmt: skip
    for _ in range(2):  # Killed behind it and called again, it does nothing more.
        run.rewind(mark, 3)
        assert [rows[0]["step"] for rows in run.read_rollouts()] == [1, 2, 3]
        assert [line["step"] for line in run.read_metrics()] == [1, 2, 3]
    for step in (4, 5):
        run.write_rollouts(step, rollout_rows(step))
    assert list(run.read_rollouts()) == [rollout_rows(step) for step in range(1, 6)]
    rollout_files.drop(run.rollouts, 0)
    assert list(run.rollouts.iterdir()) == []


def test_changes_are_named_with_both_values_and_what_changes_no_result_is_none() -> None:
    before = {"grpo": {"steps": 80, "checkpoint_every": 10}, "seed": 0, "old": 1}
    changes = changes_of(before, {"grpo": {"steps": 7, "checkpoint_every": 3}, "seed": 0})
    assert shown_changes(changes) == "grpo.steps: 80 there, 7 now; old: 1 there, unset now"


def test_a_changed_text_is_named_by_its_first_line_that_is_another() -> None:
    before = {"longer": "a\nb", "other": "a\nb\nc", "same": "a", "gone": "a"}
    changes = changes_of_texts(before, {"longer": "a\nb\nc", "other": "a\nB\nC", "same": "a\n", "new": "a"})
    assert changes == {"longer line 3": ("nothing", '"c"'), "other line 2": ('"b"', '"B"')}


def test_a_signal_is_obeyed_at_once_where_nothing_is_lost_by_it() -> None:
    heard = Interrupts(lambda line: None)
    with pytest.raises(SystemExit) as ended, heard.listening():
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == TERMINATED == 143
    heard = Interrupts(lambda line: None)
    with pytest.raises(KeyboardInterrupt), heard.listening():
        signal.raise_signal(signal.SIGINT)


def test_while_a_step_runs_it_waits_for_its_end_and_a_second_signal_does_not() -> None:
    said: list[str] = []
    passed: list[int] = []

    def step(signals: int) -> None:
        heard = Interrupts(said.append)
        with heard.listening(), heard.deferred():
            for _ in range(signals):
                signal.raise_signal(signal.SIGINT)
            passed.append(heard.asked)

    with pytest.raises(KeyboardInterrupt):
        step(1)
    assert passed == [signal.SIGINT]
    assert "Ctrl-C again" in said[0]
    with pytest.raises(KeyboardInterrupt):
        step(2)
    assert len(passed) == 1


OVERLONG = """
import time
from warmstart.interrupts import Interrupts
heard = Interrupts(lambda line: None)
with heard.listening(), heard.deferred():
    print("step", flush=True)
    for _ in range(6000):
        time.sleep(0.01)
"""


def test_a_step_that_outlasts_the_grace_time_is_given_up() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", OVERLONG],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"WARMSTART_GRACE_S": "0.2"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "step\n"
    process.terminate()
    assert process.wait(timeout=50) == TERMINATED
    process.stdout.close()
