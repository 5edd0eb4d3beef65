"""How fast grading is: completions per second on one core, and the worst case over hostile texts.

    python benchmarks/grading.py [--data FOLDER]

The real completions are the outputs of four published models on GSM8K (`gsm8k_openai.jsonl`), as
they are for the lenient path, and re-wrapped in the strict format for the strict one. Everything
runs in one thread of this process; each figure is the best of several rounds, since the machine may
be doing other things.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from headline import Headline
from warmstart.grading.verdicts import grade, grade_lenient
from warmstart.rewards.functions import score
from warmstart.tags import DEFAULT_TAGS, MAX_CHARS, parse

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
DATA = Path(os.environ.get("WARMSTART_TEST_DATA", SHARED)) / "graded"
ROUNDS = 7


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="the folder that holds gsm8k_openai.jsonl")
    rows = read_rows(parser.parse_args().data / "gsm8k_openai.jsonl")
    strict = [(wrap(output), gold) for output, gold in rows]
    plain_int = [(DEFAULT_TAGS.wrap("2 + 3 = 5, and 5 - 1 = 4.", "4"), "4")] * len(rows)

    characters = sum(len(text) for text, _ in strict) / len(rows)
    print(f"{len(rows):,} real completions, {characters:.0f} characters each")
    print(f"{'':44}{'us each':>10}{'per second':>14}")
    for name, function, pairs in (
        ("parse, strict text", lambda text, gold: parse(text), strict),
        ("grade, strict text", grade, strict),
        ("grade, short strict text", grade, plain_int),
        ("grade_lenient, strict text", grade_lenient, strict),
        ("grade_lenient, text as the model wrote it", grade_lenient, rows),
        ("score: both grades and all six rewards", score, strict),
    ):
        seconds = best_of(ROUNDS, function, pairs) / len(pairs)
        print(f"{name:44}{seconds * 1e6:10.2f}{1 / seconds:14,.0f}")

    print(f"\n{'hostile text, numeric gold':44}{'grade ms':>10}{'lenient ms':>14}{'score ms':>12}")
    for name, text in hostile_texts().items():
        times = [best_of(3, function, [(text, "18")]) * 1e3 for function in (grade, grade_lenient, score)]
        print(f"{name:44}{times[0]:10.2f}{times[1]:14.2f}{times[2]:12.2f}")


def short() -> list[Headline]:
    """Return the headlines: the numeric path's speed on real completions, and its worst text."""
    data = DATA / "gsm8k_openai.jsonl"
    found = []
    if data.exists():
        strict = [(wrap(output), gold) for output, gold in read_rows(data)]
        rate = len(strict) / best_of(2, grade, strict)
        found.append(Headline("grading, completions per second", f"{rate:,.0f}", "≥ 100,000"))
    worst = max(best_of(1, grade, [(text, "18")]) for text in hostile_texts().values())
    return [*found, Headline("grading, worst hostile text", f"{1e3 * worst:.0f} ms", "≤ 50 ms")]


def hostile_texts() -> dict[str, str]:
    """Return texts that were written to hang, crash or overflow a grader, by name."""
    inside = {
        "power tower": "9**9**9",
        "boxed power tower": r"\boxed{9^{9^{9^{9}}}}",
        "ten to the ten to the ten": "10^(10^10)",
        "factorial": "100000000!",
        "code": "__import__('os').system('true')",
        "100,000 digits": "9" * 100_000,
        "100,000 decimals": "0." + "3" * 100_000,
        "100,000 groups": "1" + ",000" * 25_000,
        "digits and spaces": "1 " * 50_000,
        "nested braces": r"\boxed" + "{" * 90_000 + "1" + "}" * 90_000,
        "nested fractions": r"\frac{" * 17_000 + "1" + "}{2}" * 17_000,
        "open boxes": r"\boxed{" * 25_000,
        "minus signs": "-" * 100_000 + "18",
        "equals signs": "=" * 100_000 + "18",
        "NUL bytes": "18" + "\0" * 100_000,
        "lone surrogates": "\ud800" * 100_000,
        "zero-width characters": "\u200b" * 190_000,
        "Hangul fillers": "\u3164" * 190_000,
        "letters without end": "a" * 190_000,
        "lines": "1\n" * 90_000,
    }
    wrapped = {name: DEFAULT_TAGS.wrap("I try.", text) for name, text in inside.items()}
    return wrapped | {
        "10,000 opening tags": "<answer>" * 10_000,
        "9,000 answers": "".join(f"<answer>{i}</answer>" for i in range(9_000)),
        "tag spam to the limit": "<reasoning>" * (MAX_CHARS // 11),
        "answers to the limit": "<answer>1</answer>" * (MAX_CHARS // 18),
        "brackets": "<" * MAX_CHARS,
        "brackets and spaces": "< " * (MAX_CHARS // 2),
        "a bracket and spaces": "<" + " " * (MAX_CHARS - 1),
        "open attributes": "<answer " * (MAX_CHARS // 8),
        "spaces": " " * MAX_CHARS,
        "over the limit": "9" * (MAX_CHARS + 1),
        "answer is answer is": "answer is " * (MAX_CHARS // 10),
        "A: lines": "A:\n" * (MAX_CHARS // 3),
    }


def read_rows(path: Path) -> list[tuple[str, str]]:
    """Return the (output, gold) pairs of the file."""
    with path.open(encoding="utf-8") as lines:
        return [(row["output"], row["gold"]) for row in map(json.loads, lines)]


def wrap(output: str) -> str:
    """Return a model's output in the strict format: what stands after ``A:`` is the answer."""
    reasoning, _, answer = output.rpartition("A:")
    return DEFAULT_TAGS.wrap(reasoning.strip() or "none", answer.strip())


def best_of(rounds: int, function: Callable[[str, str], object], pairs: Iterable[tuple[str, str]]) -> float:
    """Return the least seconds of several rounds over the pairs."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        for text, gold in pairs:
            function(text, gold)
        best = min(best, time.perf_counter() - start)
    return best


if __name__ == "__main__":
    main()
