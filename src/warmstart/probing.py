"""Measure, before training, whether training can learn: sample, grade, diagnose.

The probe puts problems to the model exactly as training will (prompt, template, cap, temperature,
rewards), and turns what it sees into `ProbeFacts`; the diagnosis does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from warmstart.diagnosis import (
    DataFacts,
    Diagnosis,
    Finding,
    ProbeFacts,
    UnparsableGold,
    diagnose_data,
    diagnose_probe,
    diagnosis_of,
    explaining,
)
from warmstart.estimates import bootstrap_rate, wilson
from warmstart.forecast import Forecast, forecast, live_bound
from warmstart.grading import check_gold, grade, grade_lenient
from warmstart.records import Verdict
from warmstart.reward_calls import TIME_LIMIT_S, RewardFunction, call_rewards
from warmstart.rollouts import Completion, generate
from warmstart.tags import DEFAULT_TAGS, Tags, parse

GROUP_SIZES = (2, 4, 8, 16, 32, 64)
"""What the live share is forecast for."""
OUTCOME = "correctness_reward_func"
_PERCENTILES = (50, 90, 95, 99)
_CAP_SLACK = 1.25
"""The advised cap is this much above the 99th percentile of the lengths."""


@dataclass(frozen=True)
class ProbeSettings:
    """How a probe samples; by default as `trl.GRPOConfig` would train.

    Attributes:
        problems: How many.
        completions: Of each.
        group_size: Completions per problem in the run to come.
        largest_group: The largest group size the run could afford; STOP is judged there.
        cap: Most tokens of a completion.
        temperature: Of sampling.
        top_p: Of sampling.
        batch_size: Completions generated at once.
        seed: Of sampling.
        reward_limit_s: A reward function that takes longer for the probe's completions has run out of time.
    """

    problems: int = 64
    completions: int = 8
    group_size: int = 8
    largest_group: int = 16
    cap: int = 512
    temperature: float = 1.0
    top_p: float = 1.0
    batch_size: int = 64
    seed: int = 0
    reward_limit_s: float = TIME_LIMIT_S

    @property
    def most_tokens(self) -> int:
        """The most tokens the probe generates: its cost, known before it starts."""
        return self.problems * self.completions * self.cap


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
            "signal": facts.signal(),
            "live_bound": self.live_bound,
            "forecast": [found.to_dict() for found in self.forecasts],
            "entropy": facts.entropy,
            "distinct_share": float(np.mean(groups)),
            "unfinished_share": facts.unfinished,
            "lengths": self.lengths,
            "group_size": facts.group_size,
            "cap": facts.cap,
            "temperature": facts.temperature,
            "solve_rates": {name: list(counts) for name, counts in self.solve_rates.items()},
        }


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
    plumbing: Sequence[Finding] = (),
    is_last_rung: bool = False,
    on_progress: Callable[[int], None] | None = None,
    **facts: Any,  # noqa: ANN401
) -> Probe:
    """Return what GRPO would meet if it started from here.

    It takes what `trl.GRPOTrainer` takes: rows with ``prompt`` (text or messages) and the columns the
    rewards ask for; the gold answer is in ``answer``.

    Args:
        model: A causal language model, with an adapter or not.
        tokenizer: Its tokenizer; messages are rendered with its chat template.
        dataset: At least ``settings.problems`` rows; more are left alone.
        reward_funcs: As `trl.GRPOTrainer` takes them.
        reward_weights: One per function; 1 each by default.
        outcome: Name of the reward that says whether the answer is right; by default
            `correctness_reward_func` if it is among them, else the strict verdict.
        tags: The answer format.
        settings: How to sample.
        prefill: What the prompt has already written of the completion; it is graded with it.
        stage: What the diagnosis is called.
        plumbing: Findings about template and tokenizer, made elsewhere.
        is_last_rung: No cure is left to try.
        on_progress: Called with the number of completions of each batch.
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
    completions = generate(
        model,
        tokenizer,
        [_prompt_ids(tokenizer, row["prompt"]) for row in rows],
        samples=settings.completions,
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_tokens=settings.cap,
        batch_size=settings.batch_size,
        seed=settings.seed,
        on_progress=on_progress,
    )
    seen = _facts(
        rows, completions, reward_funcs, names, reward_weights, outcome, tags, settings, prefill, facts
    )
    data = diagnose_data(_data_facts(rows))
    findings = explaining([*plumbing, *data, *diagnose_probe(seen)])
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


def _prompt_ids(tokenizer: Any, prompt: Any) -> list[int]:  # noqa: ANN401
    """Return the tokens TRL's trainer would make of the prompt."""
    if isinstance(prompt, str):
        return list(tokenizer(text=prompt)["input_ids"])
    rendered = tokenizer.apply_chat_template(
        prompt, add_generation_prompt=True, tokenize=True, return_dict=True
    )
    return list(rendered["input_ids"])


def _facts(
    rows: list[dict[str, Any]],
    groups: list[list[Completion]],
    reward_funcs: Sequence[RewardFunction],
    names: tuple[str, ...],
    weights: Sequence[float] | None,
    outcome: str | None,
    tags: Tags,
    settings: ProbeSettings,
    prefill: str,
    extra: Mapping[str, Any],
) -> ProbeFacts:
    shape = (len(rows), settings.completions)
    texts = [[prefill + completion.text for completion in group] for group in groups]
    flat_rows = [row for row in rows for _ in range(settings.completions)]
    flat_texts = [text for group in texts for text in group]
    is_conversation = not isinstance(rows[0]["prompt"], str)
    values, faults = call_rewards(
        reward_funcs,
        flat_rows,
        [[{"role": "assistant", "content": text}] for text in flat_texts] if is_conversation else flat_texts,
        [completion.ids for group in groups for completion in group],
        time_limit_s=settings.reward_limit_s,
    )
    golds = [str(row.get("answer", "")) for row in rows]
    parsed = [parse(text, tags) for text in flat_texts]
    has_gold = "answer" in rows[0]
    nothing = np.full(len(flat_texts), np.nan)
    flat_golds = [gold for gold in golds for _ in range(settings.completions)]
    strict, lenient = nothing, nothing.copy()
    given: list[str | None] = [None] * len(flat_texts)
    if has_gold:
        graded = [grade(text, gold, tags=tags) for text, gold in zip(flat_texts, flat_golds, strict=True)]
        loosely = [
            grade_lenient(text, gold, tags=tags) for text, gold in zip(flat_texts, flat_golds, strict=True)
        ]
        strict = np.array(
            [_as_number(g.verdict) if p.strict else 0.0 for g, p in zip(graded, parsed, strict=True)]
        )
        lenient = np.array([_as_number(g.verdict) for g in loosely])
        given = [g.given for g in loosely]
    tokens = np.array([[completion.tokens for completion in group] for group in groups])
    entropies = np.array([[completion.entropy for completion in group] for group in groups])
    return ProbeFacts(
        **{
            "format_P_K": np.array([p.strict for p in parsed]).reshape(shape),
            "strict_P_K": strict.reshape(shape),
            "lenient_P_K": lenient.reshape(shape),
            "answered_P_K": np.array([p.answer_blocks > 0 for p in parsed]).reshape(shape),
            "finished_P_K": np.array([[completion.is_finished for completion in group] for group in groups]),
            "tokens_P_K": tokens,
            "rewards_P_K_R": values.reshape(*shape, len(names)),
            "reward_names": names,
            "weights": tuple(weights or [1.0] * len(names)),
            "outcome": outcome,
            "texts": texts,
            "group_size": settings.group_size,
            "cap": settings.cap,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "entropy": float((entropies * tokens).sum() / tokens.sum()),
            "given_P_K": [
                given[start : start + settings.completions]
                for start in range(0, len(given), settings.completions)
            ],
            "golds": golds if has_gold else (),
            "faults": faults,
            "tags": tags,
            **extra,
        }
    )


def _as_number(verdict: Verdict) -> float:
    return float("nan") if verdict is Verdict.UNDECIDED else float(verdict is Verdict.CORRECT)


def _data_facts(rows: Sequence[Mapping[str, Any]]) -> DataFacts:
    missing = () if "answer" in rows[0] else ("answer",)
    blank, unreadable = [], []
    for number, row in enumerate(rows, start=1):
        gold = row.get("answer")
        if missing:
            break
        if gold is None or not str(gold).strip():
            blank.append(number)
        elif (reason := check_gold(str(gold))) is not None:
            unreadable.append(UnparsableGold(number, str(gold), reason))
    return DataFacts(
        rows=len(rows),
        missing_columns=missing,
        columns=tuple(rows[0]),
        without_gold=tuple(blank),
        unparsable=tuple(unreadable),
    )
