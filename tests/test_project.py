"""What the project promises about itself."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src" / "warmstart").rglob("*.py"))


def test_the_readme_gives_the_first_command_by_line_twenty_five_and_spells_grpo_out() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert any(line.startswith(("make ", "warmstart ")) for line in lines[:25])
    assert "Group Relative Policy Optimization" in "\n".join(lines)


def test_every_module_of_the_package_is_in_the_tree_of_the_architecture_page() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    tree = page[page.index("src/warmstart/\n") : page.index("tests/   ")]
    modules = [path for path in SOURCES if not path.name.startswith("__")]
    assert [path for path in modules if not re.search(rf"(?<!\w){path.name}", tree)] == []
    folders = {part for path in modules for part in path.relative_to(ROOT / "src" / "warmstart").parts[:-1]}
    assert {folder for folder in folders if f"{folder}/" not in tree} == set()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_module_is_longer_than_four_hundred_lines(path) -> None:
    assert len(path.read_text().splitlines()) <= 400


def test_relative_links_of_the_documents_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    broken = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_nothing_that_runs_strangers_code_is_in_the_sources() -> None:
    forbidden = re.compile(
        r"trust_remote_code\s*=\s*True|\bpickle\.load|(?<![\w.])eval\(|weights_only\s*=\s*False"
    )
    found = [f"{path.name}: {m[0]}" for path in SOURCES for m in forbidden.finditer(path.read_text())]
    assert found == []


def test_no_pattern_repeats_a_group_possessively() -> None:
    """Python 3.11.0 to 3.11.4 matches such a repeat wrongly where it had to go back inside it (gh-106052)."""
    possessive = re.compile(r"(?<!\\)\)[*+?]\+|(?<!\\)\)\{[\d,]+\}\+|\(\?>")
    patterns = [
        (path.name, line)
        for path in SOURCES
        for line in path.read_text().splitlines()
        if re.search(r"\br?f?r?[\"']", line)
    ]
    assert [found for found in patterns if possessive.search(found[1])] == []


def test_the_version_is_the_same_in_the_package_and_its_metadata() -> None:
    import warmstart

    assert f'version = "{warmstart.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_every_public_name_can_be_had_and_importing_the_package_loads_none_of_them() -> None:
    import sys

    import warmstart

    for name in warmstart.__all__:
        assert getattr(warmstart, name) is not None
    code = "import sys, warmstart; sys.exit(' '.join(m for m in sys.modules if m in ('torch', 'pydantic', 'numpy')) or 0)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="has no attribute 'nope'"):
        _ = warmstart.nope


def test_every_dependency_has_an_upper_bound_and_a_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    declared = tomllib.loads(text)
    wanted = declared["project"]["dependencies"]
    groups = [one for group in declared["dependency-groups"].values() for one in group]
    assert [one for one in [*declared["build-system"]["requires"], *wanted, *groups] if "<" not in one] == []
    assert [one for one in wanted if not re.search(rf'"{re.escape(one)}",  # \w', text)] == []


def test_every_pinned_package_is_within_its_bounds() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pinned = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )
    versions = {canonicalize_name(name): version.split()[0] for name, version in pinned.items()}
    for text in [
        *declared["project"]["dependencies"],
        *declared["dependency-groups"]["dev"],
        *declared["dependency-groups"]["fuzz"],
    ]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(versions[canonicalize_name(wanted.name)]), text
