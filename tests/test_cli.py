from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from warmstart.cli import app

HEAVY = ("torch", "transformers", "trl", "peft", "datasets")
PERFECT = "<reasoning>\n3*4=12\n</reasoning>\n<answer>\n12\n</answer>"


def _run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "warmstart", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments", [["--help"], ["check", "tiny"], ["recipes"], ["run", "--help"]], ids=" ".join
)
def test_light_commands_leave_torch_out(arguments) -> None:
    code = (
        "import sys\nfrom warmstart.cli import app\n"
        f"try:\n    app({arguments!r})\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        f"sys.exit(','.join(name for name in {HEAVY!r} if name in sys.modules) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_user_error_is_two_lines_and_exit_code_two() -> None:
    done = _run("check", "tinny")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "error: there is no recipe 'tinny'; did you mean tiny?"
    assert done.stderr.splitlines()[1].startswith("hint:  ")
    assert "Traceback" not in done.stderr


def test_check_shows_what_the_numbers_amount_to() -> None:
    result = CliRunner().invoke(app, ["check", "tiny", "--set", "grpo.steps=10", "--json"])
    facts = json.loads(result.stdout)
    assert facts["completions_per_step"] == 128
    assert facts["grpo_completions"] == 1280


def test_check_refuses_a_micro_batch_that_does_not_divide_with_the_nearest_that_do() -> None:
    done = _run("check", "tiny", "--set", "grpo.micro_batch=12")
    assert done.returncode == 2
    assert "grpo.micro_batch can be 4 or 8 or 16" in done.stderr


def test_score_prints_one_line_of_the_contract_per_row(tmp_path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [{"completion": PERFECT, "gold": "12"}, {"completion": "The answer is 12.", "gold": 12}]
    file.write_text("\n".join(map(json.dumps, rows)))
    result = CliRunner().invoke(app, ["score", str(file), "--json"])
    first, second = map(json.loads, result.stdout.splitlines())
    assert set(first) == {"verdict", "given", "lenient", "strict", "soft", "rewards", "why_not_strict"}
    assert (first["verdict"], first["strict"], first["rewards"]["correctness_reward_func"]) == (
        "correct",
        True,
        2.0,
    )
    assert (second["verdict"], second["lenient"]["verdict"], second["strict"]) == (
        "no_answer",
        "correct",
        False,
    )
    assert {"code", "at", "message"} == set(second["why_not_strict"][0])


def test_score_counts_without_json(tmp_path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"completion": PERFECT, "gold": "12"}))
    result = CliRunner().invoke(app, ["score", str(file)])
    assert "1 completions, 1 in the strict format" in result.stdout


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1 is not JSON"),
        ('{"gold": "1"}', "line 1 has no field 'completion'"),
        ('{"completion": 1, "gold": "1"}', "is a int"),
        ('{"completion": "<answer>None</answer>", "gold": null}', "line 1: gold is a NoneType"),
        ("[" * 100_000, "line 1 is not usable JSON"),
    ],
)
def test_score_names_a_bad_row(tmp_path, line, message) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(line)
    done = _run("score", str(file))
    assert done.returncode == 2
    assert message in done.stderr


def test_explain_says_where_the_format_is_missed_and_what_each_reward_pays() -> None:
    result = CliRunner().invoke(
        app, ["explain", "<reasoning>3*4</reasoning><answer>12</answer>", "--gold", "12"]
    )
    assert "answer:   correct" in result.stdout
    assert "at character 11: no line break right after <reasoning>" in result.stdout
    assert "<reasoning>▸3*4" in result.stdout
    assert "soft_format_reward_func   0.500" in result.stdout


def test_explain_reads_standard_input_and_cannot_be_made_to_steer_the_terminal() -> None:
    done = _run("explain", "-", "--gold", "1", stdin="\x1b[2J<answer>\n1\n</answer>")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout


def test_recipes_are_listed_shown_and_copied_but_never_over_a_file(tmp_path) -> None:
    runner = CliRunner()
    assert "tiny" in runner.invoke(app, ["recipes"]).stdout
    assert runner.invoke(app, ["recipes", "show", "tiny"]).stdout.startswith("name: tiny")
    target = tmp_path / "mine.yaml"
    assert runner.invoke(app, ["recipes", "copy", "tiny", str(target)]).exit_code == 0
    assert target.read_text().startswith("name: tiny")
    done = _run("recipes", "copy", "tiny", str(target))
    assert (done.returncode, "is already there" in done.stderr) == (2, True)


def test_doctor_finds_this_installation_sound() -> None:
    done = _run("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert done.returncode == 0
    assert checks["trl"]["found"].startswith("1.16")
    assert not any(check["fix"] for check in checks.values())


def test_a_report_of_no_run_directory_is_a_user_error(tmp_path) -> None:
    done = _run("report", str(tmp_path))
    assert done.returncode == 2
    assert "is not a run directory" in done.stderr


def test_explain_reads_bytes_that_are_no_text() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "warmstart", "explain", "-", "--gold", "1"],
        input=b"\xff\xfe<answer>1</answer>",
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0
    assert b"answer:   correct" in done.stdout


def test_run_refuses_impossible_batches_before_it_makes_a_directory(tmp_path) -> None:
    out = tmp_path / "run"
    done = _run("run", "tiny", "--out", str(out), "--set", "grpo.micro_batch=12")
    assert (done.returncode, out.exists()) == (2, False)


def test_doctor_says_what_to_install_when_torch_is_missing() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\nfrom warmstart.cli.doctor import examine\nprint(examine())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert "torch cannot be imported" in done.stdout, done.stderr


def test_ctrl_c_ends_with_130() -> None:
    code = (
        "import sys\nfrom warmstart import cli\n@cli.app.command()\ndef stop() -> None:\n    raise KeyboardInterrupt\n"
        "sys.argv = ['warmstart', 'stop']\ncli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr) == (130, False)


@pytest.mark.parametrize(
    "printed", ["typer.echo('x' * 200_000)", "[Results().print('x' * 100) for _ in range(2000)]"]
)
def test_a_reader_that_goes_away_is_no_failure(printed) -> None:
    script = (
        "from warmstart import cli\nfrom warmstart.cli.console import Results\nimport typer, sys\n"
        f"@cli.app.command()\ndef speak() -> None:\n    {printed}\n"
        "sys.argv = ['warmstart', 'speak']; cli.main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as piped:
        assert piped.stdout is not None
        assert piped.stderr is not None
        piped.stdout.read(10)
        piped.stdout.close()
        assert (piped.wait(), piped.stderr.read()) == (0, b"")


def test_a_log_that_nobody_reads_any_more_ends_nothing() -> None:
    script = "from warmstart.cli.progress import Terminal\nsaid = Terminal()\nfor _ in range(2000): said.say('x' * 100)\nprint('done')"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as piped:
        assert piped.stdout is not None
        assert piped.stderr is not None
        piped.stderr.read(10)
        piped.stderr.close()
        assert (piped.stdout.read(), piped.wait()) == (b"done\n", 0)


def test_a_line_of_the_log_is_not_cut_where_no_terminal_is(capsys) -> None:
    from warmstart.cli.progress import Terminal

    line = "a word " * 40
    Terminal().say(line)
    assert capsys.readouterr().err == f"{line}\n"


def test_a_reader_that_goes_away_is_no_error_to_speak_of(tmp_path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"completion": "x", "gold": "1"}\n' * 5000)
    with subprocess.Popen(
        [sys.executable, "-m", "warmstart", "score", str(file), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as piped:
        assert piped.stdout is not None
        assert piped.stderr is not None
        piped.stdout.readline()
        piped.stdout.close()
        assert piped.stderr.read() == b""


def _commands():
    """Every command with its words: ("run",), ("recipes", "show"), …"""
    from typer.main import get_command

    def below(command, words):
        yield words, command
        for name, inner in getattr(command, "commands", {}).items():
            yield from below(inner, (*words, name))

    return list(below(get_command(app), ()))


@pytest.mark.parametrize(("words", "command"), _commands(), ids=lambda value: str(value)[:30])
def test_the_help_of_every_command_ends_with_an_example_of_it(words, command) -> None:
    assert command.epilog is not None
    assert command.epilog.startswith(" ".join(("Example: warmstart", *words)))
    assert command.epilog.removeprefix("Example: ") in " ".join(
        CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"}).stdout.split()
    )


def test_the_program_alone_says_where_to_begin(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 0
    assert result.stdout.startswith("Begin with:\n  warmstart run ")
    assert "warmstart doctor" in result.stdout


def test_the_program_alone_names_the_runs_in_this_folder_and_how_to_go_on(tmp_path, monkeypatch) -> None:
    from warmstart.config.schema import load_recipe, resolved
    from warmstart.runs.directory import RunDir

    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("tiny", ["seed=3"])
    run = RunDir.create_or_resume(tmp_path / "runs" / "mine", resolved(recipe), "name: tiny\n")
    run.finish_stage("eval-base", {})
    line = CliRunner().invoke(app, []).stdout.splitlines()[1]
    assert line.split("  ")[1:3] == [
        "warmstart run runs/mine/resolved.json --out runs/mine",
        "finished eval-base; this goes on",
    ]
    # What it names is the very recipe, --set included.
    assert load_recipe("runs/mine/resolved.json") == recipe
    run.write_json(run.summary_path, {})
    assert (
        "warmstart report runs/mine  has its results: runs/mine/report.html"
        in CliRunner().invoke(app, []).stdout
    )
    run.stages_path.write_text("{\n{}\n")
    assert CliRunner().invoke(app, []).stdout.startswith("Begin with:")


def test_a_recipe_can_be_shown_as_json_with_every_default() -> None:
    shown = json.loads(CliRunner().invoke(app, ["recipes", "show", "tiny", "--json"]).stdout)
    assert shown["name"] == "tiny"
    assert shown["lora"]["rank"] == 16


def test_the_shell_completes_commands_and_recipes() -> None:
    def completed(line: str) -> list[str]:
        words = line.split(" ")
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys; sys.argv = ['warmstart']; from warmstart.cli import main; main()",
            ],
            env={
                **os.environ,
                "_WARMSTART_COMPLETE": "complete_bash",
                "COMP_WORDS": line,
                "COMP_CWORD": str(len(words) - 1),
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.stdout.split()

    assert completed("warmstart pro") == ["probe"]
    assert completed("warmstart check qwen3-0") == ["qwen3-0.6b-gsm8k"]


def test_doctor_names_the_command_for_a_package_that_is_missing_or_too_old(monkeypatch) -> None:
    from importlib import metadata

    from warmstart.cli import doctor

    def version(name: str) -> str:
        if name == "trl":
            raise metadata.PackageNotFoundError(name)
        return "0.1" if name == "peft" else "999"

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(metadata, "requires", lambda name: ["trl>=1.16,<1.17", "peft>=0.21"])
    found = {check.name: check for check in doctor.examine()}
    assert found["trl"].found == "not installed"
    assert found["trl"].fix == f"{sys.executable} -m pip install 'trl<1.17,>=1.16'"
    assert found["peft"].fix.endswith("-m pip install 'peft>=0.21'")


def test_doctor_runs_from_sources_that_are_not_installed(monkeypatch) -> None:
    from importlib import metadata

    from warmstart.cli import doctor

    def nothing(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", nothing)
    assert "not installed" in next(iter(doctor.examine())).found


def test_doctor_tells_a_driver_without_a_usable_torch_from_no_gpu(monkeypatch) -> None:
    import torch

    from warmstart.cli import doctor

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert not any(check.fix for check in doctor.examine() if check.name == "gpu")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    (gpu,) = (check for check in doctor.examine() if check.name == "gpu")
    assert "torch has no CUDA" in gpu.found
    assert "-m pip install 'torch'" in gpu.fix


READING = [
    "run",
    "probe",
    "report",
    "check",
    "estimate",
    "eval",
    "compare",
    "score",
    "explain",
    "rollouts",
    "recipes",
    "doctor",
]


@pytest.mark.parametrize("name", READING)
def test_every_command_that_reads_has_json_and_an_example(name) -> None:
    shown = (
        CliRunner()
        .invoke(app, [name, "--help"], env={"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"})
        .stdout
    )
    assert "--json" in shown
    assert "Example: warmstart" in shown


def test_nothing_is_coloured_where_no_color_is_set_or_nobody_looks() -> None:
    for environment in ({"NO_COLOR": "1", "FORCE_COLOR": ""}, {}):
        done = subprocess.run(
            [sys.executable, "-m", "warmstart", "recipes"],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, "\x1b" in done.stdout) == (0, False)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_bash_zsh_and_fish_complete_the_name_of_a_recipe(shell) -> None:
    words = "warmstart check qwen3"
    asked = {"bash": {"COMP_WORDS": words, "COMP_CWORD": "2"}}.get(
        shell, {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    )
    done = subprocess.run(
        [sys.executable, "-c", "from warmstart.cli import app; app(prog_name='warmstart')"],
        env=os.environ | {"_WARMSTART_COMPLETE": f"complete_{shell}", **asked},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "qwen3-0.6b-gsm8k" in done.stdout, done.stderr
