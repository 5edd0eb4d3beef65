"""The ladder of cures on the tiny base, made short."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import pytest

from warmstart import pipeline
from warmstart.config.schema import load_recipe, recipe_text
from warmstart.diagnosis import Decision, Diagnosis, finding
from warmstart.errors import ConfigError, HopelessError, TrainingError
from warmstart.pipeline import run
from warmstart.pipeline.context import exemplar_of
from warmstart.pipeline.probing import tell_cure
from warmstart.pipeline.reinforcing import is_gated
from warmstart.pipeline.warming import self_traces
from warmstart.plan import Plan
from warmstart.progress import Quiet
from warmstart.records import Problem
from warmstart.runs.directory import RunDir
from warmstart.tags import DEFAULT_TAGS

SMALL = [
    "eval.problems=16",
    "eval.samples=1",
    "eval.unseen_problems=0",
    "probe.problems=24",
    "probe.completions=4",
    "grpo.steps=2",
    "grpo.problems_per_step=2",
    "grpo.micro_batch=16",
]


def _without_rationales(context):
    splits = context.data
    context._data = replace(splits, train=[replace(problem, rationale=None) for problem in splits.train])
    return context


def test_the_self_warm_start_reads_no_gold_rationale(tmp_path) -> None:
    recipe = load_recipe("tiny", [*SMALL, "sft.problems=32"])
    folder = RunDir.create_or_resume(tmp_path / "run", {"a": 1}, "")
    context = _without_rationales(pipeline.Run(recipe, folder, Quiet()))
    traces = self_traces(context)
    assert len(traces) >= 16
    assert all(trace.rationale for trace in traces)


@pytest.mark.parametrize("cure", ["auto", "self-warm-start"])
def test_without_solutions_and_without_rationales_the_stage_says_so(tmp_path, monkeypatch, cure) -> None:
    recipe = load_recipe("tiny", [*SMALL, f"probe.cure={cure}"])
    folder = RunDir.create_or_resume(tmp_path / "run", {"a": 1}, "")
    folder.write_json(folder.plan_path, Plan(warm_start="self-warm-start").to_dict())
    monkeypatch.setattr("warmstart.pipeline.warming.self_traces", lambda run: [])
    with pytest.raises(TrainingError, match="the model solved 0 of 400 problems its own way; too few"):
        pipeline.sft(_without_rationales(pipeline.Run(recipe, folder, Quiet())))


def test_a_run_up_to_the_warm_start_trains_nothing_where_the_plan_has_none(tmp_path) -> None:
    recipe = load_recipe("tiny", [*SMALL, "probe.cure=prefill"])
    folder = run(recipe, tmp_path / "run", recipe_yaml=recipe_text("tiny"), until="sft")
    assert list(folder.finished_stages()) == ["data", "probe", "eval-base"]
    assert not folder.grpo_adapter.exists()


def test_the_plan_keeps_the_example_and_data_without_a_solution_has_none_to_show() -> None:
    problems = [Problem("a", "1+1?", "2", rationale="1+1=2")]
    shown = exemplar_of(problems, DEFAULT_TAGS)
    assert shown == ("1+1?", "<reasoning>\n1+1=2\n</reasoning>\n<answer>\n2\n</answer>")
    plan = Plan(prompt="exemplar", exemplar=shown)
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    with pytest.raises(ConfigError, match="none of the training problems has a rationale to show"):
        exemplar_of([replace(problems[0], rationale=None)], DEFAULT_TAGS)


@pytest.mark.parametrize(
    ("settings", "gated"),
    [([], True), (["grpo.stage=format"], False), (["grpo.stage=shape", "grpo.plan=moves"], True)],
)
def test_the_outcome_gate_follows_the_stage_unless_the_plan_does(settings, gated) -> None:
    assert is_gated(load_recipe("tiny", settings).grpo) is gated


@pytest.mark.slow
def test_the_cold_base_is_cured_by_its_own_solutions_alone(tmp_path, monkeypatch) -> None:
    """No gold rationale is left in the data; the format is there afterwards and the probe says GO."""
    recipe = load_recipe("tiny", SMALL)
    original = pipeline.Run.data.fget

    def bare(self):
        splits = original(self)
        return replace(splits, train=[replace(problem, rationale=None) for problem in splits.train])

    monkeypatch.setattr(pipeline.Run, "data", property(bare))
    folder = run(recipe, tmp_path / "run", recipe_yaml=recipe_text("tiny"))
    summary = folder.read_json(folder.summary_path)
    assert summary["verdicts"][0]["verdict"] == "FIX"
    assert summary["verdicts"][0]["findings"][0]["code"] == "no-format"
    assert summary["cures"][-1]["name"] == "self-warm-start"
    assert summary["cures"][-1]["after"]["verdict"] == "GO"
    assert summary["cures"][-1]["after"]["format"] >= 0.85
    assert summary["plan"]["warm_start"] == "self-warm-start"


def test_shuffled_golds_end_in_stop_with_the_finding_and_nothing_is_trained(tmp_path, monkeypatch) -> None:
    recipe = load_recipe("tiny", [*SMALL, "probe.problems=48", "probe.completions=8"])
    original = pipeline.Run.data.fget

    def shuffled(self):
        splits = original(self)
        golds = [problem.gold for problem in splits.train]
        moved = [replace(p, gold=golds[(i + 7) % len(golds)]) for i, p in enumerate(splits.train)]
        return replace(splits, train=moved)

    monkeypatch.setattr(pipeline.Run, "data", property(shuffled))
    with pytest.raises(HopelessError, match="gold-contradicted") as caught:
        run(recipe, tmp_path / "run", recipe_yaml=recipe_text("tiny"))
    assert caught.value.exit_code == 4
    assert not (tmp_path / "run" / "warmup").exists()
    folder = RunDir.open(tmp_path / "run")
    assert folder.read_json(folder.summary_path)["verdicts"][0]["verdict"] == "STOP"
    assert folder.report_path.is_file()


def test_a_warning_that_does_not_end_the_training_is_said_where_it_begins() -> None:
    class Heard(Quiet):
        lines: ClassVar[list[str]] = []

        def say(self, line: str) -> None:
            self.lines.append(line)

    shares = dict.fromkeys(
        ("format", "strict", "lenient", "live_share", "all_fail_share", "all_pass_share"), 0.5
    )
    done = {"name": "self-warm-start", "before": shares, "after": {**shares, "verdict": "GO"}}
    warned = finding("reward-idle", "mine pays none of 512 completions")
    context = pipeline.Run(load_recipe("tiny"), None, Heard())
    for decision in (Decision.FIX, Decision.GO):
        tell_cure(context, done, SimpleNamespace(diagnosis=Diagnosis("warmup", decision, (warned,), {})))
    assert [line.split(":")[0] for line in Heard.lines] == ["cure self-warm-start"] * 2 + ["warning"]
    assert "reward-idle: mine pays none of 512 completions" in Heard.lines[-1]


def test_problems_of_twelve_steps_end_in_stop_too_hard_and_nothing_is_trained(tmp_path) -> None:
    recipe = load_recipe("tiny", ["data.steps=12", "data.train_problems=400", "eval.problems=8"])
    with pytest.raises(HopelessError, match=r"too-hard: 0 of [\d,]+ completions solve") as caught:
        run(recipe, tmp_path / "run", recipe_yaml=recipe_text("tiny"))
    assert "p < " in str(caught.value)
    folder = RunDir.open(tmp_path / "run")
    assert folder.read_json(folder.summary_path)["headline"].startswith("STOP: too-hard: 0 of ")
    page = folder.report_path.read_text()
    assert "The diagnosis ended this run" in page
    assert "Still to do" not in page
    assert not (tmp_path / "run" / "warmup").exists()
    assert not (tmp_path / "run" / "grpo").exists()
