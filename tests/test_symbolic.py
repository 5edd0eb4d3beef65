from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from warmstart.grading import symbolic
from warmstart.grading.symbolic import MAX_CHARS, MatchOptions, Outcome, SymbolicPool
from warmstart.grading.verdicts import check_gold, grade, grade_lenient
from warmstart.records import Verdict
from warmstart.tags import DEFAULT_TAGS

# Sympy computes this for ever when it is compared with a number.
ENDLESS = r"\boxed{9^{9^{9^{9}}}}"


@pytest.fixture(scope="module")
def pool():
    pool = SymbolicPool(workers=2)
    yield pool
    pool.close()


@pytest.mark.parametrize(
    ("gold", "given", "outcome"),
    [
        (r"$\sqrt{2}$", r"\boxed{\sqrt{2}}", Outcome.EQUAL),
        (r"$\sqrt{2}$", "$1.41421356$", Outcome.EQUAL),
        (r"$\frac{x+2}{7}$", r"$\frac{x}{7}+\frac{2}{7}$", Outcome.EQUAL),
        ("$[0,1)$", "$[0,9)$", Outcome.DIFFERENT),
        ("$(1, 2)$", "$(2, 1)$", Outcome.DIFFERENT),
        (r"$\frac{1}{2004!}$", r"$\frac{1}{2006!}$", Outcome.DIFFERENT),
        ("no formula", "$1$", Outcome.GOLD_UNREADABLE),
        ("$1$", "no formula", Outcome.UNREADABLE),
        ("$1$", "x" * (MAX_CHARS + 1), Outcome.UNREADABLE),
        ("x" * (MAX_CHARS + 1), "$1$", Outcome.GOLD_UNREADABLE),
        ("$1$", "$\ud800\0$", Outcome.DIFFERENT),
    ],
)
def test_math_verify_decides(pool, gold, given, outcome):
    assert pool.compare(gold, given) is outcome


def test_the_options_reach_math_verify(pool):
    coarse = MatchOptions(precision=2)

    assert pool.compare("$(0.6,2.67]$", "$(0.6,2.6667]$", coarse) is Outcome.EQUAL
    assert pool.compare("$(0.6,2.67]$", "$(0.6,2.6667]$") is Outcome.DIFFERENT
    assert pool.compare("$f(x)$", "$f(y)$", MatchOptions(strict=False)) is Outcome.EQUAL


def test_any_thread_may_ask_and_gets_its_own_answer(pool):
    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(lambda i: pool.compare(f"$x^{i % 3}+1$", "$1+x^2$"), range(24)))

    assert outcomes == [Outcome.EQUAL if i % 3 == 2 else Outcome.DIFFERENT for i in range(24)]


def test_a_late_process_is_killed_counted_and_replaced():
    pool = SymbolicPool(workers=1, cap_s=0.3)
    try:
        assert pool.compare("$x$", "$x$") is Outcome.EQUAL
        start = time.monotonic()
        assert pool.compare(r"$\sqrt{2}$", ENDLESS) is Outcome.TIMEOUT
        assert time.monotonic() - start < 5
        assert pool._idle == []
        assert pool.compare("$x+1$", "$1+x$") is Outcome.EQUAL
        assert (pool.counts.asked, pool.counts.timeouts, pool.counts.crashes) == (3, 1, 0)
    finally:
        pool.close()


def test_math_verifys_own_timeout_spares_the_process(pool):
    pool.compare("$x$", "$x$")
    processes = {worker._process.pid for worker in pool._idle}
    before = pool.counts.timeouts

    assert pool.compare(r"$\sqrt{2}$", ENDLESS) is Outcome.TIMEOUT
    assert pool.counts.timeouts == before + 1
    assert {worker._process.pid for worker in pool._idle} == processes


def test_a_dead_process_is_counted_as_a_crash_and_replaced():
    pool = SymbolicPool(workers=1)
    try:
        pool.compare("$x$", "$x$")
        pool._idle[0]._process.kill()
        pool._idle[0]._process.wait()
        assert pool.compare("$x$", "$x$") is Outcome.CRASHED
        assert pool.compare("$x$", "$x$") is Outcome.EQUAL
        assert (pool.counts.asked, pool.counts.crashes) == (3, 1)
    finally:
        pool.close()


def test_formulas_that_could_not_be_told_are_counted_and_said_and_others_are_not(monkeypatch):
    pool = SymbolicPool(workers=1)
    monkeypatch.setattr(symbolic, "_pool", pool)
    said = []
    with symbolic.counting(said.append):
        grade("<answer>$1+x$</answer>", "x+1")
    assert said == []
    with symbolic.counting(said.append):
        pool._idle[0]._process.kill()
        grade("<answer>$1+x$</answer>", "x+2")
        grade("<answer>$1+x$</answer>", "x+1")
    pool.close()
    assert said == [
        "grading: 1 of 2 formulas could not be told: 0 ran out of time, 1 took their process with them, 0 failed"
    ]


def test_closing_kills_the_processes_and_the_pool_can_be_used_again():
    pool = SymbolicPool(workers=1)
    pool.compare("$x$", "$x$")
    process = pool._idle[0]._process
    pool.close()

    assert process.returncode is not None
    assert pool.compare("$x$", "$x$") is Outcome.EQUAL
    pool.close()


def test_a_process_that_cannot_start_is_an_error_and_not_a_verdict(tmp_path, monkeypatch):
    broken = tmp_path / "worker.py"
    broken.write_text("raise SystemExit(1)")
    monkeypatch.setattr(symbolic, "_WORKER", broken)
    pool = SymbolicPool(workers=1)

    for _ in range(2):  # the slot is given back
        with pytest.raises(symbolic.GraderError, match="did not start"):
            pool.compare("$x$", "$x$")


def test_a_numeric_gold_never_starts_a_process(monkeypatch):
    monkeypatch.setattr(symbolic, "_Worker", None)
    monkeypatch.setattr(symbolic, "_pool", SymbolicPool())

    for answer in ("18", r"\sqrt{324}", "9**9**9", "words", ""):
        text = DEFAULT_TAGS.wrap("x", answer)
        assert grade(text, "18").path in ("number", "none")
        assert grade_lenient(text, "18").verdict is not Verdict.UNDECIDED
    assert check_gold(r"\sqrt{2}") is None


def test_timeouts_and_crashes_are_undecided(monkeypatch):
    pool = SymbolicPool(workers=1)
    monkeypatch.setattr(symbolic, "_pool", pool)
    for outcome in (Outcome.TIMEOUT, Outcome.CRASHED, Outcome.FAILED, Outcome.GOLD_UNREADABLE):
        monkeypatch.setattr(pool, "compare", lambda *_, outcome=outcome: outcome)
        graded = grade(DEFAULT_TAGS.wrap("x", "y"), r"\sqrt{2}")
        assert (graded.verdict, graded.path) == (Verdict.UNDECIDED, "symbolic")


def test_a_forked_child_leaves_the_processes_to_its_parent(monkeypatch):
    parents = SymbolicPool(workers=1)
    monkeypatch.setattr(symbolic, "_pool", parents)
    symbolic._forget_pool()

    assert symbolic.default_pool() is not parents


def test_grading_with_a_symbolic_gold_works_outside_the_main_thread():
    verdicts = []
    thread = threading.Thread(
        target=lambda: verdicts.append(
            grade(DEFAULT_TAGS.wrap("x", r"\frac{2}{\sqrt{2}}"), r"\sqrt{2}").verdict
        )
    )
    thread.start()
    thread.join()

    assert verdicts == [Verdict.CORRECT]


def test_the_worker_imports_nothing_of_warmstart():
    imports = re.findall(
        r"^\s*(?:from|import) (\w+)", symbolic._WORKER.read_text(encoding="utf-8"), re.MULTILINE
    )

    assert set(imports) == {
        "__future__",
        "functools",
        "json",
        "math_verify",
        "os",
        "resource",
        "sympy",
        "sys",
        "typing",
    }


LIMITS = """
import os, sys
from warmstart.grading.symbolic_worker import limit_cpu, limit_process
limit_process()
try:
    bytearray(3 * 2**30)
except MemoryError:
    print("no memory", flush=True)
try:
    os.write(os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY), b"x")
except OSError as error:
    print(error.strerror, flush=True)
limit_cpu(1)
while True:
    pass
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of processes are Linux's")
def test_a_grader_process_has_bounds_of_memory_files_and_computing(tmp_path):
    command = [sys.executable, "-c", LIMITS, str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    assert done.stdout.splitlines() == ["no memory", "File too large"]
    assert done.returncode == -signal.SIGXCPU
