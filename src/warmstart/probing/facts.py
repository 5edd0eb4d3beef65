"""From completions to the facts a diagnosis is made of: graded, rewarded, counted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from warmstart.diagnosis import DataFacts, EndToken, PlainRates, ProbeFacts, UnparsableGold, told_twice
from warmstart.diagnosis.texts import answer_end, closed_blocks
from warmstart.grading.verdicts import check_gold, grade, grade_lenient
from warmstart.models import evaluating, stop_ids
from warmstart.probing.reward_calls import RewardFunction, call_rewards
from warmstart.probing.settings import ProbeSettings
from warmstart.records import Verdict
from warmstart.rollouts import Completion
from warmstart.tags import Tags, parse

_MEASURED = 16
"""Completions whose end of turn is looked at."""
_ALIKE = 0.99
"""Cosine from which on an embedding is one of those that no training has touched."""


@dataclass(frozen=True)
class Asked:
    """What was put to the model, and how.

    Attributes:
        rows: The data set's rows.
        prompts: Their tokens.
        tags: The answer format.
        settings: How completions are sampled.
        prefill: What the prompt has already written of a completion.
    """

    rows: Sequence[Mapping[str, Any]]
    prompts: Sequence[list[int]]
    tags: Tags
    settings: ProbeSettings
    prefill: str

    def first(self, problems: int) -> Asked:
        """Return the same of the first problems alone."""
        return replace(self, rows=self.rows[:problems], prompts=self.prompts[:problems])

    @property
    def golds(self) -> list[str]:
        """The gold answers; none if the data has no such column."""
        return [str(row.get("answer", "")) for row in self.rows] if "answer" in self.rows[0] else []

    @property
    def tags_asked_P(self) -> list[frozenset[str]]:
        """The blocks that each prompt speaks of."""
        return [closed_blocks(_said(row["prompt"])) for row in self.rows]

    def texts(self, groups: Sequence[Sequence[Completion]]) -> list[list[str]]:
        """Return what the model wrote, with what the prompt had written of it in front."""
        return [[self.prefill + completion.text for completion in group] for group in groups]

    def rates(self, groups: Sequence[Sequence[Completion]]) -> PlainRates:
        """Return how many completions have the format and how many are right anywhere."""
        texts = self.texts(groups)
        exact = [parse(text, self.tags).strict for group in texts for text in group]
        golds = self.golds or [""] * len(texts)
        right = [
            grade_lenient(text, gold, tags=self.tags).verdict is Verdict.CORRECT
            for group, gold in zip(texts, golds, strict=True)
            for text in group
        ]
        return PlainRates(len(exact), sum(exact), sum(right))


def _said(prompt: Any) -> str:  # noqa: ANN401
    if isinstance(prompt, str):
        return prompt
    return "\n".join(str(message["content"]) for message in prompt)


def facts_of(
    asked: Asked,
    groups: Sequence[Sequence[Completion]],
    reward_funcs: Sequence[RewardFunction],
    *,
    weights: Sequence[float] | None,
    outcome: str | None,
    extra: Mapping[str, Any],
) -> ProbeFacts:
    """Return what completions of the rows amount to; ``extra`` are attributes known from elsewhere."""
    settings, tags = asked.settings, asked.tags
    samples = settings.completions
    names = tuple(getattr(f, "__name__", type(f).__name__) for f in reward_funcs)
    shape = (len(asked.rows), samples)
    texts = asked.texts(groups)
    flat_texts = [text for group in texts for text in group]
    values, faults = _rewards(asked, groups, flat_texts, reward_funcs)
    parsed = [parse(text, tags) for text in flat_texts]
    graded = _graded(asked, flat_texts, [p.strict for p in parsed])
    tokens = np.array([[completion.tokens for completion in group] for group in groups])
    return ProbeFacts(
        **{
            "format_P_K": np.array([p.strict for p in parsed]).reshape(shape),
            "strict_P_K": graded.strict.reshape(shape),
            "lenient_P_K": graded.lenient.reshape(shape),
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
            "top_k": settings.top_k,
            "top_p": settings.top_p,
            "repetition_penalty": settings.repetition_penalty,
            "entropy": _mean_entropy(groups),
            # A server tells neither tokens nor their log-probabilities: that is unknown, not broken.
            "not_finite": sum(
                bool(one.ids) and not math.isfinite(one.log_prob) for group in groups for one in group
            ),
            "given_P_K": [graded.given[at : at + samples] for at in range(0, len(flat_texts), samples)],
            "golds": asked.golds,
            "tags_asked_P": asked.tags_asked_P,
            "faults": faults,
            "tags": tags,
            **extra,
        }
    )


def _mean_entropy(groups: Sequence[Sequence[Completion]]) -> float | None:
    """Return the mean entropy over all tokens in nats; None if it is no number."""
    told = [(one.entropy * one.tokens, one.tokens) for group in groups for one in group]
    entropy = sum(total for total, _ in told) / sum(tokens for _, tokens in told)
    return entropy if math.isfinite(entropy) else None


def _rewards(
    asked: Asked,
    groups: Sequence[Sequence[Completion]],
    texts: Sequence[str],
    reward_funcs: Sequence[RewardFunction],
) -> Any:  # noqa: ANN401
    is_conversation = not isinstance(asked.rows[0]["prompt"], str)
    return call_rewards(
        reward_funcs,
        [row for row in asked.rows for _ in range(asked.settings.completions)],
        [[{"role": "assistant", "content": text}] for text in texts] if is_conversation else texts,
        [completion.ids for group in groups for completion in group],
        time_limit_s=asked.settings.reward_limit_s,
    )


@dataclass(frozen=True)
class _Graded:
    strict: Any
    lenient: Any
    given: list[str | None]


def _graded(asked: Asked, texts: Sequence[str], exact: Sequence[bool]) -> _Graded:
    """Return 1, 0 or NaN for each text: right in the exact format, right anywhere; and its answer."""
    if not asked.golds:
        nothing = np.full(len(texts), np.nan)
        return _Graded(nothing, nothing.copy(), [None] * len(texts))
    golds = [gold for gold in asked.golds for _ in range(asked.settings.completions)]
    closely = [grade(text, gold, tags=asked.tags) for text, gold in zip(texts, golds, strict=True)]
    loosely = [grade_lenient(text, gold, tags=asked.tags) for text, gold in zip(texts, golds, strict=True)]
    strict = [_as_number(g.verdict) if ok else 0.0 for g, ok in zip(closely, exact, strict=True)]
    return _Graded(
        np.array(strict), np.array([_as_number(g.verdict) for g in loosely]), [g.given for g in loosely]
    )


def _as_number(verdict: Verdict) -> float:
    return float("nan") if verdict is Verdict.UNDECIDED else float(verdict is Verdict.CORRECT)


def data_facts(rows: Sequence[Mapping[str, Any]]) -> DataFacts:
    """Return what is amiss in the rows of a data set: golds and repeats."""
    missing = () if "answer" in rows[0] else ("answer",)
    if missing:
        return DataFacts(len(rows), missing, tuple(rows[0]))
    blank, unreadable = [], []
    for number, row in enumerate(rows, start=1):
        gold = row.get("answer")
        if gold is None or not str(gold).strip():
            blank.append(number)
        elif (reason := check_gold(str(gold))) is not None:
            unreadable.append(UnparsableGold(number, str(gold), reason))
    told = [(_said(row["prompt"]), str(row.get("answer")).strip()) for row in rows]
    return DataFacts(
        rows=len(rows),
        columns=tuple(rows[0]),
        without_gold=tuple(blank),
        unparsable=tuple(unreadable),
        **told_twice(told),
    )


@torch.no_grad()
def end_token(
    model: Any,  # noqa: ANN401
    tokenizer: Any,  # noqa: ANN401
    asked: Asked,
    groups: Sequence[Sequence[Completion]],
) -> EndToken:
    """Return how likely the model ends its turn right after a complete answer, and whether it ever learnt to."""
    stops = stop_ids(model, tokenizer)
    found: list[float] = []
    with evaluating(model):
        for prompt, group in zip(asked.prompts, groups, strict=True):
            text = asked.prefill + group[0].text
            end = answer_end(text, asked.tags)
            if end is None or end <= len(asked.prefill) or len(found) >= _MEASURED:
                continue
            written = tokenizer(text[len(asked.prefill) : end], add_special_tokens=False)["input_ids"]
            ids = torch.tensor([[*prompt, *written]], device=model.device)
            logits = model(input_ids=ids).logits[0, -1].float()
            found.append(float(torch.softmax(logits, dim=-1)[stops].sum()))
    return EndToken(
        str(tokenizer.eos_token),
        probability=float(np.mean(found)) if found else None,
        is_untrained=_is_untrained(model, tokenizer),
    )


def _is_untrained(model: Any, tokenizer: Any) -> bool | None:  # noqa: ANN401
    """Return whether the end token's embedding is like those beyond the vocabulary, which nothing trains."""
    weight = model.get_input_embeddings().weight
    reserved = weight[len(tokenizer) :].float()
    if len(reserved) < 2:
        return None
    mean, own = reserved.mean(dim=0), weight[tokenizer.eos_token_id].float()
    cosine = float(torch.nn.functional.cosine_similarity(mean, own, dim=0))
    return not math.isnan(cosine) and cosine > _ALIKE
