"""What a model writes, and what comes with a stranger's model, never steers a terminal, a file or this process."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import warmstart
from warmstart.cli import app, print_error
from warmstart.cli.progress import Terminal
from warmstart.cli.tables import eval_table, show_probe
from warmstart.errors import DataError
from warmstart.runs import durable, rollout_log
from warmstart.visible import visible

STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
ATTACK = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202eback\x00[red]x[/red]"
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.text())
def test_no_text_made_visible_can_steer_a_terminal_and_plain_text_stays_itself(text) -> None:
    shown = visible(text)
    assert not STEERS.search(shown)
    if text.isascii() and (text.isprintable() or set(text) <= {"\n", "\t"}):
        assert shown == text


def test_an_error_that_quotes_a_file_cannot_steer_the_terminal(capsys) -> None:
    print_error(DataError(f"row 1: {ATTACK}", ATTACK))
    told = capsys.readouterr().err
    assert not STEERS.search(told)
    assert "row 1: ␛[2J" in told


def test_progress_and_probes_cannot_steer_the_terminal(capsys) -> None:
    Terminal().say(ATTACK)
    rate = {"value": 0.5, "ci95": [0.4, 0.6]}
    finding = {"severity": "warning", "code": "x", "evidence": ATTACK, "advice": ATTACK}
    show_probe(
        {
            "problems": 1, "completions": 8, "rates": {"strict": rate}, "group_size": 8, "forecast": [],
            "signal": dict.fromkeys(("live_share", "live_share_total", "all_fail_share", "all_pass_share"), 0.5),
            "lengths": {"p50": 1, "p95": 2, "advised_cap": 3}, "cap": 4, "unfinished_share": 0, "entropy": 1.0,
            "distinct_share": 1.0, "findings": [finding], "headline": ATTACK, "rewards": {ATTACK: 0.5},
        }
    )  # fmt: skip
    shown = capsys.readouterr()
    assert not STEERS.search(shown.out + shown.err)
    assert "[red]x[/red]" in shown.out.replace("\n", "")


def test_a_name_in_brackets_is_a_name_and_no_colour(capsys) -> None:
    from rich.console import Console

    Console(width=200).print(eval_table({"runs/[red]x": {"n": 1}}))
    assert "runs/[red]x" in capsys.readouterr().out


def test_a_strangers_template_cannot_steer_the_terminal(tmp_path) -> None:
    from warmstart.models import load_tokenizer

    tokenizer = load_tokenizer("tiny")
    tokenizer.chat_template = "\x1b[2J\u202e" + str(tokenizer.chat_template)
    tokenizer.save_pretrained(tmp_path)
    shown = CliRunner().invoke(app, ["check", "tiny", "--template", "--set", f"model.name={tmp_path}"])
    assert "prompt and target come back" in shown.output or "in the way" in shown.output
    assert not STEERS.search(shown.output)


@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_parquet_and_json_lines_keep_every_code_point(tmp_path_factory, texts) -> None:
    folder = tmp_path_factory.getbasetemp()
    rows = [{"step": 1, "text": text, "rewards": {"a": 1.0}} for text in texts]
    durable.write_rows(folder / "x.parquet", rows, rollout_log.COLUMNS)
    assert [row["text"] for row in durable.read_rows(folder / "x.parquet")] == texts
    (folder / "x.jsonl").unlink(missing_ok=True)
    for text in texts:
        durable.append_line(folder / "x.jsonl", {"text": text})
    assert [row["text"] for row in durable.read_lines(folder / "x.jsonl")] == texts


@given(st.text())
def test_json_lines_keep_lone_surrogates_too(text) -> None:
    assert json.loads(durable.to_json({"text": text})) == {"text": text}


# -- what the source never does ------------------------------------------------------------------

SOURCE = sorted(Path(warmstart.__file__).parent.rglob("*.py"))
NEVER_IMPORTED = {"pickle", "cPickle", "dill", "marshal", "shelve", "cloudpickle"}
NEVER_CALLED = {"eval", "exec", "compile", "__import__"}


@pytest.mark.parametrize("path", SOURCE, ids=lambda path: path.name)
def test_nothing_is_evaluated_unpickled_or_run_from_a_model_repository(path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.partition(".")[0] for alias in node.names}
            names |= {(getattr(node, "module", None) or "").partition(".")[0]}
            assert not names & NEVER_IMPORTED
        if isinstance(node, ast.Call):
            called = node.func
            assert not (isinstance(called, ast.Name) and called.id in NEVER_CALLED)
            settings = {one.arg: ast.unparse(one.value) for one in node.keywords}
            assert settings.get("trust_remote_code", "False") == "False"
            assert settings.get("shell", "False") == "False"
            name = ast.unparse(called)
            if name == "torch.load":
                assert settings.get("weights_only") == "True"
            if name.endswith(".from_pretrained") and name.startswith("Auto"):
                assert settings["trust_remote_code"] == "False"
