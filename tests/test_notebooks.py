"""The notebooks run from the first cell to the last, and are committed with what they print."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = [
    "sft-trl-qlora-qwen.ipynb",
    "grpo-trl-lora-qwen-deepseek-r1.ipynb",
    "diagnose-your-own-run.ipynb",
]
# The stories are told with the recipe as it ships; the tests tell them shorter, with too short a warm start,
# which would end in STOP if it were not forced.
SHORTER = (
    'SHORT = ["eval.problems=8", "eval.samples=1", "eval.unseen_problems=0", "probe.problems=16", '
    '"probe.completions=4", "probe.force=true", "sft.check_every=0", "sft.steps=8", "sft.problems=64", "grpo.steps=2"]'
)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_is_committed_with_outputs_and_without_errors(name) -> None:
    cells = [cell for cell in nbformat.read(FOLDER / name, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    assert sum(bool(cell.outputs) for cell in cells) >= len(cells) - 2
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs_from_the_first_cell_to_the_last(name, tmp_path) -> None:
    notebook = nbformat.read(FOLDER / name, as_version=4)
    lines = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.count("SHORT = ")]
    assert len(lines) == 1
    lines[0].source = "\n".join(
        SHORTER if line.startswith("SHORT = ") else line for line in lines[0].source.splitlines()
    )
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute(env=environment)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_no_function_is_longer_than_ten_lines_and_colab_is_a_click_away(name) -> None:
    cells = nbformat.read(FOLDER / name, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code").replace("%%capture", "")
    functions = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.FunctionDef)]
    assert [f.name for f in functions if (f.end_lineno or 0) - f.lineno >= 10] == []
    assert "colab-badge.svg" in cells[0].source
    assert sum(cell.source.count("RECIPE = ") for cell in cells) == 1
