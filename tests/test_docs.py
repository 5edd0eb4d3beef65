"""README and docs: every block runs, every option exists, every link and anchor leads somewhere."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

import warmstart
from warmstart.cli import app
from warmstart.config.schema import load_recipe

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "examples" / "README.md",
        *ROOT.glob("docs/**/*.md"),
    ]
)
sys.path.insert(0, str(ROOT / "scripts"))
docs_site = importlib.import_module("docs_site")

_FENCE = re.compile(
    r"^(?:<!-- not run: (?P<why>[^\n]+) -->\n)?"
    r"```(?P<language>python|bash|json|yaml)(?: title=\"(?P<file>[^\"]+)\")?\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# A real run, told shorter: what these blocks show does not need four minutes.
SMALL = {
    "probe.problems": 16,
    "probe.completions": 4,
    "probe.force": "true",
    "sft.check_every": 0,
    "sft.steps": 8,
    "sft.problems": 32,
    "grpo.steps": 2,
    "grpo.check_every": 0,
    "eval.problems": 8,
    "eval.samples": 1,
    "eval.unseen_problems": 0,
}
MAKES = ("make ", "pip ", "git ", "flock ")
"""What is not typed in a test: it would install, or is tested where it is defined."""


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    text: str
    file: str | None
    why_not: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    return [
        Block(page, text[: m.start()].count("\n") + 1, m["language"], m["text"], m["file"], m["why"])
        for page in PAGES
        for text in [page.read_text(encoding="utf-8")]
        for m in _FENCE.finditer(text)
        if m["language"] in languages
    ]


def commands_of(block: Block) -> Iterator[list[str]]:
    """Yield the words of each `warmstart …` of a bash block, what is piped to left out."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["warmstart"]:
            yield words[1 : words.index("|") if "|" in words else None]


COMMANDS = [
    pytest.param(words, id=f"{block}: {' '.join(words)[:60]}")
    for block in blocks("bash")
    for words in commands_of(block)
]


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_of_the_docs_has_a_name_options_and_values_that_the_program_knows(words) -> None:
    command: Any = typer.main.get_command(app)
    context = command.make_context("warmstart", [words[0]] if words else [], resilient_parsing=True)
    rest = list(words)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    if command.commands if hasattr(command, "commands") else False:
        assert not rest or rest[0].startswith("-"), f"no command {rest[0]}"
        return
    parsed = command.make_context(command.name, rest, parent=context)
    recipe = parsed.params.get("recipe")
    # A copied recipe is as good as the packaged one it came from.
    if recipe is not None:
        load_recipe(
            recipe if not recipe.endswith((".yaml", ".json")) else "tiny", _known(parsed.params.get("set_"))
        )


def _known(changes: list[str] | None) -> list[str]:
    # The file of a reward is written by another block of the page.
    return [one for one in changes or [] if not one.startswith(("grpo.rewards=", "grpo.reward_weights."))]


PYTHON = [pytest.param(block, id=str(block)) for block in blocks("python")]


@pytest.mark.parametrize("block", PYTHON)
def test_python_of_the_docs_parses_and_asks_for_names_that_are_there(block) -> None:
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "warmstart"
        ):
            assert node.attr in warmstart.__all__
        if isinstance(node, ast.ImportFrom) and node.module == "warmstart":
            assert {one.name for one in node.names} <= set(warmstart.__all__)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder with the files that the pages write, and small runs where the pages have theirs."""
    folder = tmp_path_factory.mktemp("docs")
    for block in blocks("python", "json", "yaml"):
        if block.file:
            (folder / block.file).write_text(block.text)
    for out in ("tiny", "first"):
        done = _typed(["run", "tiny", "--out", f"runs/{out}"], folder)
        assert done.returncode == 0, done.stderr[-2000:]
    (folder / "runs" / "demo").symlink_to(folder / "runs" / "tiny")
    (folder / "runs" / "second").symlink_to(folder / "runs" / "first")
    return folder


def _typed(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    small = [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]
    if words[:1] not in (["run"], ["probe"], ["sft"], ["grpo"], ["eval"]):
        small = []
    if "--server" in words:
        small = []
    return subprocess.run(
        [sys.executable, "-m", "warmstart", *words, *small],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def _needs_weights(words: list[str]) -> bool:
    """Whether a command would load a real model, which no test downloads."""
    return words[:1] in (["run"], ["probe"], ["sft"], ["grpo"]) and any(
        "gsm8k" in word for word in words[1:2]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(b.page == page for b in blocks("bash"))], ids=lambda p: p.name
)
def test_the_commands_of_a_page_run(page, workplace) -> None:
    for block in blocks("bash"):
        if block.page != page or block.why_not:
            continue
        for words in commands_of(block):
            if _needs_weights(words):
                continue
            if words[:2] == ["recipes", "copy"]:
                (workplace / (words[3] if len(words) > 3 else f"{words[2]}.yaml")).unlink(missing_ok=True)
            done = _typed(words, workplace)
            # 3 and 4 are verdicts: FIX, STOP, does not fit.
            assert done.returncode in (0, 3, 4), f"{block}: {words}\n{done.stderr[-2000:]}"


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({b.page for b in blocks("python")}), ids=lambda p: p.name)
def test_the_python_of_a_page_runs(page, workplace, monkeypatch) -> None:
    text = "\n".join(b.text for b in blocks("python") if b.page == page and not b.why_not)
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=workplace, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_what_is_not_run_has_its_reason() -> None:
    assert [
        str(block)
        for block in blocks("bash", "python")
        if block.why_not is not None and len(block.why_not) < 10
    ] == []


# -- the generated parts -----------------------------------------------------------------------------


def test_every_command_is_on_the_page_of_commands_as_it_prints_its_help() -> None:
    page = docs_site.commands()
    for path in docs_site.command_paths():
        assert f"## {' '.join(['warmstart', *path])}\n" in page
        assert docs_site.help_of(path) in page
    assert {"run", "probe", "eval", "rollouts", "doctor"} <= {
        path[0] for path in docs_site.command_paths() if path
    }


def test_every_field_of_a_recipe_is_on_its_page_with_a_sentence() -> None:
    rows = [line for line in docs_site.recipe_fields().splitlines() if line.startswith("| `")]
    assert (
        "| `grpo.group_size` | whole number ≥ 2 | `8` | Completions per problem. TRL: ``num_generations``. |"
        in rows
    )
    assert [row for row in rows if row.endswith("|  |")] == []
    assert len(rows) > 80


def test_every_cause_is_on_the_page_of_the_zero_loss_with_symptom_and_cure() -> None:
    from warmstart.diagnosis import CAUSES

    page = docs_site.findings()
    for code, cause in CAUSES.items():
        assert f"### `{code}`\n\n- **You see**: {cause.symptom}.\n" in page
        assert len(cause.symptom) > 20


def test_every_public_name_is_on_the_page_of_python() -> None:
    page = docs_site.python_names()
    assert [name for name in warmstart.__all__ if name != "__version__" and f"## `{name}`" not in page] == []


def test_every_generated_part_is_on_some_page_and_known() -> None:
    asked = {name for page in PAGES for name in re.findall(r"<!-- generated: (\w+) -->", page.read_text())}
    assert asked == set(docs_site.GENERATED)


# -- links -------------------------------------------------------------------------------------------


def _anchors(page: Path) -> set[str]:
    text = docs_site.filled(page.read_text(encoding="utf-8"))
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_every_link_leads_to_a_file_and_every_anchor_to_a_heading() -> None:
    anchors: dict[Path, set[str]] = {}
    broken = []
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            there = (page.parent / path).resolve() if path else page
            if not there.exists():
                broken.append(f"{page.name}: {target}")
            elif (
                anchor and there.suffix == ".md" and anchor not in anchors.setdefault(there, _anchors(there))
            ):
                broken.append(f"{page.name}: {target}: no such heading")
    assert broken == []


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path) -> None:
    pytest.importorskip("mkdocs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    built = (tmp_path / "site" / "loss-is-zero.html").read_text()
    assert 'id="no-format"' in built
    assert "fonts.googleapis" not in built
