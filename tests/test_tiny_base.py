"""The base that ships: small, cold on the format, able but unreliable on the math."""

from __future__ import annotations

from pathlib import Path

import pytest

from warmstart.config.schema import load_recipe
from warmstart.evaluation import InProcess, Wanted, evaluate, grade_row
from warmstart.models import load_base, model_path
from warmstart.pipeline import load_prompter, load_splits
from warmstart.rollouts import generate


@pytest.fixture(scope="module")
def measured():
    recipe = load_recipe("tiny")
    problems, prompter = load_splits(recipe).eval, load_prompter(recipe)
    wanted = Wanted(samples=8, temperature=1.0, top_p=1.0, max_tokens=112, batch_size=300, seed=0)
    rows = evaluate(InProcess(load_base("tiny"), prompter), {"eval": problems}, wanted)
    return problems, prompter, rows


def _share(rows, measure, mode):
    chosen = [row[measure] for row in rows if row["mode"] == mode]
    return sum(chosen) / len(chosen)


def test_it_is_no_larger_than_four_megabytes() -> None:
    assert sum(file.stat().st_size for file in Path(model_path("tiny")).iterdir()) <= 4_000_000


def test_it_never_writes_the_format(measured) -> None:
    _, _, rows = measured
    assert _share(rows, "strict", "greedy") <= 0.01
    assert _share(rows, "format", "sampled") <= 0.01


def test_it_can_do_the_math_but_one_sample_is_not_reliable(measured) -> None:
    _, _, rows = measured
    assert _share(rows, "lenient", "greedy") >= 0.60
    assert 0.40 <= _share(rows, "lenient", "sampled") <= 0.70


def test_eight_samples_solve_nine_in_ten_while_greedy_solves_no_more(measured) -> None:
    problems, _, rows = measured
    solved = {row["problem_id"] for row in rows if row["mode"] == "sampled" and row["lenient"]}
    assert _share(rows, "lenient", "greedy") <= 0.90
    assert len(solved) / len(problems) >= 0.90


def test_its_skill_does_not_hang_on_what_comes_first(measured) -> None:
    problems, prompter, rows = measured
    opener = prompter.tokenizer("<reasoning>\n", add_special_tokens=False)["input_ids"]
    groups = generate(
        load_base("tiny"),
        prompter.tokenizer,
        [prompter.prompt_ids(p.question) + opener for p in problems],
        max_tokens=112,
        batch_size=200,
    )
    right = [
        grade_row(p, g[0], prompter.tags, split="eval", mode="greedy", sample=0)["lenient"]
        for p, g in zip(problems, groups, strict=True)
    ]
    assert abs(sum(right) / len(right) - _share(rows, "lenient", "greedy")) <= 0.05
