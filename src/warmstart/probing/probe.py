"""Measure, before training, whether training can learn: sample, grade, diagnose.

The probe puts problems to the model exactly as training will (prompt, template, cap, temperature,
rewards), and turns what it sees into `ProbeFacts`; the diagnosis does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from warmstart import ranks
from warmstart.diagnosis import (
    UNFINISHED_WARN,
    Diagnosis,
    Finding,
    ProbeFacts,
    Severity,
    diagnose_data,
    diagnose_probe,
    diagnosis_of,
    explaining,
)
from warmstart.estimates import bootstrap_rate, wilson
from warmstart.forecast import Forecast, forecast, live_bound
from warmstart.models import Lazy
from warmstart.probing.facts import Asked, data_facts, end_token, facts_of
from warmstart.probing.reward_calls import RewardFunction
from warmstart.probing.settings import ProbeSettings as ProbeSettings
from warmstart.rollouts import Completion, generate
from warmstart.rollouts.journal import Journal
from warmstart.rollouts.server import Server, sample
from warmstart.tags import DEFAULT_TAGS, Tags
from warmstart.templates.plumbing import inspect_template

GROUP_SIZES = (2, 4, 8, 16, 32, 64)
"""What the live share is forecast for."""
_IN_THE_PROMPT = frozenset(
    {
        "template-missing",
        "template-foreign",
        "template-opens-thinking",
        "template-begins-turn",
        "template-opens-no-turn",
        "template-rewrites-text",
        "template-ignores-system",
        "bos-missing",
        "tags-skipped",
        "text-not-kept",
    }
)
"""Faults of a template or tokenizer that reach what is sampled; the others harm SFT targets alone."""
OUTCOME = "correctness_reward_func"
_CONTROL = (16, 4)
"""Problems, and completions of each, of that look at the model's own distribution."""
_PERCENTILES = (50, 90, 95, 99)
_CAP_SLACK = 1.25
"""The advised cap is this much above the 99th percentile of the lengths."""


@dataclass(frozen=True)
class Probe:
    """What a probe found.

    Attributes:
        diagnosis: GO, FIX or STOP, with the findings.
        facts: The numbers behind it.
        forecasts: The live share to expect at each group size.
        live_bound: Upper bound of the live share at the largest affordable group size, counting an answer
            as right wherever it stands: what a cure could make of this model.
        problem_ids: Of the P problems, in order.
        settings: How it sampled.
    """

    diagnosis: Diagnosis
    facts: ProbeFacts
    forecasts: tuple[Forecast, ...]
    live_bound: float
    problem_ids: tuple[str, ...]
    settings: ProbeSettings

    @property
    def solve_rates(self) -> dict[str, tuple[int, int]]:
        """Right and graded completions of each problem: the prior of an adaptive sampler."""
        outcome = self.facts.outcome_P_K
        return {
            name: (int(np.nansum(row)), int((~np.isnan(row)).sum()))
            for name, row in zip(self.problem_ids, outcome, strict=True)
        }

    @property
    def lengths(self) -> dict[str, float]:
        """Percentiles of the completions' tokens, and the cap they imply."""
        tokens = self.facts.tokens_P_K
        found = {f"p{q}": float(np.percentile(tokens, q)) for q in _PERCENTILES}
        return found | {"advised_cap": float(np.ceil(found["p99"] * _CAP_SLACK / 16) * 16)}

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the texts, as probe/*.json holds it."""
        facts = self.facts
        groups = [len(set(texts)) / len(texts) for texts in facts.texts]
        rates = {
            "format": facts.format_P_K.astype(float),
            "strict": facts.strict_P_K,
            "lenient": facts.lenient_P_K,
            "outcome": facts.outcome_P_K,
        }
        return {
            **self.diagnosis.to_dict(),
            "headline": self.diagnosis.headline(),
            "problems": facts.problems,
            "completions": facts.completions,
            "rates": {name: _rate(values) for name, values in rates.items()},
            "rewards": {
                name: _mean(facts.rewards_P_K_R[:, :, index]) for index, name in enumerate(facts.reward_names)
            },
            "signal": facts.signal(),
            "live_bound": self.live_bound,
            "forecast": [found.to_dict() for found in self.forecasts],
            "entropy": facts.entropy,
            "four_bit_gap": facts.four_bit_gap,
            "distinct_share": float(np.mean(groups)),
            "unfinished_share": facts.unfinished,
            "lengths": self.lengths,
            "group_size": facts.group_size,
            "cap": facts.cap,
            "temperature": facts.temperature,
            "solve_rates": {name: list(counts) for name, counts in self.solve_rates.items()},
        }


def _mean(paid_P_K: Any) -> float | None:  # noqa: ANN401
    known = paid_P_K[~np.isnan(paid_P_K)]
    return float(known.mean()) if known.size else None


def _rate(values_P_K: Any) -> dict[str, Any] | None:  # noqa: ANN401
    known = [row[~np.isnan(row)] for row in values_P_K]
    means = [float(row.mean()) for row in known if row.size]
    if not means:
        return None
    if not any(means):
        # Nothing seen is a bound, and it counts completions: none of n says p < 3/n.
        return wilson(0, sum(row.size for row in known)).to_dict() | {"below": 3 / sum(map(len, known))}
    return bootstrap_rate(means).to_dict()


def probe(
    model: Any,  # noqa: ANN401
    tokenizer: Any,  # noqa: ANN401
    dataset: Iterable[Mapping[str, Any]],
    reward_funcs: Sequence[RewardFunction],
    *,
    reward_weights: Sequence[float] | None = None,
    outcome: str | None = None,
    tags: Tags = DEFAULT_TAGS,
    settings: ProbeSettings | None = None,
    prefill: str = "",
    stage: str = "probe",
    plumbing: Sequence[Finding] | None = None,
    is_last_rung: bool = False,
    on_progress: Callable[[int], None] | None = None,
    journal: Journal | None = None,
    **facts: Any,  # noqa: ANN401
) -> Probe:
    """Return what GRPO would meet if it started from here.

    It takes what `trl.GRPOTrainer` takes: rows with ``prompt`` (text or messages) and the columns the
    rewards ask for; the gold answer is in ``answer``.

    Args:
        model: A causal language model, with an adapter or not; a `models.Lazy` one; or a server, which is asked in
            its own chat template and tells no entropy.
        tokenizer: Its tokenizer, None with a server; messages are rendered with its chat template.
        dataset: At least ``settings.problems`` rows; more are left alone.
        reward_funcs: As `trl.GRPOTrainer` takes them.
        reward_weights: One per function; 1 each by default.
        outcome: Name of the reward that says whether the answer is right; by default
            `correctness_reward_func` if it is among them, else the strict verdict.
        tags: The answer format.
        settings: How to sample.
        prefill: What the prompt has already written of the completion; it is graded with it.
        stage: What the diagnosis is called.
        plumbing: Findings about template and tokenizer; None makes them of the tokenizer as it is.
        is_last_rung: No cure is left to try.
        on_progress: Called with the number of completions of each batch.
        journal: Keeps every batch; those it holds already are not drawn again.
        **facts: Further attributes of `ProbeFacts`: ``is_warmed``, ``lenient_before``, ….

    Raises:
        ValueError: If the data set is empty, or the outcome is none of the rewards.
    """
    settings = settings or ProbeSettings()
    rows = [dict(row) for row in islice(iter(dataset), settings.problems)]
    if not rows:
        raise ValueError("the data set is empty: there is nothing to probe")
    names = tuple(getattr(f, "__name__", type(f).__name__) for f in reward_funcs)
    outcome = outcome if outcome is not None else OUTCOME if OUTCOME in names else None
    prompts, completions = _sampled(model, tokenizer, rows, settings, on_progress, journal)
    asked = Asked(rows, prompts, tags, settings, prefill)
    controls = {} if isinstance(model, Server) else _controls(model, tokenizer, asked, completions)
    # Rewards and graders have clocks: what they say is said once, to all processes of the run.
    seen = ranks.from_main(
        lambda: facts_of(
            asked,
            completions,
            reward_funcs,
            weights=reward_weights,
            outcome=outcome,
            extra=controls | facts,
        )
    )
    found = _template(tokenizer, rows, tags) if plumbing is None else plumbing
    told = {one.code for one in found}
    data = [one for one in diagnose_data(data_facts(rows)) if one.code not in told]
    findings = explaining([*found, *data, *diagnose_probe(seen)])
    solved = seen.outcome_P_K
    if not seen.solves_nothing:
        solved = np.fmax(seen.lenient_P_K, np.nan_to_num(solved))
    reachable = live_bound(solved, settings.largest_group)
    return Probe(
        diagnosis=diagnosis_of(
            stage, findings, seen.signal(), live_bound=reachable, is_last_rung=is_last_rung
        ),
        facts=seen,
        forecasts=tuple(
            forecast(seen.outcome_P_K, GROUP_SIZES, problems=settings.problems, seed=settings.seed)
        ),
        live_bound=reachable,
        problem_ids=tuple(str(row.get("problem_id", place)) for place, row in enumerate(rows)),
        settings=settings,
    )


def _sampled(
    model: Any,  # noqa: ANN401
    tokenizer: Any,  # noqa: ANN401
    rows: Sequence[Mapping[str, Any]],
    settings: ProbeSettings,
    on_progress: Callable[[int], None] | None,
    journal: Journal | None,
) -> tuple[list[list[int]], list[list[Completion]]]:
    """Return the tokens of the prompts, which nobody knows of a server's, and the completions."""
    how: dict[str, Any] = {
        "samples": settings.completions,
        "max_tokens": settings.cap,
        "seed": settings.seed,
        "on_progress": on_progress,
    }
    if isinstance(model, Server):
        conversations = [row["prompt"] for row in rows]
        if any(isinstance(prompt, str) for prompt in conversations):
            raise ValueError("a server is probed with conversations: its chat template makes the prompt")
        heat, top_p = settings.temperature, settings.top_p
        return [[] for _ in rows], sample(model, conversations, temperature=heat, top_p=top_p, **how)
    prompts = [_prompt_ids(tokenizer, row["prompt"]) for row in rows]
    completions = generate(
        model,
        tokenizer,
        prompts,
        batch_size=settings.batch_size,
        journal=journal,
        **settings.sampler,
        **how,
    )
    return prompts, completions


def _prompt_ids(tokenizer: Any, prompt: Any) -> list[int]:  # noqa: ANN401
    """Return the tokens TRL's trainer would make of the prompt."""
    if isinstance(prompt, str):
        return list(tokenizer(text=prompt)["input_ids"])
    rendered = tokenizer.apply_chat_template(
        prompt, add_generation_prompt=True, tokenize=True, return_dict=True
    )
    return list(rendered["input_ids"])


def _template(tokenizer: Any, rows: Sequence[Mapping[str, Any]], tags: Tags) -> list[Finding]:  # noqa: ANN401
    """Return what the template does to conversations; a warning where it would only harm SFT targets."""
    if tokenizer is None or isinstance(rows[0]["prompt"], str):
        return []
    roles = {message["role"] for row in rows for message in row["prompt"]}
    found = inspect_template(tokenizer, tags)
    return [
        one if one.code in _IN_THE_PROMPT or not one.is_serious else replace(one, severity=Severity.WARNING)
        for one in found
        if one.code != "template-ignores-system" or "system" in roles
    ]


def _controls(
    model: Any,  # noqa: ANN401
    tokenizer: Any,  # noqa: ANN401
    asked: Asked,
    completions: Sequence[Sequence[Completion]],
) -> dict[str, Any]:
    """Return what tells the sampler, or the end of the turn, from the model, where there is need to."""
    settings, told = asked.settings, dict[str, Any]()
    if settings.is_unusual:
        problems, samples = _CONTROL
        plain = generate(
            model,
            tokenizer,
            asked.prompts[:problems],
            samples=samples,
            temperature=1.0,
            max_tokens=settings.cap,
            batch_size=settings.batch_size,
            seed=settings.seed,
        )
        told["plain"] = asked.first(problems).rates(plain)
    unfinished = np.mean([not one.is_finished for group in completions for one in group])
    if unfinished >= UNFINISHED_WARN:
        loaded = model.loaded() if isinstance(model, Lazy) else model
        told["end_token"] = end_token(loaded, tokenizer, asked, completions)
    return told
