"""``chat``: put problems to a run's model and watch it write."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from warmstart.cli.options import example

if TYPE_CHECKING:
    from warmstart.pipeline.chatting import Conversation

_COLOURS: dict[str, dict[str, Any]] = {
    "tag": {"fg": typer.colors.BLUE},
    "reasoning": {"dim": True},
    "answer": {"fg": typer.colors.GREEN, "bold": True},
    "text": {"fg": typer.colors.YELLOW},
}
_MARK = "####"


def register(app: typer.Typer) -> None:
    """Add the command of this file to the program."""
    app.command(
        epilog=example('warmstart chat runs/tiny --question "Ana has 3 boxes of 4 pens. How many pens?"')
    )(chat)


def chat(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    stage: Annotated[
        Literal["auto", "base", "warmup", "grpo"],
        typer.Option(help="Which of the run's models; auto is the one trained last."),
    ] = "auto",
    question: Annotated[
        str | None, typer.Option(help="One problem, and no conversation; - reads it from standard input.")
    ] = None,
    gold: Annotated[str | None, typer.Option(help="The right answer of --question, for the verdict.")] = None,
    temperature: Annotated[float, typer.Option(min=0, help="0 takes the likeliest token.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
) -> None:
    """Ask a run's model, as it was trained to be asked, and see its tags, its answer and the verdict.

    Every line is a problem of its own. `problem #### 12` names the right answer, as GSM8K does. An empty line or
    Ctrl-D ends.
    """
    from warmstart.cli.progress import quiet_libraries
    from warmstart.runs.directory import RunDir

    run = RunDir.open(folder)
    quiet_libraries()
    from warmstart.pipeline.chatting import Conversation

    model = Conversation.of(run, stage)
    typer.echo(f"{model.name}: a problem a line, `{_MARK} ANSWER` after it for a verdict", err=True)
    for number, line in enumerate(_lines(question)):
        asked, _, right = line.partition(_MARK)
        _answer(model, asked.strip(), gold or right.strip(), temperature=temperature, seed=seed + number)


def _lines(question: str | None) -> Iterator[str]:
    if question is not None:
        yield sys.stdin.read() if question == "-" else question
        return
    is_terminal = sys.stdin.isatty()
    while True:
        if is_terminal:
            typer.secho("\n? ", nl=False, bold=True, err=True)
        line = sys.stdin.readline()
        if not line.strip():
            return
        yield line


def _answer(model: Conversation, question: str, gold: str, *, temperature: float, seed: int) -> None:
    from warmstart.cli.painting import Painter
    from warmstart.visible import visible

    began, painter, text, tokens = time.perf_counter(), Painter(model.tags), "", 0
    for piece in model.ask(question, temperature=temperature, seed=seed):
        text, tokens = text + piece, tokens + 1
        for part, shown in painter.feed(piece):
            typer.secho(visible(shown), nl=False, **_COLOURS[part])
        sys.stdout.flush()
    for part, shown in painter.rest():
        typer.secho(visible(shown), nl=False, **_COLOURS[part])
    typer.echo()
    for line in _verdict(model, text, gold):
        typer.echo(visible(line))
    typer.secho(f"{tokens / (time.perf_counter() - began):,.0f} tokens a second", dim=True, err=True)


def _verdict(model: Conversation, text: str, gold: str) -> Iterator[str]:
    from warmstart.grading.verdicts import grade
    from warmstart.tags import parse

    parsed = parse(text, model.tags)
    if gold:
        graded = grade(text, gold, tags=model.tags)
        why = f" ({graded.reason})" if graded.reason else ""
        yield f"{graded.verdict}: given {graded.given or 'nothing'}, right is {gold}{why}"
    if not parsed.strict:
        yield f"format: {parsed.why_not_strict[0].message}"
