"""The model card beside an adapter: what was measured, on what it was trained, how to repeat it.

Every number is summary.json's. Nothing is said that was not measured or is not in the recipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from warmstart.estimates import describe_p
from warmstart.results import licences
from warmstart.results.summary import (
    MEASURES,
    STAGE_NAMES,
    build_summary,
    describe_gain,
    describe_points,
    describe_rate,
)
from warmstart.runs import durable
from warmstart.runs.directory import EVAL_STAGES, RunDir
from warmstart.tags import Tags, instructions

Facts = Mapping[str, Any]

CARD = "README.md"
_METHODS = {"warmup": "supervised fine-tuning (QLoRA)", "grpo": "GRPO (Group Relative Policy Optimization)"}
_LONGEST_CELL = 200


def write_cards(run: RunDir) -> None:
    """Write the card of every adapter the run has; PEFT's empty one is replaced."""
    summary = run.read_json_if_there(run.summary_path) or build_summary(run)
    for stage, folder in (("warmup", run.warmup_adapter), ("grpo", run.grpo_adapter)):
        if (folder / "adapter_config.json").is_file():
            durable.replace(folder / CARD, card(run, summary, stage).encode("utf-8", "replace"))


def card(run: RunDir, summary: Facts, stage: str) -> str:
    """Return the card of one stage's adapter."""
    recipe = run.read_json(run.resolved_path)
    environment = run.read_json_if_there(run.environment_path) or {}
    parts = [
        f"---\n{yaml.safe_dump(_front_matter(recipe, summary, stage), sort_keys=False, allow_unicode=True)}---",
        f"# {recipe['name']}, {STAGE_NAMES[stage]}",
        f"A LoRA adapter for `{recipe['model']['name']}`, trained with {_METHODS[stage]} to reason in "
        f"`<{_tags(recipe).reasoning}>` and answer in `<{_tags(recipe).answer}>`, by "
        "warmstart on TRL and PEFT.",
        str(summary["headline"]),
        _measured(summary, stage),
        _usage(recipe, summary),
        _data(recipe, summary, run),
        _licences(recipe),
        _repeat(run, summary, environment),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _tags(recipe: Facts) -> Tags:
    prompt = recipe.get("prompt", {})
    return Tags(prompt.get("reasoning_tag", "reasoning"), prompt.get("answer_tag", "answer"))


def _data_name(recipe: Facts) -> str:
    source = recipe.get("data", {}).get("source", "synthetic")
    return str(recipe["data"].get("path")) if source in ("hub", "files") else str(source)


def _front_matter(recipe: Facts, summary: Facts, stage: str) -> dict[str, Any]:
    base = licences.of_model(recipe["model"]["name"], recipe["model"].get("licence"))
    source = recipe.get("data", {}).get("source")
    facts: dict[str, Any] = {
        "base_model": recipe["model"]["name"],
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "license": base.name,
        "tags": ["warmstart", "trl", "lora", {"warmup": "sft", "grpo": "grpo"}[stage]],
    }
    if source in ("gsm8k", "hub"):
        facts["datasets"] = ["openai/gsm8k" if source == "gsm8k" else _data_name(recipe)]
    strict = ((summary["eval"].get(stage) or {}).get("greedy") or {}).get("strict")
    if strict:
        facts["model-index"] = [
            {
                "name": recipe["name"],
                "results": [
                    {
                        "task": {"type": "text-generation"},
                        "dataset": {"name": _data_name(recipe), "type": _data_name(recipe)},
                        "metrics": [
                            {
                                "type": "accuracy",
                                "name": "strict accuracy, greedy",
                                "value": round(100 * strict["value"], 2),
                            }
                        ],
                    }
                ],
            }
        ]
    return facts


def _measured(summary: Facts, stage: str) -> str:
    stages = [name for name in EVAL_STAGES if name in summary["eval"]]
    stages = stages[: stages.index(stage) + 1] if stage in stages else []
    if not stages:
        return "## Measured\n\nNothing has been measured."
    result = summary["eval"][stage]
    lines = ["## Measured", "", f"On {result['n']:,} held-out problems, with 95 % intervals.", ""]
    lines += _table(
        ["", *(f"{mode} {measure}" for mode in ("greedy", "sampled") for measure in MEASURES)],
        [[STAGE_NAMES[name], *_rates(summary["eval"][name])] for name in stages],
    )
    sampled = result.get("sampled")
    if sampled:
        lines += [
            "",
            f"Sampled: mean of {sampled['samples']} at temperature {sampled['temperature']:g}. "
            + " ".join(
                f"pass@{k}: {describe_rate(rate, result['n'])}." for k, rate in sampled["pass_at_k"].items()
            ),
        ]
    lines += [
        "",
        "*strict*: right answer in the exact format; *lenient*: right answer anywhere; *format*: exact format.",
    ]
    lines += _changes(summary, stages)
    return "\n".join(lines)


def _rates(result: Facts) -> list[str]:
    return [
        describe_rate((result.get(mode) or {}).get(measure), result["n"])
        for mode in ("greedy", "sampled")
        for measure in MEASURES
    ]


def _changes(summary: Facts, stages: list[str]) -> list[str]:
    """Return the paired tests of the last stage against each before it, and what of the gain is format."""
    lines = [""]
    for test in summary["paired"]:
        if test["b"] == stages[-1] and test["a"] in stages and test["measure"] == "strict":
            lines.append(
                f"- {STAGE_NAMES[test['b']]} over {STAGE_NAMES[test['a']]}, {test['mode']}, strict: "
                f"{describe_points(test)}, {describe_p(test['p'])} ({test['test']})"
            )
    lines += [
        f"- of that, {gain['mode']}, over {STAGE_NAMES[gain['a']]}: {describe_gain(gain)}"
        for gain in summary.get("gain", [])
        if gain["b"] == stages[-1] and gain["a"] == stages[0]
    ]
    return lines if len(lines) > 1 else []


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")[:_LONGEST_CELL]


def _usage(recipe: Facts, summary: Facts) -> str:
    prompt = recipe.get("prompt", {})
    given = prompt.get("instructions")
    asked = instructions(_tags(recipe)) if given is None else str(given)
    turn = {
        "user": "the first user turn began with",
        "system": "the system turn was",
        "auto": "the system turn (in a template that has none, the beginning of the first user turn) was",
    }[prompt.get("role", "auto")]
    return (
        "## Use\n\nThe tokenizer beside this card holds the chat template it was trained with; "
        f"{turn}\n\n{_fenced(asked)}\n\n{_shown_example(summary)}"
        "```python\nfrom peft import AutoPeftModelForCausalLM\nfrom transformers import AutoTokenizer\n\n"
        'model = AutoPeftModelForCausalLM.from_pretrained("THIS_FOLDER")\n'
        'tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")\n```'
    )


def _shown_example(summary: Facts) -> str:
    shown = (summary.get("plan") or {}).get("exemplar")
    if shown is None:
        return ""
    question, answer = shown
    return (
        f"Before every question stood one that is solved, a user turn\n\n{_fenced(question)}\n\n"
        f"and the model's\n\n{_fenced(answer)}\n\n"
    )


def _fenced(text: str) -> str:
    return f"```text\n{text.replace('```', '')}\n```"


def _data(recipe: Facts, summary: Facts, run: RunDir) -> str:
    counts = run.finished_stages().get("data", {})
    lines = [f"## Data\n\n`{_data_name(recipe)}`"]
    if counts:
        lines[0] += f": {counts.get('train', 0):,} problems to train on, {counts.get('eval', 0):,} held out."
    overlap = summary.get("overlap")
    if overlap:
        lines.append(
            f"Of the {overlap['eval_problems']:,} held-out problems {overlap['exact']:,} are in the training data to the "
            f"letter, {overlap['normalised']:,} but for case and punctuation, {overlap['ngram']:,} share eight words in a row with it."
        )
    plan = summary.get("plan")
    if plan and plan.get("warm_start") == "self-warm-start":
        lines.append(
            "The warm start trained on the base model's own verified solutions; no rationale of the data was read."
        )
    return "\n\n".join(lines)


def _licences(recipe: Facts) -> str:
    base = licences.of_model(recipe["model"]["name"], recipe["model"].get("licence"))
    data = licences.of_data(_data_name(recipe), recipe.get("data", {}).get("licence"))
    lines = ["## Licences", ""]
    for what, name, licence in (("base", recipe["model"]["name"], base), ("data", _data_name(recipe), data)):
        lines.append(f"- {what} `{name}`: {licence.name}{f' ({licence.note})' if licence.note else ''}")
    return "\n".join(lines)


def _repeat(run: RunDir, summary: Facts, environment: Facts) -> str:
    cost = summary["cost"]
    versions = ", ".join(f"{name} {version}" for name, version in summary["versions"].items())
    recipe_yaml = run.recipe_path.read_text("utf-8", "replace") if run.recipe_path.exists() else ""
    commit = environment.get("commit")
    gpus = ", ".join(gpu["name"] for gpu in environment.get("gpus") or []) or "no GPU"
    lines = [
        "## Repeat it",
        "",
        "```bash\nwarmstart run recipe.yaml\n```",
        "",
        f"```yaml\n{recipe_yaml.strip().replace('```', '')}\n```",
        "",
        "Every setting, what `--set` changed among them, is in the run's `resolved.json`.",
        "",
        f"- commit: {commit or 'not known (warmstart was not run from a checkout)'}",
        f"- seed: {summary['seed']}",
        f"- cost: {cost['wall_s'] / 60:.1f} minutes, {cost['generated_tokens']:,} generated tokens, "
        f"{cost['peak_rss_gb']:.1f} GB of memory"
        + (f", {cost['peak_gpu_gb']:.1f} GB on the GPU" if "peak_gpu_gb" in cost else ""),
        f"- machine: {environment.get('platform', 'unknown')}, {environment.get('cpu_cores', '?')} cores, {gpus}",
        f"- versions: {versions}",
    ]
    return "\n".join(lines)
