"""From graded completions to rates, paired tests, and what of a gain is format and what is math.

A result that could not be told (the verdict ``undecided``) is neither right nor wrong: it is left out of
the rate and counted under ``undecided``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from warmstart import estimates
from warmstart.estimates import Rate

Row = dict[str, Any]
Groups = Mapping[str, list[Row]]

MEASURES = ("strict", "lenient", "format")
"""Right answer in the exact format; right answer anywhere; exact format, whatever the answer."""
_UNDECIDED = {"strict": "verdict", "lenient": "lenient_verdict"}
_PART_RESAMPLES = 2_000
"""Bootstrap draws for the rates of a part of the problems: there are many of them."""
_QUARTERS = 4
_FEWEST_TO_QUARTER = 8
_SHOWN = 5


def summarise_eval(rows: Sequence[Row], *, temperature: float) -> dict[str, Any]:
    """Return the rates of one model, as eval/STAGE.json holds them.

    Rows of the split ``eval`` make the result; those of ``unseen`` the same again under ``unseen``.

    Args:
        rows: A row per completion.
        temperature: Of the sampled ones.
    """
    result = _summarise_split([row for row in rows if row["split"] == "eval"], temperature)
    unseen = [row for row in rows if row["split"] == "unseen"]
    return result | {"unseen": _summarise_split(unseen, temperature) if unseen else None}


def _summarise_split(rows: list[Row], temperature: float) -> dict[str, Any]:
    greedy, sampled = by_problem(rows, "greedy"), by_problem(rows, "sampled")
    everything = [[*greedy.get(key, []), *sampled.get(key, [])] for key in greedy | sampled]
    return {
        "n": len(everything),
        "greedy": _greedy_rates(greedy) if greedy else None,
        "sampled": _sampled_rates(sampled, temperature) if sampled else None,
        "truncated": _share(everything, is_truncated),
        "mean_tokens": _mean_tokens(rows),
        "undecided": sum(math.isnan(_result(row, "lenient")) for row in rows),
        "grading": _grading(rows),
        "by_family": _by(greedy, sampled, _column("family")),
        "by_steps": _by(greedy, sampled, _column("steps")),
        "by_length": _by(greedy, sampled, _quarters([group[0] for group in everything], _words, "words")),
        "by_tokens": _by(greedy, {}, _quarters([group[0] for group in greedy.values()], _tokens, "tokens")),
    }


def by_problem(rows: Iterable[Row], mode: str) -> dict[str, list[Row]]:
    """Return the completions of each problem in the order of their samples."""
    groups: dict[str, list[Row]] = {}
    for row in sorted((row for row in rows if row["mode"] == mode), key=lambda row: int(row["sample"])):
        groups.setdefault(row["problem_id"], []).append(row)
    return groups


def is_truncated(row: Row) -> bool:
    """Return whether the completion ran into the cap."""
    # Logs written before servers could be asked know only whether a completion ended by itself.
    return bool(row.get("truncated", not row["finished"]))


def _result(row: Row, measure: str) -> float:
    """Return 1 or 0, or NaN where it could not be told."""
    undecided = _UNDECIDED.get(measure)
    # What is not in the format is not strictly right, whatever the grader would have said.
    could_be_right = measure != "strict" or row["format"]
    if undecided and could_be_right and row[undecided] == "undecided":
        return math.nan
    return float(row[measure])


def means(groups: Groups, measure: str) -> dict[str, float]:
    """Return each problem's mean over the samples that could be told; problems without any are left out."""
    found = {}
    for key, group in groups.items():
        known = [result for row in group if not math.isnan(result := _result(row, measure))]
        if known:
            found[key] = sum(known) / len(known)
    return found


def _greedy_rates(groups: Groups) -> dict[str, Any]:
    firsts = [group[0] for group in groups.values()]
    return {
        **{measure: _wilson([_result(row, measure) for row in firsts]) for measure in MEASURES},
        "truncated": _wilson([float(is_truncated(row)) for row in firsts]),
        "ended": _wilson([float(row["finished"]) for row in firsts]),
        "mean_tokens": _mean_tokens(firsts),
    }


def _wilson(results: Sequence[float]) -> dict[str, Any] | None:
    known = [result for result in results if not math.isnan(result)]
    return estimates.wilson(round(sum(known)), len(known)).to_dict() if known else None


def _sampled_rates(groups: Groups, temperature: float) -> dict[str, Any]:
    samples = min(len(group) for group in groups.values())
    rates: dict[str, Any] = {"temperature": temperature, "samples": samples}
    for measure in MEASURES:
        rates[measure] = _bootstrap(means(groups, measure).values())
    rates["truncated"] = _share(groups.values(), is_truncated)
    rates["ended"] = _share(groups.values(), lambda row: bool(row["finished"]))
    rates["mean_tokens"] = _mean_tokens([row for group in groups.values() for row in group])
    # Counting the best or the most frequent of k needs every one of them to be told.
    whole = [group[:samples] for group in groups.values()]
    whole = [group for group in whole if not any(math.isnan(_result(row, "strict")) for row in group)]
    votes = [2**power for power in range(samples.bit_length())]
    strict = np.array([[_result(row, "strict") for row in group] for group in whole])
    answers = [[_vote(row) for row in group] for group in whole]
    rates["pass_at_k"] = {str(k): estimates.pass_at_k(strict, k).to_dict() for k in votes} if whole else {}
    rates["maj_at_k"] = (
        {str(k): estimates.majority_at_k(answers, strict, k).to_dict() for k in votes[1:]} if whole else {}
    )
    return rates


def _bootstrap(values: Iterable[float], resamples: int = estimates.RESAMPLES) -> dict[str, Any] | None:
    known = list(values)
    return estimates.bootstrap_rate(known, resamples=resamples).to_dict() if known else None


def _share(groups: Iterable[list[Row]], claim: Callable[[Row], bool]) -> dict[str, Any] | None:
    return _bootstrap(sum(map(claim, group)) / len(group) for group in groups)


def _mean_tokens(rows: Sequence[Row]) -> float | None:
    return float(np.mean([row["tokens"] for row in rows])) if rows else None


def _vote(row: Row) -> str | None:
    """Return the answer a completion votes for; right ones are one answer however they are spelt."""
    if not row["format"]:
        return None
    return str(row["gold"]) if row["strict"] else row["given"]


def _grading(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Return how the held-out reading and the path the rewards take agree; None if one only was kept."""
    read_twice = [row for row in rows if row.get("reward_verdict") is not None]
    if not read_twice:
        return None
    differing = [row for row in read_twice if row["strict"] != row["reward_strict"]]
    return {
        "completions": len(read_twice),
        "checked": sum(bool(row["checked"]) for row in read_twice),
        "unchecked": sum(bool(row["format"]) and not row["checked"] for row in read_twice),
        "differ": len(differing),
        "paid_and_wrong": sum(bool(row["reward_strict"]) for row in differing),
        "examples": [
            {
                key: row[key]
                for key in ("problem_id", "mode", "sample", "gold", "given", "strict", "reward_strict")
            }
            for row in differing[:_SHOWN]
        ],
    }


# -- parts of the problems ---------------------------------------------------------------------------


def _by(greedy: Groups, sampled: Groups, label: Callable[[Row], Any]) -> dict[str, Any]:
    """Return the rates of each value of a label, in order; problems without one are left out."""
    firsts = {key: group[0] for key, group in (*sampled.items(), *greedy.items())}
    labels = {key: value for key, row in firsts.items() if (value := label(row)) is not None}
    result = {}
    for value in sorted(set(labels.values())):
        keys = [key for key in firsts if labels.get(key) == value]
        inside = {key: greedy[key] for key in keys if key in greedy}
        drawn = {key: sampled[key] for key in keys if key in sampled}
        result[value[1] if isinstance(value, tuple) else str(value)] = {
            "n": len(keys),
            **{measure: _wilson([_result(g[0], measure) for g in inside.values()]) for measure in MEASURES},
            "sampled": {
                measure: _bootstrap(means(drawn, measure).values(), _PART_RESAMPLES) for measure in MEASURES
            }
            if drawn
            else None,
        }
    return result


def _column(name: str) -> Callable[[Row], Any]:
    return lambda row: row.get(name)


def _words(row: Row) -> int:
    return len(str(row.get("question") or "").split())


def _tokens(row: Row) -> int:
    return int(row["tokens"])


def _quarters(rows: Sequence[Row], size: Callable[[Row], int], unit: str) -> Callable[[Row], Any]:
    """Return the label of a row by its size: four parts of about as many rows, from short to long.

    Few rows, or rows of one size, have no parts.
    """
    sizes = sorted(map(size, rows))
    if len(sizes) < _FEWEST_TO_QUARTER or sizes[0] == sizes[-1]:
        return lambda row: None
    firsts = sorted({sizes[len(sizes) * part // _QUARTERS] for part in range(_QUARTERS)})
    ends = [*(first - 1 for first in firsts[1:]), sizes[-1]]

    def label(row: Row) -> tuple[int, str]:
        part = sum(size(row) >= first for first in firsts[1:])
        low, high = firsts[part], ends[part]
        return part, f"{low} {unit}" if low == high else f"{low}–{high} {unit}"

    return label


# -- two models --------------------------------------------------------------------------------------


def paired_rows(rows_a: Sequence[Row], rows_b: Sequence[Row], a: str, b: str) -> list[dict[str, Any]]:
    """Return the tests of model ``b`` against model ``a`` on the held-out problems both answered.

    Greedy completions: exact McNemar; sampled ones: permutation of per-problem means.
    """
    tests = []
    for mode, before, after in _modes(rows_a, rows_b):
        for measure in MEASURES:
            pairs = _shared(means(before, measure), means(after, measure))
            if pairs:
                names = {"a": a, "b": b, "mode": mode, "measure": measure, "n": len(pairs)}
                tests.append(names | _test(mode, pairs).to_dict())
    return tests


def gain_rows(rows_a: Sequence[Row], rows_b: Sequence[Row], a: str, b: str) -> list[dict[str, Any]]:
    """Return what of the change in strict accuracy from ``a`` to ``b`` is math and what is format.

    ``math`` is the change in answers that are right anywhere: what the model can do. ``format`` is the
    rest: right answers that no longer miss the format. The two add up to ``strict``. For greedy
    completions ``problems`` says it of each one: of those not strictly right before and right now, ``known``
    were right in another form and ``new`` were not; ``lost`` were strictly right before and are not now.
    """
    gains = []
    for mode, before, after in _modes(rows_a, rows_b):
        strict = _shared(means(before, "strict"), means(after, "strict"))
        lenient = _shared(means(before, "lenient"), means(after, "lenient"))
        keys = sorted(strict.keys() & lenient.keys())
        if not keys:
            continue
        math_P = np.array([lenient[key][1] - lenient[key][0] for key in keys])
        strict_P = np.array([strict[key][1] - strict[key][0] for key in keys])
        gain: dict[str, Any] = {"a": a, "b": b, "mode": mode, "n": len(keys)}
        gain["strict"] = _test(mode, {key: strict[key] for key in keys}).to_dict()
        gain["math"] = _test(mode, {key: lenient[key] for key in keys}).to_dict()
        gain["format"] = _difference(strict_P - math_P)
        if mode == "greedy":
            gain["problems"] = _fates([(*strict[key], lenient[key][0]) for key in keys])
        gains.append(gain)
    return gains


def _modes(rows_a: Sequence[Row], rows_b: Sequence[Row]) -> list[tuple[str, Groups, Groups]]:
    held_out = [[row for row in rows if row["split"] == "eval"] for rows in (rows_a, rows_b)]
    return [
        (mode, by_problem(held_out[0], mode), by_problem(held_out[1], mode)) for mode in ("greedy", "sampled")
    ]


def _shared(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    return {key: (a[key], b[key]) for key in sorted(a.keys() & b.keys())}


def _test(mode: str, pairs: Mapping[str, tuple[float, float]]) -> estimates.PairedTest:
    compare = estimates.mcnemar_exact if mode == "greedy" else estimates.paired_permutation
    return compare([before for before, _ in pairs.values()], [after for _, after in pairs.values()])


def _difference(values: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the mean of per-problem differences with its interval over problems."""
    low, high = estimates.interval_of_differences(values)
    return {"difference": float(values.mean()), "ci95": [low, high]}


def _fates(problems: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
    """Return how problems came to be strictly right, or not: (strict before, strict now, right before)."""
    n = len(problems)
    won = [lenient for before, now, lenient in problems if now > before]
    lost = sum(now < before for before, now, _ in problems)
    known = round(sum(won))
    counts = {"known": known, "new": len(won) - known, "lost": lost}
    return {name: {"count": count, **estimates.wilson(count, n).to_dict()} for name, count in counts.items()}


def rate_of(given: Mapping[str, Any] | None, n: int) -> Rate | None:
    """Return a rate as summary.json holds it."""
    return None if given is None else Rate(given["value"], given["ci95"][0], given["ci95"][1], n)
