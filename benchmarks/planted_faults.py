"""Is each planted fault named first, and do healthy runs stay without a finding?

    python benchmarks/planted_faults.py [--run RUN] [--seeds 3]

Every plant is one small real change to a healthy set-up on the tiny base: a reward, a column, a template,
a cap, an adapter. RUN is a finished run of ``tiny``, whose warm start is the healthy model; without one
it is made first (a minute). Prints a table and exits with 1 if a fault was named wrongly or a healthy
probe raised an alarm.
"""

# ruff: noqa: D102, D103 - the name of a plant says what is planted.
from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import trl
from datasets import Dataset

from warmstart.config.schema import load_recipe, recipe_text
from warmstart.data import DataSplits
from warmstart.data.synthetic import generate
from warmstart.diagnosis import Finding, diagnose_smoke
from warmstart.models import add_adapter, continue_adapter, load_base, load_merged, load_tokenizer
from warmstart.pipeline import run as run_recipe
from warmstart.pipeline.probing import data_findings
from warmstart.probing import probe as probing
from warmstart.probing.probe import Probe, ProbeSettings, probe
from warmstart.records import Problem
from warmstart.rewards.functions import correctness_reward_func, strict_format_reward_func
from warmstart.rollouts import generate as complete
from warmstart.tags import DEFAULT_TAGS, Tags, parse
from warmstart.templates.plumbing import inspect_template
from warmstart.templates.prompter import make_prompter
from warmstart.training.grpo import prompt_rows
from warmstart.training.smoke import smoke_step
from warmstart.training.trainer import GRPOTrainer

Rows = list[dict[str, Any]]
Plant = tuple[Callable[["Bench"], list[Finding]], str]
SETTINGS = ProbeSettings(problems=48, completions=8, cap=112, batch_size=384)


_sampled: dict[Any, Any] = {}


def sampled_once(model: Any, tokenizer: Any, prompts: Any, **settings: Any) -> Any:  # noqa: ANN401
    """Return the completions of `rollouts.generate`; plants that leave the sampling alone share them."""
    settings.pop("on_progress", None)
    stops = (tokenizer.eos_token, str(model.generation_config.eos_token_id))
    key = (id(model), stops, tuple(map(tuple, prompts)), *sorted(settings.items()))
    if key not in _sampled:
        _sampled[key] = (model, complete(model, tokenizer, prompts, **settings))
    return _sampled[key][1]


probing.generate = sampled_once


@dataclass
class Bench:
    """A healthy set-up of one seed: the base, the warm model, prompts and problems."""

    adapter: Path
    seed: int

    def __post_init__(self) -> None:
        self.base, self.warm = load_base("tiny"), load_merged("tiny", self.adapter)
        self.prompter = make_prompter(load_tokenizer("tiny"), tags=DEFAULT_TAGS)
        self.problems = generate(48, seed=100 + self.seed, split="train")

    def rows(self, problems: Sequence[Problem] | None = None) -> Rows:
        return prompt_rows(self.prompter, problems or self.problems)

    def probe(self, **changes: Any) -> Probe:  # noqa: ANN401
        model = changes.pop("model", self.warm)
        rows = changes.pop("rows", None) or self.rows()
        rewards = changes.pop("rewards", [strict_format_reward_func, correctness_reward_func])
        options = {key: changes.pop(key) for key in ("reward_weights", "outcome", "facts") if key in changes}
        facts = options.pop("facts", {})
        settings = replace(SETTINGS, seed=self.seed, **changes)
        return probe(model, self.prompter.tokenizer, rows, rewards, settings=settings, **options, **facts)

    def findings(self, **changes: Any) -> list[Finding]:  # noqa: ANN401
        return list(self.probe(**changes).diagnosis.findings)


def answers_of(completions: Any) -> list[str]:  # noqa: ANN401
    texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
    return [(parse(text).answers or ("",))[-1] for text in texts]


# -- data ----------------------------------------------------------------------------------------


def column_renamed(b: Bench) -> list[Finding]:
    rows = [{("target" if k == "answer" else k): v for k, v in row.items()} for row in b.rows()]
    return b.findings(rows=rows, rewards=[strict_format_reward_func])


def golds_blank(b: Bench) -> list[Finding]:
    rows = b.rows()
    for row in rows[::9]:
        row["answer"] = "  "
    return b.findings(rows=rows)


def golds_unreadable(b: Bench) -> list[Finding]:
    rows = b.rows()
    for row in rows[::9]:
        row["answer"] = "1/0"
    return b.findings(rows=rows)


def golds_shuffled(b: Bench) -> list[Finding]:
    rows, golds = b.rows(), [problem.gold for problem in b.problems]
    random.Random(b.seed).shuffle(golds)
    return b.findings(rows=[{**row, "answer": gold} for row, gold in zip(rows, golds, strict=True)])


def golds_off_by_one_row(b: Bench) -> list[Finding]:
    rows = b.rows()
    return b.findings(rows=[{**row, "answer": rows[i - 1]["answer"]} for i, row in enumerate(rows)])


def evaluation_in_training(b: Bench) -> list[Finding]:
    held_out = generate(48, seed=b.seed, split="eval")
    return data_findings(DataSplits([*b.problems, *held_out[:9]], held_out, []))


# -- rewards -------------------------------------------------------------------------------------


def reward_wants_another_column(b: Bench) -> list[Finding]:
    def outcome(completions: Any, solution: Any, **kwargs: Any) -> list[float]:  # noqa: ANN401
        return [0.0] * len(completions)

    return b.findings(rewards=[outcome, strict_format_reward_func], outcome="outcome")


def reward_parses_with_float(b: Bench) -> list[Finding]:
    def outcome(completions: Any, answer: Any, **kwargs: Any) -> list[float]:  # noqa: ANN401
        return [
            float(float(g.split()[-1]) == float(a))
            for g, a in zip(answers_of(completions), answer, strict=True)
        ]

    rows = b.rows()
    rows[3]["prompt"] = "?"  # One odd prompt, whose completion holds no answer.
    return b.findings(rewards=[outcome], outcome="outcome", model=b.base)


def reward_returns_one_short(b: Bench) -> list[Finding]:
    def outcome(completions: Any, **kwargs: Any) -> list[float]:  # noqa: ANN401
        return [1.0] * (len(completions) - 1)

    return b.findings(rewards=[outcome], outcome="outcome")


def reward_returns_nan(b: Bench) -> list[Finding]:
    def outcome(completions: Any, **kwargs: Any) -> list[float]:  # noqa: ANN401
        return [float("nan") if i % 3 == 0 else 1.0 for i in range(len(completions))]

    return b.findings(rewards=[outcome], outcome="outcome")


def reward_cannot_tell(b: Bench) -> list[Finding]:
    def outcome(prompts: Any, completions: Any, answer: Any, **kwargs: Any) -> list[float | None]:  # noqa: ANN401
        paid = correctness_reward_func(prompts, completions, answer)
        return [None if i % 2 else value for i, value in enumerate(paid)]

    return b.findings(rewards=[outcome], outcome="outcome")


def reward_hangs(b: Bench) -> list[Finding]:
    def outcome(completions: Any, **kwargs: Any) -> list[float]:  # noqa: ANN401
        time.sleep(1.0)
        return [0.0] * len(completions)

    return b.findings(rewards=[outcome], outcome="outcome", reward_limit_s=0.1)


def reward_compares_the_whole_text(b: Bench) -> list[Finding]:
    def outcome(completions: Any, answer: Any, **kwargs: Any) -> list[float]:  # noqa: ANN401
        return [2.0 * (c[-1]["content"] == a) for c, a in zip(completions, answer, strict=True)]

    return b.findings(rewards=[outcome, strict_format_reward_func], outcome="outcome")


def reward_compares_with_a_decimal_point(b: Bench) -> list[Finding]:
    def outcome(completions: Any, answer: Any, **kwargs: Any) -> list[float]:  # noqa: ANN401
        return [2.0 * (g == f"{a}.0") for g, a in zip(answers_of(completions), answer, strict=True)]

    return b.findings(rewards=[outcome, strict_format_reward_func], outcome="outcome")


def reward_pays_any_number(b: Bench) -> list[Finding]:
    def outcome(completions: Any, **kwargs: Any) -> list[float]:  # noqa: ANN401
        return [2.0 * g.strip().isdigit() for g in answers_of(completions)]

    return b.findings(rewards=[outcome, strict_format_reward_func], outcome="outcome")


def rewards_of_opposite_weight(b: Bench) -> list[Finding]:
    def outcome(prompts: Any, completions: Any, answer: Any, **kwargs: Any) -> list[float | None]:  # noqa: ANN401
        return correctness_reward_func(prompts, completions, answer)

    return b.findings(
        rewards=[outcome, correctness_reward_func], outcome="outcome", reward_weights=[1.0, -1.0]
    )


def length_penalty_outweighs(b: Bench) -> list[Finding]:
    def shortness(completions: Any, **kwargs: Any) -> list[float]:  # noqa: ANN401
        return [-float(len(c[-1]["content"])) for c in completions]

    return b.findings(rewards=[correctness_reward_func, shortness])


# -- template and tokenizer ----------------------------------------------------------------------


def _inspected(change: Callable[[Any], None], tags: Tags = DEFAULT_TAGS) -> list[Finding]:
    tokenizer = load_tokenizer("tiny")
    change(tokenizer)
    return inspect_template(tokenizer, tags)


def template_opens_thinking(b: Bench) -> list[Finding]:
    def change(t: Any) -> None:  # noqa: ANN401
        t.chat_template = t.chat_template.replace(
            "assistant\n' }}{% endif", "assistant\n<think>\n' }}{% endif"
        )

    return _inspected(change)


def template_drops_reasoning(b: Bench) -> list[Finding]:
    def change(t: Any) -> None:  # noqa: ANN401
        t.chat_template = t.chat_template.replace(
            "message['content']", "message['content'].split('</think>')[-1]"
        )

    return _inspected(change, Tags("think", "answer"))


def template_ignores_system(b: Bench) -> list[Finding]:
    def change(t: Any) -> None:  # noqa: ANN401
        t.chat_template = t.chat_template.replace(
            "{% for message in messages %}", "{% for message in messages if message['role'] != 'system' %}"
        )

    return _inspected(change)


def padding_ends_the_turn(b: Bench) -> list[Finding]:
    return _inspected(lambda t: setattr(t, "pad_token", t.eos_token))


# -- what the model writes -----------------------------------------------------------------------


def cold_base(b: Bench) -> list[Finding]:
    return b.findings(model=b.base)


def cap_too_short(b: Bench) -> list[Finding]:
    return b.findings(cap=24)


def cap_cuts_the_answer(b: Bench) -> list[Finding]:
    return b.findings(cap=48)


def end_token_is_another(b: Bench) -> list[Finding]:
    tokenizer = load_tokenizer("tiny")
    tokenizer.eos_token = "<|endoftext|>"
    healthy, end = b.prompter, b.warm.generation_config.eos_token_id
    b.prompter, b.warm.generation_config.eos_token_id = replace(b.prompter, tokenizer=tokenizer), None
    found = b.findings(cap=160)
    b.prompter, b.warm.generation_config.eos_token_id = healthy, end
    return found


def temperature_too_low(b: Bench) -> list[Finding]:
    return b.findings(temperature=0.02)


def top_p_of_almost_nothing(b: Bench) -> list[Finding]:
    return b.findings(top_p=0.01)


def problems_of_twelve_steps(b: Bench) -> list[Finding]:
    return b.findings(rows=b.rows(generate(48, seed=b.seed, split="train", steps=12)))


def problems_already_solved(b: Bench) -> list[Finding]:
    many = generate(240, seed=200 + b.seed, split="train")
    first = b.probe(rows=b.rows(many), problems=240, batch_size=480)
    solved = {name for name, (right, of) in first.solve_rates.items() if right == of}
    return b.findings(rows=b.rows([p for p in many if p.id in solved]), temperature=0.5)


def warm_start_cost_the_skill(b: Bench) -> list[Finding]:
    from warmstart.estimates import wilson

    model = continue_adapter(load_base("tiny"), b.adapter)
    torch.manual_seed(b.seed)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            p.data += 0.05 * torch.randn_like(p)
    facts = {"is_warmed": True, "lenient_before": wilson(260, 384)}
    return b.findings(model=model, facts=facts)


# -- the gradient's way to the weights -----------------------------------------------------------


def smoke(
    b: Bench,
    change: Callable[[GRPOTrainer], None],
    alpha: int = 8,
    **arguments: Any,  # noqa: ANN401
) -> list[Finding]:
    model = add_adapter(
        load_base("tiny"), rank=4, alpha=alpha, dropout=0.0, target_modules="all-linear", seed=b.seed
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=[correctness_reward_func],
            args=trl.GRPOConfig(
                **{
                    "output_dir": folder,
                    "per_device_train_batch_size": 4,
                    "num_generations": 4,
                    "learning_rate": 1e-4,
                    "report_to": "none",
                    "bf16": False,
                    "gradient_checkpointing": False,
                    "use_cpu": True,
                    **arguments,
                }
            ),
            train_dataset=Dataset.from_list(b.rows()),
            processing_class=b.prompter.tokenizer,
        )
        change(trainer)
        problem = b.problems[0]
        good = b.prompter.target_ids(b.prompter.target(problem.rationale or "", problem.gold))
        bad = b.prompter.target_ids(b.prompter.target("a guess", "0"))
        if arguments.get("mask_truncated_completions"):
            good, bad = good[:-1], bad[:-1]
        return diagnose_smoke(smoke_step(trainer, b.prompter.prompt_ids(problem.question), good, bad))


def adapter_is_frozen(b: Bench) -> list[Finding]:
    return smoke(b, lambda t: [p.requires_grad_(False) for p in t.model.parameters()] and None)


def every_completion_masked(b: Bench) -> list[Finding]:
    return smoke(b, lambda t: None, mask_truncated_completions=True)


def gradient_is_cut(b: Bench) -> list[Finding]:
    def change(t: GRPOTrainer) -> None:
        inner = t.model.get_base_model().model
        inner.norm.register_forward_hook(lambda module, inputs, output: output.detach())

    return smoke(b, change)


def weights_not_finite(b: Bench) -> list[Finding]:
    def change(t: GRPOTrainer) -> None:
        t.model.get_base_model().model.norm.weight.data[0] = float("nan")

    return smoke(b, change)


PLANTS: list[Plant] = [
    (column_renamed, "column-missing"),
    (golds_blank, "gold-missing"),
    (golds_unreadable, "gold-unparsable"),
    (golds_shuffled, "gold-contradicted"),
    (golds_off_by_one_row, "gold-contradicted"),
    (evaluation_in_training, "overlap"),
    (reward_wants_another_column, "reward-raises"),
    (reward_parses_with_float, "reward-raises"),
    (reward_returns_one_short, "reward-wrong-length"),
    (reward_returns_nan, "reward-not-a-number"),
    (reward_cannot_tell, "reward-undecided"),
    (reward_hangs, "reward-times-out"),
    (reward_compares_the_whole_text, "reward-blind"),
    (reward_compares_with_a_decimal_point, "reward-blind"),
    (reward_pays_any_number, "reward-pays-wrong"),
    (rewards_of_opposite_weight, "rewards-cancel"),
    (length_penalty_outweighs, "outcome-outweighed"),
    (template_opens_thinking, "template-opens-thinking"),
    (template_drops_reasoning, "template-drops-reasoning"),
    (template_ignores_system, "template-ignores-system"),
    (padding_ends_the_turn, "pad-is-end"),
    (cold_base, "no-format"),
    (cap_too_short, "truncated"),
    (cap_cuts_the_answer, "truncated"),
    (end_token_is_another, "never-stops"),
    (temperature_too_low, "sampling-degenerate"),
    (top_p_of_almost_nothing, "sampling-degenerate"),
    (problems_of_twelve_steps, "too-hard"),
    (problems_already_solved, "saturated"),
    (warm_start_cost_the_skill, "skill-lost"),
    (adapter_is_frozen, "adapter-frozen"),
    (every_completion_masked, "all-masked"),
    (gradient_is_cut, "gradient-blocked"),
    (weights_not_finite, "not-a-number"),
]

HEALTHY: list[tuple[str, dict[str, Any]]] = [
    ("as the recipe is", {}),
    ("groups of 4", {"group_size": 4}),
    ("groups of 16", {"group_size": 16, "completions": 16}),
    ("temperature 0.8", {"temperature": 0.8}),
    ("temperature 1.2", {"temperature": 1.2, "cap": 160}),
    ("nucleus 0.95", {"top_p": 0.95}),
    ("twice the cap", {"cap": 224}),
    ("32 problems", {"problems": 32}),
    ("outcome alone", {"rewards": [correctness_reward_func]}),
    ("outcome five times as heavy", {"reward_weights": [1.0, 5.0]}),
]


def warm_adapter(given: Path | None) -> Path:
    """Return the warm start of a run of ``tiny``; made if none is given."""
    if given is not None:
        return given / "warmup" / "adapter"
    out = Path(tempfile.mkdtemp()) / "run"
    run_recipe(load_recipe("tiny", ["eval.problems=8"]), out, recipe_yaml=recipe_text("tiny"), until="sft")
    return out / "warmup" / "adapter"


def judge(text: str, plants: Sequence[Plant], healthy: Sequence[tuple[str, dict[str, Any]]] = ()) -> int:
    """Run every plant and every healthy set-up; return 1 if one is judged wrongly."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    adapter, wrong = warm_adapter(arguments.run), 0
    benches = [Bench(adapter, seed) for seed in range(arguments.seeds)]
    print("| planted fault | expected first | named first |\n|---|---|---|")
    for plant, expected in plants:
        if arguments.only not in plant.__name__:
            continue
        named = [next((f.code for f in plant(bench)), "nothing") for bench in benches]
        wrong += named != [expected] * len(named)
        shown = f"{sum(name == expected for name in named)} of {len(named)}"
        others = ", ".join(sorted(set(named) - {expected}))
        print(f"| {plant.__name__.replace('_', ' ')} | `{expected}` | {shown} {others} |", flush=True)
    if healthy:
        print("\n| healthy set-up | alarms |\n|---|---|")
    for name, changes in healthy:
        if arguments.only not in name:
            continue
        alarms = [f.code for bench in benches for f in bench.findings(**changes) if str(f.severity) != "note"]
        wrong += bool(alarms)
        print(f"| {name} | {', '.join(alarms) or 'none'} |", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(judge(__doc__ or "", PLANTS, HEALTHY))
