"""The task file for lm-evaluation-harness: another tool, the same numbers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from warmstart.grading.second_reading import formatted_answer
from warmstart.tags import DEFAULT_TAGS, instructions, parse

TASK = Path(__file__).parents[1] / "deploy" / "lm_eval" / "warmstart_gsm8k.yaml"

_EVALUATE = """
import json, sys
import lm_eval
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

folder, texts = sys.argv[1], json.loads(sys.argv[2])

class Canned(LM):
    def generate_until(self, requests, **kwargs):
        return [texts[request.doc["question"]] for request in requests]
    loglikelihood = loglikelihood_rolling = None

tasks = TaskManager(include_path=folder, include_defaults=False)
found = lm_eval.simple_evaluate(model=Canned(), tasks=["local"], task_manager=tasks, bootstrap_iters=0)
print(json.dumps(found["results"]["local"]))
"""


def strict(text: str) -> str | None:
    (pattern,) = (
        one["filter"][0]["regex_pattern"] for one in _task()["filter_list"] if one["name"] == "strict"
    )
    found = re.findall(pattern, text)
    return found[0] if found else None


def _task() -> dict:
    return yaml.safe_load(TASK.read_text(encoding="utf-8"))


def test_the_task_asks_as_training_did() -> None:
    assert _task()["description"] == instructions(DEFAULT_TAGS)


def test_its_format_is_ours_on_every_tricky_completion(shared_data) -> None:
    for line in (shared_data / "graded" / "tricky.jsonl").read_text(encoding="utf-8").split("\n")[:-1]:
        row = json.loads(line)
        text = row["completion"]
        if "\r" in text or not text.isascii():
            continue  # Line ends and invisible characters are finer points than a regular expression of theirs.
        assert (strict(text) is not None) == parse(text).strict == (formatted_answer(text) is not None), row[
            "note"
        ]


@pytest.mark.slow
def test_the_harness_itself_loads_the_task_and_counts_as_we_do(tmp_path) -> None:
    pytest.importorskip("lm_eval", reason="pip install --group harness")
    right, wrong = (DEFAULT_TAGS.wrap("a sum", answer) for answer in ("1,234", "7"))
    texts = {"one": right, "two": wrong, "three": "So the answer is $1,234.00.", "four": f"{right}{right}"}
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"question": q, "answer": "x\n#### 1234"}) + "\n" for q in texts))
    local = {
        "include": str(TASK), "task": "local", "dataset_path": "json", "dataset_name": None,
        "dataset_kwargs": {"data_files": {"test": str(data)}},
    }  # fmt: skip
    (tmp_path / "local.yaml").write_text(yaml.safe_dump(local))
    done = subprocess.run(
        [sys.executable, "-c", _EVALUATE, str(tmp_path), json.dumps(texts)],
        capture_output=True, text=True, check=False, env=_environment(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["exact_match,strict"] == 0.25
    assert found["exact_match,lenient"] == 0.75


def _environment(folder: Path) -> dict[str, str]:
    import os

    return os.environ | {"HF_DATASETS_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
