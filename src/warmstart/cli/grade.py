"""``score`` and ``explain``: what the grader and the six rewards say of completions."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from warmstart.cli.options import Json, echo_json, example
from warmstart.errors import DataError

_BEFORE, _AFTER = 30, 30
"""Characters shown around a fault."""


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the program."""
    app.command(epilog=example("warmstart score completions.jsonl --json"))(score)
    app.command(epilog=example('warmstart explain "<answer>12</answer>" --gold 12'))(explain)


def score(
    file: Annotated[Path, typer.Argument(help="Lines of JSON, each with `completion` and `gold`.")],
    json: Json = False,
) -> None:
    """Grade a file of completions: verdict, lenient verdict, format and six rewards of each."""
    from warmstart.rewards.functions import score as score_one

    verdicts: Counter[str] = Counter()
    lenient: Counter[str] = Counter()
    strict, total = 0, 0
    for completion, gold in _rows(file):
        row = score_one(completion, gold).as_row()
        if json:
            echo_json(row, indent=None)
        verdicts[row["verdict"]] += 1
        lenient[row["lenient"]["verdict"]] += 1
        strict += row["strict"]
        total += 1
    if not json:
        typer.echo(f"{total:,} completions, {strict:,} in the strict format")
        for name in ("correct", "wrong", "no_answer", "undecided"):
            typer.echo(
                f"  {name:10}  {verdicts[name]:7,} in the tags   {lenient[name]:7,} anywhere in the text"
            )


def _rows(file: Path) -> Iterator[tuple[str, str]]:
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _row(line, f"{file} line {number}")
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}", "name a file of JSON lines") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file} is not UTF-8: {error.reason} at byte {error.start}", "save it as UTF-8"
        ) from error


def _row(line: str, where: str) -> tuple[str, str]:
    from warmstart.data.files import parse_object

    row, hint = parse_object(line, where), 'write {"completion": "…", "gold": "…"}'
    for field in ("completion", "gold"):
        if field not in row:
            raise DataError(f"{where} has no field {field!r}", hint)
    completion, gold = row["completion"], row["gold"]
    if not isinstance(completion, str):
        raise DataError(f"{where}: completion is a {type(completion).__name__}", "it must be a text")
    # str(None) would be the gold 'None', which a model can write.
    if isinstance(gold, bool) or not isinstance(gold, (str, int, float)):
        raise DataError(f"{where}: gold is a {type(gold).__name__}", "it must be a text or a number")
    return completion, str(gold)


def explain(
    text: Annotated[str, typer.Argument(help="The completion; - reads it from standard input.")] = "-",
    gold: Annotated[str, typer.Option(help="The gold answer.")] = "",
    json: Json = False,
) -> None:
    """Say in words what the grader sees in one completion, and where it misses the format."""
    from warmstart.rewards.functions import score as score_one
    from warmstart.visible import visible

    completion = sys.stdin.buffer.read().decode(errors="replace") if text == "-" else text
    result = score_one(completion, gold)
    if json:
        echo_json(result.as_row())
        return
    for line in _explanation(completion, gold, result):
        typer.echo(visible(line))


def _explanation(completion: str, gold: str, result: Any) -> Iterator[str]:  # noqa: ANN401
    grade, lenient, parsed = result.grade, result.lenient, result.grade.parsed
    if gold:
        given = f", given {grade.given!r} against {gold!r}" if grade.given is not None else ""
        yield f"answer:   {grade.verdict}{given} ({grade.reason})"
        found = f", {lenient.given!r} found by the path {lenient.path}" if lenient.given is not None else ""
        yield f"anywhere: {lenient.verdict}{found}"
    else:
        yield "answer:   not graded, no --gold given"
    yield f"format:   {'strict' if parsed.strict else 'soft, not strict' if parsed.soft else 'not the format'}"
    for reason in parsed.why_not_strict:
        yield f"  at character {reason.at}: {reason.message}"
        yield f"    {_place(completion, reason.at)}"
    yield "rewards:"
    for name, value in result.rewards.items():
        if gold or name != "correctness_reward_func":
            yield f"  {name:25} {'undecided' if value is None else f'{value:.3f}'}"


def _place(text: str, at: int) -> str:
    """Return the neighbourhood of a character on one line, with ▸ where it is."""
    before = text[max(0, at - _BEFORE) : at].replace("\n", "⏎")
    return f"{before}▸{text[at : at + _AFTER].replace(chr(10), '⏎')}"
