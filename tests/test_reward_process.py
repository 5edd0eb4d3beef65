"""Reward functions of strangers: whatever they do, the step goes on and the reward is named."""

from __future__ import annotations

import os
import time

import pytest

from warmstart.config.schema import load_recipe
from warmstart.errors import ConfigError, GraderError
from warmstart.probing.reward_calls import call_rewards
from warmstart.rewards.files import RewardFile, reward_file
from warmstart.rewards.process import ProcessReward

SOURCE = """
import itertools, math, os, re, time
import numpy as np

def length(completions, **kwargs):
    return [float(len(c)) for c in completions]

def without_kwargs(completions, answer):
    return [float(c == a) for c, a in zip(completions, answer)]

async def awaited(completions, **kwargs):
    return [1.0 for _ in completions]

def step(completions, trainer_state, **kwargs):
    return [float(trainer_state.global_step)] * len(completions)

def bad_row(completions, **kwargs):
    return [1 / (len(c) - 3) for c in completions]

def all_raise(completions, **kwargs):
    raise KeyError("gold")

def shouts(completions, **kwargs):
    print('{"values": [9, 9]}')
    return [0.5] * len(completions)

def hangs(completions, **kwargs):
    while True:
        pass

def regex(completions, **kwargs):
    return [1.0 if re.match(r"(a+)+$", "a" * 64 + "!") else 0.0 for c in completions]

def sleeps(completions, **kwargs):
    time.sleep(3600)

def one_sleeps(completions, **kwargs):
    if "sleep" in completions: time.sleep(3600)
    return [1.0] * len(completions)

def dies(completions, **kwargs):
    os.abort()

def exits(completions, **kwargs):
    os._exit(3)

def endless(completions, **kwargs):
    return (1.0 for _ in itertools.count())

def nothing(completions, **kwargs):
    pass

def number(completions, **kwargs):
    return 1.0

def text(completions, **kwargs):
    return "12"

def too_few(completions, **kwargs):
    return [1.0]

def strings(completions, **kwargs):
    return ["1.0", "good"]

def odd(completions, **kwargs):
    return [math.nan, math.inf]

def kinds(completions, **kwargs):
    return [None, np.float32(0.5)]

def huge(completions, **kwargs):
    return [10 ** 400, True]
"""
TEXTS = ["ab", "abc"]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("rewards") / "my_rewards.py"
    path.write_text(SOURCE)
    return path


def _called(file, name, texts=TEXTS, limit_s=20.0, **columns):
    reward = ProcessReward(RewardFile(file, name), limit_s=limit_s)
    try:
        return reward(["?"] * len(texts), texts, **columns), reward.take_faults()
    finally:
        reward.close()


@pytest.mark.parametrize(
    ("name", "values"),
    [("length", [2.0, 3.0]), ("without_kwargs", [1.0, 0.0]), ("awaited", [1.0, 1.0]), ("shouts", [0.5, 0.5]), ("kinds", [None, 0.5])],
)  # fmt: skip
def test_a_sound_function_pays_what_it_says_and_none_is_its_own_could_not_tell(file, name, values) -> None:
    assert _called(file, name, answer=["ab", "x"]) == (values, [])


def test_a_function_that_ends_the_program_has_raised_and_a_file_that_does_cannot_be_imported(
    tmp_path,
) -> None:
    quits = tmp_path / "quits.py"
    quits.write_text("import sys\ndef judge(completions, **kwargs):\n    sys.exit('no key')\n")
    values, faults = _called(quits, "judge")
    assert values == [None] * len(TEXTS)
    assert {(one.kind, one.example) for one in faults} == {("raises", "SystemExit: no key (line 3)")}
    quits.write_text("import sys\ndef judge(completions, **kwargs):\n    return [1.0]\nsys.exit('usage')\n")
    with pytest.raises(GraderError, match="cannot be imported: SystemExit: usage"):
        _called(quits, "judge")


def test_a_row_that_raises_is_left_without_a_value_and_the_others_keep_theirs(file) -> None:
    values, faults = _called(file, "bad_row")
    assert values == [-1.0, None]
    assert [(one.name, one.kind, one.rows) for one in faults] == [("bad_row", "raises", (1,))]
    line = SOURCE.split("\n").index("    return [1 / (len(c) - 3) for c in completions]") + 1
    assert faults[0].example == f"ZeroDivisionError: division by zero (line {line})"


@pytest.mark.parametrize(
    ("name", "kind", "example"),
    [
        ("all_raise", "raises", "KeyError: 'gold'"),
        ("endless", "wrong-length", "it returned more than 1 values for 1 completions"),
        ("nothing", "wrong-length", "it returned None, not a list of 1 numbers"),
        ("number", "wrong-length", "it returned 1.0, not a list"),
        ("text", "wrong-length", "it returned '12', not a list"),
        ("strings", "not-a-number", "'1.0'"),
        ("odd", "not-a-number", "nan"),
        ("huge", "not-a-number", "1000000000"),
        ("dies", "dies", "its process died"),
        ("exits", "dies", "its process died"),
    ],
)
def test_what_a_function_does_wrong_is_named_with_the_reward(file, name, kind, example) -> None:
    values, faults = _called(file, name)
    assert (faults[0].name, faults[0].kind) == (name, kind)
    assert example in faults[0].example
    assert [value is None for value in values] == [
        row in {r for f in faults for r in f.rows} for row in (0, 1)
    ]


def test_a_function_that_only_works_row_by_row_is_not_trusted_with_a_batch(file) -> None:
    values, faults = _called(file, "too_few")
    assert values == [None, None]
    assert faults == [("too_few", "wrong-length", "it returned 1 values for 2 completions", (0, 1))]


@pytest.mark.parametrize("name", ["hangs", "regex", "sleeps"])
def test_a_function_that_hangs_ends_within_its_limit_and_the_message_says_where(file, name) -> None:
    began = time.monotonic()
    values, faults = _called(file, name, limit_s=0.5)
    assert time.monotonic() - began < 20  # the start of the process among it; it would hang for ever
    assert values == [None, None]
    assert (faults[0].name, faults[0].kind, faults[0].rows) == (name, "times-out", (0, 1))
    assert faults[0].example.startswith("no answer within 0.5 s, at my_rewards.py line ")


def test_after_a_hang_a_new_process_answers_and_the_old_one_is_gone(file) -> None:
    reward = ProcessReward(RewardFile(file, "one_sleeps"), limit_s=0.5)
    assert reward(["?"], ["x"]) == [1.0]
    pid = reward._worker._process.pid
    assert reward(["?"], ["sleep"]) == [None]
    assert reward(["?"], ["x"]) == [1.0]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    reward.close()


def test_the_training_step_reaches_the_function(file) -> None:
    class State:
        global_step, max_steps, epoch = 7, 10, 0.5

    assert _called(file, "step", trainer_state=State())[0] == [7.0, 7.0]


def test_lone_surrogates_and_nul_survive_the_way_to_the_function(file) -> None:
    assert _called(file, "length", texts=["\ud800", "\0\u202e"])[0] == [1.0, 2.0]


@pytest.mark.parametrize(
    "source", ["import nothing_like_this", "1 / 0\ndef f(completions): ...", "raise SystemExit"]
)
def test_a_file_that_cannot_be_imported_is_an_error_that_names_it(tmp_path, source) -> None:
    path = tmp_path / "broken.py"
    path.write_text(source)
    with pytest.raises(GraderError, match=r"the reward f of .*broken\.py cannot be imported: "):
        _called(path, "f")


def test_the_probe_counts_what_such_a_reward_does_wrong(file) -> None:
    rows = [{"prompt": "?", "answer": "2"}] * 3
    reward = ProcessReward(RewardFile(file, "bad_row"), limit_s=20)
    values, faults = call_rewards([reward], rows, ["a", "abc", "abcde"], [[1]] * 3)
    reward.close()
    assert values[[0, 2], 0].tolist() == [-0.5, 0.5]
    assert [(one.name, one.kind, one.rows, one.of) for one in faults] == [("bad_row", "raises", 1, 3)]


# -- in the recipe -------------------------------------------------------------------------------


def test_a_recipe_names_its_own_rewards_and_weighs_them(file) -> None:
    recipe = load_recipe("tiny", [f"grpo.rewards=[{file}:length]", "grpo.reward_weights={length: 0.1}"])
    assert reward_file(recipe.grpo.rewards[0]) == (file, "length")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("os:system", "grpo.rewards.0: 'os:system' is not FILE.py:FUNCTION"),
        ("nowhere.py:f", "grpo.rewards.0: nowhere.py cannot be read: No such file or directory"),
        ("FILE:lenght", "has no function lenght; did you mean length?"),
        ("FILE:int_reward_func", "there is a reward int_reward_func already"),
    ],
)
def test_a_reward_that_is_not_there_is_refused_at_the_door(file, text, message) -> None:
    with pytest.raises(ConfigError) as refused:
        load_recipe("tiny", [f"grpo.rewards=['{text.replace('FILE', str(file))}']"])
    assert message in refused.value.message


def test_checking_a_recipe_never_runs_the_file_it_names(tmp_path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef f(completions, **kwargs): return []")
    load_recipe("tiny", [f"grpo.rewards=['{path}:f']"])
    assert not (tmp_path / "ran").exists()
    path.write_text("def f(:")
    with pytest.raises(ConfigError, match=r"mine\.py line 1 is not Python"):
        load_recipe("tiny", [f"grpo.rewards=['{path}:f']"])
