from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest

from warmstart.config.schema import load_recipe
from warmstart.evaluation import InProcess, Wanted, evaluate, grade_row
from warmstart.grading.verdicts import grade
from warmstart.models import load_base
from warmstart.pipeline import load_prompter, load_splits
from warmstart.progress import Quiet
from warmstart.records import Problem, Verdict
from warmstart.rollouts import Completion
from warmstart.runs.completion_log import CompletionLog
from warmstart.runs.durable import read_rows
from warmstart.tags import DEFAULT_TAGS, Tags

PENS = Problem("p1", "How many pens?", "12", None, "shopping", 2)


def _row(text: str):
    return grade_row(
        PENS,
        Completion(text, (1,) * 9, 9, True, -0.1, 0.1),
        DEFAULT_TAGS,
        split="eval",
        mode="greedy",
        sample=0,
    )


def test_a_right_answer_in_the_format_is_strict_lenient_and_formatted() -> None:
    row = _row("<reasoning>\n3*4=12\n</reasoning>\n<answer>\n12\n</answer>")
    assert (row["strict"], row["lenient"], row["format"], row["verdict"]) == (True, True, True, "correct")
    assert row["why_not_strict"] == ""


def test_a_right_answer_on_one_line_is_lenient_but_not_strict_and_says_why() -> None:
    row = _row("<reasoning>3*4=12</reasoning><answer>12</answer>")
    assert (row["strict"], row["lenient"], row["format"]) == (False, True, False)
    assert "newline_missing" in row["why_not_strict"]


def test_a_wrong_answer_in_the_format_is_formatted_only() -> None:
    row = _row("<reasoning>\n3*4=13\n</reasoning>\n<answer>\n13\n</answer>")
    assert (row["strict"], row["lenient"], row["format"]) == (False, False, True)


def test_a_right_answer_without_tags_is_lenient_and_has_no_answer_in_the_tags() -> None:
    row = _row("3*4=12. The answer is 12.")
    assert (row["strict"], row["lenient"], row["verdict"], row["lenient_given"]) == (
        False,
        True,
        "no_answer",
        "12.",
    )


def test_where_the_readings_differ_the_held_out_one_is_the_result(monkeypatch) -> None:
    # A hole in the path that training pays by: everything is right.
    monkeypatch.setattr(
        "warmstart.evaluation.grade",
        lambda text, gold, tags: grade(text, gold, tags=tags)._replace(verdict=Verdict.CORRECT),
    )
    row = _row("<reasoning>\n3*4=13\n</reasoning>\n<answer>\n13\n</answer>")
    assert (row["reward_strict"], row["strict"], row["verdict"], row["checked"]) == (
        True,
        False,
        "wrong",
        True,
    )


def test_an_answer_that_only_the_grader_can_read_keeps_its_verdict_and_is_unchecked() -> None:
    row = _row("<reasoning>\n3*4\n</reasoning>\n<answer>\n12 pens\n</answer>")
    assert (row["strict"], row["checked"], row["verdict"]) == (True, False, "correct")


@dataclass
class Echo:
    """Answers every problem with its own gold, in a format of its own, and counts what it was asked."""

    asked: list[tuple[int, int, float]] = field(default_factory=list)
    fails_at: int | None = None
    tags: Tags = DEFAULT_TAGS

    def cost(self, problem) -> int:
        return len(problem.question)

    def answer(self, problems, *, samples, temperature, wanted, on_progress):
        if self.fails_at is not None and len(self.asked) >= self.fails_at:
            raise KeyboardInterrupt
        self.asked.append((len(problems), samples, temperature))
        on_progress(len(problems) * samples)
        return [
            [
                Completion(
                    self.tags.wrap(f"place {place}", f"{problem.gold}{sample or ''}"), (), 5, True, 0.0, 0.0
                )
                for sample in range(samples)
            ]
            for place, problem in problems
        ]


PROBLEMS = {
    "eval": [Problem(f"p{i}", "why? " * (9 - i), str(i)) for i in range(7)],
    "unseen": [Problem("u0", "what?", "3")],
}
WANTED = Wanted(samples=2, temperature=1.0, top_p=1.0, max_tokens=8, batch_size=4, seed=0)


def test_every_problem_gets_one_greedy_and_the_sampled_completions_and_a_batch_is_never_exceeded() -> None:
    echo = Echo()
    rows = evaluate(echo, PROBLEMS, WANTED)
    assert len(rows) == 8 * 3
    assert max(count * samples for count, samples, _ in echo.asked) == 4
    assert {(row["problem_id"], row["mode"], row["sample"]) for row in rows} == {
        (problem.id, mode, sample)
        for problems in PROBLEMS.values()
        for problem in problems
        for mode, sample in (("greedy", 0), ("sampled", 0), ("sampled", 1))
    }
    # Asked by length, each with its place among all: the samples' random streams hang on it.
    assert rows[0]["text"] == DEFAULT_TAGS.wrap("place 6", "6")


def test_a_killed_evaluation_goes_on_after_its_last_batch_and_ends_alike(tmp_path) -> None:
    whole = evaluate(Echo(), PROBLEMS, WANTED, log=CompletionLog(tmp_path / "whole.parquet"))
    log = CompletionLog(tmp_path / "cut.parquet")
    with pytest.raises(KeyboardInterrupt):
        evaluate(Echo(fails_at=3), PROBLEMS, WANTED, log=log)
    assert len(list(log.parts.glob("*.parquet"))) == 3
    assert not log.path.exists()
    second = Echo()
    assert evaluate(second, PROBLEMS, WANTED, log=log) == whole
    first = Echo()
    evaluate(first, PROBLEMS, WANTED)
    assert second.asked == first.asked[3:]
    assert read_rows(log.path) == read_rows(tmp_path / "whole.parquet")
    assert sorted(map(str, read_rows(log.path))) == sorted(map(str, whole))
    assert not log.parts.exists()


@pytest.mark.parametrize(
    ("wanted", "of"), [(replace(WANTED, temperature=0.5), {"model": "a"}), (WANTED, {"model": "b"})]
)
def test_the_batches_of_another_evaluation_are_not_taken_for_this_one(tmp_path, wanted, of) -> None:
    log = CompletionLog(tmp_path / "cut.parquet")
    with pytest.raises(KeyboardInterrupt):
        evaluate(Echo(fails_at=3), PROBLEMS, WANTED, log=log, of={"model": "a"})
    second, fresh = Echo(), Echo()
    evaluate(second, PROBLEMS, wanted, log=log, of=of)
    evaluate(fresh, PROBLEMS, wanted)
    assert second.asked == fresh.asked


def test_a_real_model_killed_between_batches_writes_what_an_uninterrupted_one_writes(tmp_path) -> None:
    recipe = load_recipe("tiny", ["eval.problems=6"])
    model, problems = load_base("tiny"), {"eval": load_splits(recipe).eval}
    answerer = InProcess(model, load_prompter(recipe))
    wanted = Wanted(samples=2, temperature=1.0, top_p=1.0, max_tokens=10, batch_size=4, seed=3)
    whole = evaluate(answerer, problems, wanted)
    log, batches = CompletionLog(tmp_path / "cut.parquet"), []

    class Stops(Quiet):
        @contextmanager
        def task(self, label, total, unit):
            class Bar:
                def advance(self, amount=1, note=""):
                    batches.append(amount)
                    if len(batches) == 2:
                        raise KeyboardInterrupt

            yield Bar()

    with pytest.raises(KeyboardInterrupt):
        evaluate(answerer, problems, wanted, log=log, progress=Stops())
    assert evaluate(answerer, problems, wanted, log=log) == whole
    assert {row["tokens"] for row in whole if row["truncated"]} == {10}
    assert all(row["finished"] != row["truncated"] for row in whole)
