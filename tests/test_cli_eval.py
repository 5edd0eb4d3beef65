"""`warmstart eval` as a user calls it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.chat_server import chat_server
from typer.testing import CliRunner

from warmstart.cli import app
from warmstart.config.schema import load_recipe, resolved
from warmstart.errors import ConfigError, ModelError, RunDirError
from warmstart.models import add_adapter, load_base, model_path
from warmstart.plan import Plan
from warmstart.runs.directory import RunDir
from warmstart.runs.durable import read_rows

SMALL = [
    "--set", "eval.problems=2", "--set", "eval.samples=1", "--set", "eval.unseen_problems=0",
    "--set", "eval.max_completion_tokens=6",
]  # fmt: skip


def evaluated(*arguments: str, small: bool = True) -> dict:
    done = CliRunner().invoke(
        app, ["eval", *arguments, *(SMALL if small else []), "--json"], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory) -> Path:
    """A fresh adapter on the tiny base, in no run."""
    folder = tmp_path_factory.mktemp("alone") / "adapter"
    add_adapter(
        load_base("tiny"), rank=2, alpha=4, dropout=0.0, target_modules="all-linear", seed=0
    ).save_pretrained(folder)
    return folder


def test_a_model_folder_is_measured_on_the_recipes_problems(tmp_path) -> None:
    model = shutil.copytree(model_path("tiny"), tmp_path / "model")
    result = evaluated("--model", str(model))
    assert (result["of"]["model"], result["n"], result["greedy"]["strict"]["value"]) == (str(model), 2, 0.0)


def test_an_adapter_that_stands_alone_goes_on_the_base_it_names(adapter) -> None:
    result = evaluated("--adapter", str(adapter))
    assert (result["of"]["model"], result["of"]["adapter"]) == ("tiny", str(adapter))


def test_an_adapter_of_a_run_is_asked_with_the_prompt_of_that_run(adapter, tmp_path) -> None:
    run = RunDir.create_or_resume(tmp_path / "run", resolved(load_recipe("tiny")), "")
    run.write_json(run.plan_path, Plan(prompt="prefill").to_dict())
    shutil.copytree(adapter, run.grpo_adapter)
    evaluated("--adapter", str(run.grpo_adapter), "--out", str(tmp_path / "out"))
    texts = [row["text"] for row in read_rows(tmp_path / "out" / "completions.parquet")]
    assert len(texts) == 4
    assert all(text.startswith("<reasoning>\n") for text in texts)


def test_what_is_kept_is_not_measured_twice_and_nothing_else_goes_into_its_folder(tmp_path) -> None:
    with chat_server() as there:
        arguments = [
            "--server",
            there.url,
            "--out",
            str(tmp_path / "out"),
            "--data",
            str(_svamp(tmp_path)),
            *_SVAMP,
        ]
        first = evaluated(*arguments)
        asked = len(there.asked)
        assert evaluated(*arguments) == first
        assert len(there.asked) == asked == 4
        with pytest.raises(RunDirError, match="holds another evaluation"):
            evaluated(*arguments, "--set", "eval.temperature=0.5")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"eval.json", "completions.parquet"}
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("x")
    with chat_server() as there, pytest.raises(RunDirError, match="is not empty"):
        evaluated("--server", there.url, "--out", str(tmp_path / "full"))


_SVAMP = ["--set", "data.columns.question=[Body, Question]", "--set", "data.columns.answer=Answer"]


def _svamp(folder: Path) -> Path:
    rows = [
        {"ID": f"chal-{i}", "Body": f"Ann has {i} pears.", "Question": "She buys 2 more: how many?",
         "Answer": i + 2.0, "Type": ("Addition", "Other")[i % 2]}
        for i in range(3, 9)
    ]  # fmt: skip
    path = folder / "SVAMP.json"
    path.write_text(json.dumps(rows))
    return path


def test_svamp_is_measured_on_a_server_by_column_mapping(tmp_path) -> None:
    with chat_server() as there:
        result = evaluated(
            "--server", there.url, "--model", "m", "--data", str(_svamp(tmp_path)), *_SVAMP,
            "--set", "data.columns.family=Type", "--set", "eval.samples=1", small=False,
        )  # fmt: skip
    assert there.asked[0]["messages"][-1]["content"].endswith("pears. She buys 2 more: how many?")
    assert (result["n"], result["greedy"]["strict"]["value"]) == (6, 1.0)
    assert {name: part["n"] for name, part in result["by_family"].items()} == {"Addition": 3, "Other": 3}
    assert result["of"]["server"] == f"{there.url}/v1"


def test_the_table_shows_every_mode_and_part(tmp_path) -> None:
    with chat_server() as there:
        done = CliRunner().invoke(
            app, ["eval", "--server", there.url, "--data", str(_svamp(tmp_path)), *_SVAMP, "--set", "data.columns.family=Type"]
        )  # fmt: skip
    assert done.exit_code == 0
    assert "by family" in done.stdout
    assert "Addition" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--adapter", "nowhere"], ModelError, "nowhere is no adapter"),
        (
            ["--server", "http://127.0.0.1:9", "--key-env", "NO_SUCH_VARIABLE"],
            ConfigError,
            "no such environment",
        ),
        (["--server", "ftp://host"], ConfigError, "is no address"),
    ],
    ids=["adapter", "key", "address"],
)
def test_what_cannot_be_measured_is_said(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        evaluated(*arguments)
