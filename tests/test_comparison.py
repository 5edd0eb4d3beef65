"""Runs side by side: paired on the problems they share, with what their settings differ in."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.run_directories import completion_row, eval_rows, measure, rows_of, start
from typer.testing import CliRunner

from warmstart.cli import app
from warmstart.errors import RunDirError
from warmstart.results.comparison import compare
from warmstart.results.rates import paired_rows, summarise_eval
from warmstart.runs.completion_log import COLUMNS, EvalDir
from warmstart.runs.durable import to_json, write_rows


def run_of(path: Path, rows: list[dict], stage: str = "grpo", **changes) -> str:
    measure(start(path, **changes), stage, rows)
    return str(path)


@pytest.fixture(scope="module")
def three(tmp_path_factory) -> list[str]:
    """A run, one of another seed and rate, and one with a hostile name that answered other problems."""
    folder = tmp_path_factory.mktemp("compare")
    rows = [eval_rows("warmup", problems=40), eval_rows("grpo", problems=40)]
    other = [
        row | {"question": f"Other: {row['question']}"} for row in eval_rows("grpo", problems=40, seed=3)
    ]
    rate = {"steps": 80, "group_size": 8, "learning_rate": 0.002}
    return [
        run_of(folder / "first", rows[0]),
        run_of(folder / "second", rows[1], seed=8, grpo=rate),
        run_of(folder / "<script>alert(1)<", other),
    ]


def test_each_run_is_tested_against_the_first_on_the_problems_both_answered(three) -> None:
    found = compare(three)
    assert [run["label"] for run in found["runs"]] == [
        "first (grpo)",
        "second (grpo)",
        "<script>alert(1)< (grpo)",
    ]
    expected = paired_rows(eval_rows("warmup", problems=40), eval_rows("grpo", problems=40), "a", "b")
    assert [(t["mode"], t["measure"], t["n"]) for t in found["paired"]] == [
        (t["mode"], t["measure"], t["n"]) for t in expected
    ]
    assert [t["difference"] for t in found["paired"]] == pytest.approx([t["difference"] for t in expected])
    assert found["shared_problems"] == {"second (grpo)": 40, "<script>alert(1)< (grpo)": 0}


def test_the_settings_that_differ_are_shown_and_no_others(three) -> None:
    rows = {row["key"]: row["values"] for row in compare(three[:2])["settings"]}
    assert rows == {"seed": [7, 8], "grpo.learning_rate": [0.001, 0.002]}


def test_several_runs_are_several_chances(tmp_path) -> None:
    better = rows_of([[True]] * 12 + [[False]] * 8)
    base = run_of(tmp_path / "base", rows_of([[True]] * 6 + [[False]] * 14))
    found = compare([base, run_of(tmp_path / "a", better), run_of(tmp_path / "b", better)])
    tests = [test for test in found["paired"] if test["measure"] == "strict"]
    # Six gained and none lost: 2 · 2⁻⁶, twice.
    assert [test["p"] for test in tests] == pytest.approx([1 / 32] * 2)
    assert [test["p_adjusted"] for test in tests] == pytest.approx([1 / 16] * 2)


def test_ids_that_repeat_with_other_questions_are_not_paired(tmp_path) -> None:
    rows = [completion_row(0, strict=True)]
    a = run_of(tmp_path / "a", rows)
    b = run_of(tmp_path / "b", [rows[0] | {"question": "another one?"}])
    assert compare([a, b])["paired"] == []


def test_a_stage_can_be_named_and_an_evaluation_compared(tmp_path) -> None:
    run = start(tmp_path / "run")
    measure(run, "base", rows_of([[False]] * 9))
    measure(run, "grpo", rows_of([[True]] * 9))
    out = EvalDir(tmp_path / "out")
    rows = rows_of([[True]] * 9)
    of = {"model": "served", "sampling": {"seed": 3}}
    write_rows(out.log.path, rows, COLUMNS)
    out.result_path.write_text(to_json({"of": of, **summarise_eval(rows, temperature=1.0)}))
    found = compare([f"{run.path}:base", str(run.path), str(out.path)])
    assert [run["label"] for run in found["runs"]] == ["run (base)", "run (grpo)", "out"]
    strict = [test["difference"] for test in found["paired"] if test["measure"] == "strict"]
    assert strict == [1.0, 1.0]
    assert found["runs"][2]["model"] == "served"


def test_what_cannot_be_compared_is_said(tmp_path) -> None:
    run = start(tmp_path / "run")
    with pytest.raises(RunDirError, match="has not measured anything yet"):
        compare([str(run.path)])
    measure(run, "base", rows_of([[False]]))
    with pytest.raises(RunDirError, match=r"has not measured grpo yet; there is base"):
        compare([f"{run.path}:grpo"])
    with pytest.raises(RunDirError, match="is not a run directory"):
        compare([str(tmp_path)])


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.seen.append(tag)


def test_the_command_shows_tables_json_and_a_page_without_scripts(three, tmp_path) -> None:
    page = tmp_path / "compare.html"
    shown = CliRunner().invoke(app, ["compare", *three, "--html", str(page)], env={"COLUMNS": "160"})
    assert shown.exit_code == 0, shown.output
    for said in ("against first (grpo)", "adjusted (Holm)", "grpo.learning_rate", "shares 0 of 40 problems"):
        assert said in shown.stdout
    told = CliRunner().invoke(app, ["compare", *three, "--json"])
    assert json.loads(told.stdout) == json.loads(to_json(compare(three)))
    parser = _Tags()
    parser.feed(page.read_text())
    assert "script" not in parser.seen
    assert "&lt;script&gt;alert(1)&lt;" in page.read_text()
    assert parser.seen.count("svg") == 3 * 2 * 3
