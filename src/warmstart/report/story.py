"""The run in a handful of cards: a model, what was done to it, the model that came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from warmstart import estimates
from warmstart.report.clock import Clock
from warmstart.report.text import duration
from warmstart.results.summary import STAGE_NAMES, describe_bound
from warmstart.runs.directory import EVAL_STAGES

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Card:
    """One step of the story.

    Attributes:
        kind: ``model`` or ``deed``.
        title: What it is.
        big: The number to remember, blank for none.
        small: Its interval, or what it means.
        lines: The rest.
        is_bad: Whether the story ends here, or hurts.
    """

    kind: str
    title: str
    big: str = ""
    small: str = ""
    lines: list[str] = field(default_factory=list)
    is_bad: bool = False


def story(summary: Mapping[str, Any], clock: Clock, steps: Sequence[Row]) -> list[Card]:
    """Return the cards there is something to say on, in order."""
    measured = summary["eval"]
    cards = {
        "base": _model(summary, "base"),
        "cure": _cure(summary, clock),
        "warmup": _model(summary, "warmup") if "warmup" in measured else None,
        "deed": _grpo(summary, clock, steps),
        "grpo": _model(summary, "grpo") if "grpo" in measured else None,
    }
    return [card for card in cards.values() if card is not None]


def _model(summary: Mapping[str, Any], stage: str) -> Card | None:
    """Return one measured model; the base is there as soon as it was probed."""
    result = summary["eval"].get(stage)
    probe = next((one for one in summary.get("verdicts") or [] if one["stage"] == stage), None)
    lines = []
    if stage == "base" and probe is not None:
        first = next(iter(probe["findings"]), None)
        lines.append(f"{probe['verdict']}: {first['evidence'] if first else 'nothing in the way'}")
    if result is None or not result.get("greedy"):
        is_stop = probe is not None and probe["verdict"] == "STOP"
        return None if not lines else Card("model", STAGE_NAMES[stage], lines=lines, is_bad=is_stop)
    rates, n = result["greedy"], result["n"]
    big, small = _rate(rates["strict"], n)
    for measure, words in (("lenient", "right in any form"), ("format", "in the format")):
        if rates.get(measure):
            value, _ = _rate(rates[measure], n)
            lines.insert(0 if measure == "lenient" else 1, f"{words}: {value}")
    sampled = result.get("sampled")
    if sampled and sampled.get("strict"):
        lines.insert(2, f"sampled: {_rate(sampled['strict'], n)[0]}")
    return Card("model", STAGE_NAMES[stage], big, small, lines)


def _rate(rate: Mapping[str, Any] | None, n: int) -> tuple[str, str]:
    if rate is None:
        return "–", ""
    if rate["value"] in (0, 1):
        return f"{'0 of' if rate['value'] == 0 else 'all'} {n:,}", describe_bound(rate)
    low, high = (f"{100 * end:.1f}" for end in rate["ci95"])
    return f"{estimates.percent(rate['value'])} %", f"{low} to {high} %"


def _cure(summary: Mapping[str, Any], clock: Clock) -> Card | None:
    cures = summary.get("cures") or []
    probe = next((one for one in summary.get("verdicts") or [] if one["stage"] == "base"), None)
    if not cures:
        if probe is None or probe["verdict"] == "GO":
            return None if clock.of_stage("sft") is None else Card("deed", "SFT", lines=_time(clock, "sft"))
        return Card("deed", probe["verdict"], lines=["no cure was tried"], is_bad=True)
    last = cures[-1]
    before, after = last["before"], last["after"]
    lines = [
        f"{words} {estimates.percent(before[key])} → {estimates.percent(after[key])} %"
        for key, words in (("format", "format"), ("lenient", "right"), ("live_share", "live groups"))
    ]
    tried = ", ".join(dict.fromkeys(cure["name"] for cure in cures[:-1]))
    if tried:
        lines.append(f"tried before it: {tried}")
    if "warm-start" in last["name"]:
        lines += _time(clock, "sft")
    is_bad = after["verdict"] != "GO"
    title = f"{'tried' if is_bad else 'cured by'} {last['name'].replace('-', ' ')}"
    return Card("deed", title, after["verdict"], "the probe after it", lines, is_bad)


def _grpo(summary: Mapping[str, Any], clock: Clock, steps: Sequence[Row]) -> Card | None:
    if not steps:
        return None
    live = summary["signal"]["live_share"]
    lines = [] if live is None else [f"{estimates.percent(live)} % of the groups were live"]
    bad = [event for event in summary.get("events") or [] if event.get("severity") != "note"]
    codes = ", ".join(dict.fromkeys(event["code"] for event in bad))
    lines.append(f"the watch: {codes}" if codes else "the watch found nothing")
    lines += _time(clock, "grpo")
    return Card("deed", "GRPO", f"{len(steps):,}", "step" if len(steps) == 1 else "steps", lines)


def _time(clock: Clock, stage: str) -> list[str]:
    span = clock.of_stage(stage)
    return [] if span is None else [duration(span.end - span.start)]


def gain(summary: Mapping[str, Any]) -> Row | None:
    """Return the paired test from the first measured model to the last: greedy, strict."""
    measured = [stage for stage in EVAL_STAGES if stage in summary["eval"]]
    if len(measured) < 2:
        return None
    wanted = (measured[0], measured[-1], "strict", "greedy")
    return next((t for t in summary["paired"] if (t["a"], t["b"], t["measure"], t["mode"]) == wanted), None)
