"""What happened in a run and when: probes, cures, measurements, stages of the reward plan, findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from warmstart import estimates
from warmstart.report.clock import Clock
from warmstart.results.summary import STAGE_NAMES, describe_rate

LANES = ("findings", "cures", "probes")
"""The lanes of the time axis that hold moments; ``measured`` and ``reward plan`` are drawn elsewhere."""
_PLACES = {
    "base": ("probe", 0.3),
    "exemplar": ("probe", 0.65),
    "prefill": ("probe", 0.9),
    "warmup": ("sft", 0.97),
    "smoke": ("grpo", 0.0),
    "grpo": ("grpo", 1.0),
}
"""In which stage, and where in it, a probe is made; only the order is known exactly."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened.

    Attributes:
        at: Seconds of the run.
        lane: ``probes``, ``cures``, ``findings``, ``measured`` or ``reward plan``.
        name: What it was, in a word or two.
        words: What it said.
        step: The training step, if it was in one.
        is_bad: Whether it is something to worry about.
    """

    at: float
    lane: str
    name: str
    words: str
    step: int | None = None
    is_bad: bool = False


def moments_of(
    summary: Mapping[str, Any], clock: Clock, stage_changes: Sequence[tuple[int, str]]
) -> list[Moment]:
    """Return everything that happened, in order."""
    found = [
        *_probes(summary, clock),
        *_cures(summary, clock),
        *_measured(summary, clock),
        *_plan(clock, stage_changes),
        *_events(summary, clock),
    ]
    return sorted(found, key=lambda moment: moment.at)


def _probes(summary: Mapping[str, Any], clock: Clock) -> list[Moment]:
    cured = {name for cure in summary.get("cures") or [] for name in (cure["name"], _probe_of(cure["name"]))}
    found = []
    for probe in summary.get("verdicts") or []:
        at = _place(clock, probe["stage"])
        if probe["stage"] in cured or at is None:
            continue
        codes = ", ".join(finding["code"] for finding in probe["findings"])
        first = next((f"{f['evidence']}; {f['advice']}" for f in probe["findings"]), "nothing in the way")
        is_bad = probe["verdict"] != "GO"
        found.append(
            Moment(at, "probes", f"{probe['verdict']}{codes and f' ({codes})'}", first, is_bad=is_bad)
        )
    return found


def _cures(summary: Mapping[str, Any], clock: Clock) -> list[Moment]:
    found = []
    for cure in summary.get("cures") or []:
        at = _place(clock, _probe_of(cure["name"]))
        if at is None:
            continue
        before, after = cure["before"], cure["after"]
        changes = ", ".join(
            f"{words} {estimates.percent(before[key])} → {estimates.percent(after[key])} %"
            for key, words in (
                ("format", "format"),
                ("lenient", "right anywhere"),
                ("live_share", "live groups"),
            )
        )
        is_bad = after["verdict"] != "GO"
        found.append(Moment(at, "cures", cure["name"], f"{changes}: {after['verdict']}", is_bad=is_bad))
    return found


def _measured(summary: Mapping[str, Any], clock: Clock) -> list[Moment]:
    found = []
    for stage, result in summary["eval"].items():
        span = clock.of_stage(f"eval-{stage}")
        rates = result.get("greedy")
        if span is not None and rates:
            words = f"strict {describe_rate(rates['strict'], result['n'])} greedy"
            found.append(Moment(span.end, "measured", STAGE_NAMES[stage], words))
    return found


def _plan(clock: Clock, changes: Sequence[tuple[int, str]]) -> list[Moment]:
    told = ((clock.of_step("grpo", step), step, stage) for step, stage in changes)
    return [
        Moment(at, "reward plan", stage, f"the rewards are weighed for “{stage}”", step)
        for at, step, stage in told
        if at is not None
    ]


def _events(summary: Mapping[str, Any], clock: Clock) -> list[Moment]:
    found = []
    for event in summary.get("events") or []:
        at = clock.of_step("grpo", event["step"])
        if at is not None:
            words = f"{event['evidence']}; {event['advice']}"
            is_bad = event.get("severity") != "note"
            found.append(Moment(at, "findings", event["code"], words, event["step"], is_bad))
    return found


def _probe_of(cure: str) -> str:
    return "warmup" if "warm-start" in cure else cure


def _place(clock: Clock, stage: str) -> float | None:
    name, share = _PLACES.get(stage, ("", 0.0))
    span = clock.of_stage(name)
    return None if span is None else span.start + share * (span.end - span.start)
