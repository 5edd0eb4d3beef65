"""The last rungs of the ladder: easier problems, by their measured solve rates, and larger groups, by the forecast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from warmstart.config.schema import Recipe
from warmstart.diagnosis.rules_probe import LIVE
from warmstart.pipeline.context import settings_of
from warmstart.plan import Plan
from warmstart.probing.probe import Probe, ProbeSettings
from warmstart.records import Problem

LAST_RUNGS = ("easier-problems", "larger-groups")
_SOLVED = 0.1
"""Share of right completions from which on problems of so many steps are worth asking."""


def climbed(name: str, plan: Plan, found: Probe, problems: Sequence[Problem]) -> Plan | None:
    """Return the plan one rung higher, by what a probe has seen; None if the rung cannot help."""
    if name == "easier-problems":
        most = _easier(found, problems)
        return None if most is None else replace(plan, most_steps=most)
    larger = next(
        (f.group_size for f in found.forecasts if f.live >= LIVE and f.group_size > found.facts.group_size),
        None,
    )
    if larger is None or larger > found.settings.largest_group:
        return None
    return replace(plan, group_size=larger)


def settings_under(recipe: Recipe, plan: Plan) -> ProbeSettings:
    """Return how a probe samples under a plan: with its group size, and no fewer completions."""
    settings = settings_of(recipe)
    size = plan.group_size or settings.group_size
    return replace(settings, group_size=size, completions=max(size, settings.completions))


def _easier(found: Probe, problems: Sequence[Problem]) -> int | None:
    """Return the most steps at which enough completions are right, if some problems have more."""
    steps_of = {problem.id: problem.steps for problem in problems}
    by_steps: dict[int, list[tuple[int, int]]] = {}
    for name, counts in found.solve_rates.items():
        steps = steps_of.get(name)
        if steps is not None:
            by_steps.setdefault(steps, []).append(counts)
    rates = {
        steps: sum(right for right, _ in counts) / max(1, sum(of for _, of in counts))
        for steps, counts in by_steps.items()
    }
    solved = [steps for steps, rate in rates.items() if rate >= _SOLVED]
    return max(solved) if solved and max(solved) < max(rates) else None
