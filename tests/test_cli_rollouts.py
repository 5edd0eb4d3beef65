"""`warmstart rollouts`, as its users call it."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import unicodedata

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from tests.run_directories import rollout_row, start
from typer.testing import CliRunner

from warmstart.cli import app, rollout_views
from warmstart.visible import tag_names

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x1b[31m[bold]red[/bold]\u202eevil\x9b1m <answer>"


@pytest.fixture
def run(tmp_path):
    """Two steps: a live group of four in the first, a dead one in the second."""
    run = start(tmp_path / "run")
    run.write_rollouts(1, [rollout_row(1, 0, sample, right=sample == 3) for sample in range(4)])
    dead = {"problem_id": HOSTILE, "text": HOSTILE, "given": HOSTILE, "format": False, "live": False}
    run.write_rollouts(
        2, [rollout_row(2, 0, sample, why_not_strict="tag_missing", **dead) for sample in range(4)]
    )
    return run


def _invoke(run, *arguments: str):
    return CliRunner().invoke(app, ["rollouts", str(run.path), *arguments], catch_exceptions=True)


def _process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "warmstart", "rollouts", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | environment,
    )


def _on_a_terminal(*arguments: str, **environment: str) -> str:
    """What the command writes to a terminal 120 columns wide."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "warmstart", "rollouts", *arguments],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm-256color"}
        | {"COLUMNS": "120", "LINES": "40", **environment},
    )
    os.close(follower)
    written = b""
    while True:
        try:
            piece = os.read(leader, 65_536)
        except OSError:  # Linux says so when the other end is closed.
            break
        if not piece:
            break
        written += piece
    os.close(leader)
    assert process.wait(timeout=60) == 0, written
    return written.decode()


def test_the_table_says_of_each_completion_where_it_is_what_it_answered_and_what_it_was_paid(run) -> None:
    result = _invoke(run, "--step", "1")
    header, *lines, footer = result.stdout.splitlines()
    assert header.split() == [
        "step", "at", "problem", "verdict", "given", "gold", "reward", "adv.", "tokens", "group", "format",
    ]  # fmt: skip
    assert lines[0].split() == [
        "1",
        "0.0",
        "train-0",
        "✗",
        "wrong",
        "5",
        "4",
        "0.50",
        "-0.50",
        "20",
        "live",
        "exact",
    ]
    assert lines[3].split()[3:5] == ["✓", "correct"]
    assert footer == "4 of 4 completions; --groups shows their texts"


def test_the_table_ends_at_the_limit_and_says_what_it_leaves_out(run) -> None:
    lines = _invoke(run, "--limit", "3").stdout.splitlines()
    assert len(lines) == 5
    assert lines[-1] == "3 of 8 completions; --limit 8 shows all; --groups shows their texts"


def test_more_than_a_screen_can_hold_is_left_to_the_export(run, monkeypatch) -> None:
    monkeypatch.setattr(rollout_views, "_MUCH", 7)
    assert _invoke(run, "--limit", "3").stdout.endswith(
        "3 of 8 completions; --limit N shows more, --export FILE holds all; --groups shows their texts\n"
    )


def test_groups_show_question_gold_and_each_distinct_text_once(run) -> None:
    shown = _invoke(run, "--groups", "--wrong-but-strict").stdout
    assert "step 1 · solve · train-0 · live · 1 of 4 right" in shown
    assert "2 + 2?\ngold: 4\n" in shown
    assert "0, 1, 2  ✗ wrong  advantage -0.500" in shown
    assert "3  ✓ correct  advantage +0.500" in shown
    assert "reward 2.50: correctness 2, strict_format 0.5" in shown
    assert shown.count("2 and 2.") == 2
    assert shown.endswith("1 of 1 groups\n")


def test_a_group_without_advantage_although_its_rewards_differ_is_said_to_be_gated(run) -> None:
    run.write_rollouts(
        3, [rollout_row(3, 0, sample, reward=0.5 * sample, advantage=0.0) for sample in range(2)]
    )
    assert (
        "live by its format alone, which the outcome gate does not pay"
        in _invoke(run, "--groups", "--step", "3").stdout
    )


def test_json_is_a_line_per_completion_with_every_column(run) -> None:
    rows = [json.loads(line) for line in _invoke(run, "--dead", "--json").stdout.splitlines()]
    assert len(rows) == 4
    assert rows[0]["text"] == HOSTILE
    assert set(rows[0]) == set(rollout_row())


def test_json_of_groups_holds_the_whole_groups(run) -> None:
    rows = [
        json.loads(line)
        for line in _invoke(run, "--verdict", "wrong", "--groups", "--json").stdout.splitlines()
    ]
    assert [row["sample"] for row in rows] == [0, 1, 2, 3]


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_an_export_says_how_much_it_holds(run, tmp_path, ending) -> None:
    file = tmp_path / f"dead.{ending}"
    assert _invoke(run, "--dead", "--export", str(file)).stdout == f"4 completions in {file}\n"
    rows = (
        pq.read_table(file).to_pylist()
        if ending == "parquet"
        else [json.loads(line) for line in file.read_text().splitlines()]
    )
    assert [row["live"] for row in rows] == [False] * 4


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["--step", "x"], "--step 'x' is not a step", "write 500"),
        (["--step", "9:2"], "--step '9:2' ends before it begins", "write 2:9"),
        (["--live", "--dead"], "--live and --dead leave nothing", "leave one of them out"),
        (["--verdict", "right"], "--verdict 'right' is not known", "choose one of correct, wrong"),
        (["--stage", "sft"], "--stage 'sft' is not known", "choose one of shape, format, solve"),
        (["--sort", "length"], "--sort 'length' is not known", "choose one of advantage, reward, tokens"),
        (["--reverse"], "--reverse has no order to turn round", "add --sort"),
        (["--limit", "0"], "--limit 0 shows nothing", "write 1 or more"),
        (["--verdict", "correct", "--wrong-but-strict"], "leave nothing", "leave one of them out"),
        (["--sort", "tokens", "--json"], "--sort would hold the whole log in memory", "add --limit"),
        (["--export", "x.csv"], "--export x.csv has no ending that says how", "name it .jsonl or .parquet"),
        (["--export", "/nowhere/at/all/x.jsonl"], "cannot be written", "name a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_option_is_an_error_with_a_hint_and_exit_code_two(
    run, capsys, monkeypatch, arguments, message, hint
) -> None:
    from warmstart import cli

    if os.geteuid() == 0 and "cannot be written" in message:
        arguments = ["--export", "/dev/null/x.jsonl"]
    monkeypatch.setattr(sys, "argv", ["warmstart", "rollouts", str(run.path), *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    error, advice = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert advice.startswith(f"hint:  {hint}")


def test_a_file_that_is_there_is_not_overwritten(run, tmp_path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text("mine")
    result = _invoke(run, "--export", str(file))
    assert result.exception.message == f"{file} is already there"
    assert file.read_text() == "mine"


def test_a_run_without_rollouts_says_so(tmp_path) -> None:
    start(tmp_path / "run")
    done = _process(str(tmp_path / "run"))
    assert done.returncode == 2
    assert "has no rollouts: it has not come to GRPO" in done.stderr.splitlines()[0]


def test_a_question_without_an_answer_names_the_steps_there_are(run) -> None:
    result = _invoke(run, "--step", "500")
    assert result.exit_code == 0
    assert result.stdout == "no completion is like that; the log has the steps 1 to 2\n"


def test_the_command_leaves_torch_out(run) -> None:
    code = (
        "import sys\nfrom warmstart.cli import app\n"
        f"try:\n    app(['rollouts', {str(run.path)!r}, '--groups'])\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'datasets', 'plotly'} & set(sys.modules)\n"
        "sys.exit(','.join(heavy) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("view", [[], ["--groups"]], ids=["table", "groups"])
def test_what_a_model_wrote_never_steers_the_terminal(run, view) -> None:
    piped = _invoke(run, *view).stdout
    assert not any(unicodedata.category(char) in {"Cc", "Cf", "Cs"} for char in piped if char != "\n")
    shown = _on_a_terminal(str(run.path), *view, PAGER="cat")
    assert "\x1b]0;" not in shown
    assert "\x1b[2J" not in shown
    assert "\x9b" not in shown
    assert "\u202e" not in shown
    assert "[bold]" in shown or not view


def test_on_a_terminal_it_is_coloured_and_goes_through_the_pager(run) -> None:
    shown = _on_a_terminal(str(run.path), "--groups", "--step", "1", PAGER="sed -e s/^/paged:/")
    lines = [line for line in shown.splitlines() if line]
    assert all(line.startswith("paged:") for line in lines)
    assert "\x1b[36m<reasoning>" in shown
    assert "\x1b[1;32m<answer>" in shown


def test_no_color_is_obeyed_on_a_terminal(run) -> None:
    shown = _on_a_terminal(str(run.path), "--groups", "--step", "1", PAGER="cat", NO_COLOR="1")
    assert "\x1b[36m" not in shown
    assert "<reasoning>" in shown


@settings(max_examples=30)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=4), st.text(max_size=30))
def test_any_text_can_be_shown_and_comes_out_printable(texts, name) -> None:
    rows = [
        rollout_row(
            1, 0, sample, text=text, problem_id=name, question=text, gold=name, given=text, stage=name
        )
        for sample, text in enumerate(texts)
    ]
    console = Console(file=io.StringIO(), width=100, color_system=None)
    rollout_views._show_group(console, rows, set(), tag_names({}))
    shown = console.file.getvalue()
    assert not any(unicodedata.category(char) in {"Cc", "Cf", "Cs"} for char in shown if char != "\n")
