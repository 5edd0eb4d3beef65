from __future__ import annotations

import itertools
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmstart.grading.symbolic import Outcome
from warmstart.grading.verdicts import default_pool
from warmstart.rewards import functions as rewards
from warmstart.rewards.functions import (
    STAGE_WEIGHTS,
    TERMS,
    RewardTerm,
    completion_text,
    reward_functions,
    score,
)
from warmstart.tags import DEFAULT_TAGS, Tags, instructions, parse, render_target

NAMES = [
    "easy_reward_func",
    "xmlcount_reward_func",
    "int_reward_func",
    "soft_format_reward_func",
    "strict_format_reward_func",
    "correctness_reward_func",
]
GOLD = "18"
HONEST_WRONG = render_target("9 + 8 = 17.", "17")
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=120)
TAGGED = st.lists(
    st.sampled_from(
        [*DEFAULT_TAGS.exact, "<think>", "</think>", "<ANSWER>", "\n", "\n", "18", "2", "x", "..."]
    ),
    max_size=16,
).map("".join)


def pay(text: str, gold: str = GOLD) -> list[float | None]:
    """Return the six rewards in the order of the names."""
    return [function(["p"], [text], answer=[gold])[0] for function in reward_functions()]


def stage_total(stage: str, text: str, gold: str = GOLD) -> float:
    total = score(text, gold).total(STAGE_WEIGHTS[stage])
    assert total is not None
    return total


# --- what each pays


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (render_target("9 + 9 = 18.", "18"), [0.5, 0.5, 0.5, 0.5, 0.5, 2.0]),
        (HONEST_WRONG, [0.5, 0.5, 0.5, 0.5, 0.5, 0.0]),
        ("", [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
        ("18", [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
        ("<answer>18", [0.125, 0.125, 0.0, 0.0, 0.0, 0.0]),
        ("<answer>18</answer>", [0.25, 0.25, 0.5, 0.0, 0.0, 2.0]),
        ("<ANSWER>18</ANSWER>", [0.0, 0.0, 0.5, 0.0, 0.0, 2.0]),
        ("<reasoning>a</reasoning> <answer>18</answer>", [0.5, 0.5, 0.5, 0.5, 0.0, 2.0]),
        ("<reasoning>a</reasoning> <answer>18</answer> bye", [0.5, 0.497, 0.5, 0.5, 0.0, 2.0]),
        ("<answer>18</answer><reasoning>a</reasoning>", [0.5, 0.25, 0.5, 0.0, 0.0, 2.0]),
        (render_target("a", "18 or 20"), [0.5, 0.5, 0.0, 0.5, 0.5, 0.0]),
        (render_target("a", "18") + "\n<answer>18</answer>", [0.5, 0.231, 0.0, 0.0, 0.0, 2.0]),
        (DEFAULT_TAGS.wrap("...", "18"), [0.5, 0.5, 0.5, 0.0, 0.5, 2.0]),
        ("x" * 1000 + "<answer>18</answer>", [0.25, 0.0, 0.5, 0.0, 0.0, 2.0]),
    ],
)
def test_the_six_rewards_of_a_completion(text, expected):
    assert pay(text) == pytest.approx(expected, abs=1e-12)


def test_a_perfect_target_earns_the_maximum_of_every_term():
    assert pay(render_target("9 + 9 = 18.", "18")) == [term.high for term in TERMS]


def test_the_ranges_are_those_of_the_mission():
    assert [(term.low, term.high) for term in TERMS] == [(0.0, 0.5)] * 5 + [(0.0, 2.0)]


def test_a_reward_outside_its_declared_range_is_an_error():
    runaway = RewardTerm("runaway", 0.0, 1.0, lambda parsed, gold: 7.0, "Pays too much.")
    broken = RewardTerm("broken", 0.0, 1.0, lambda parsed, gold: float("nan"), "Pays nothing sensible.")

    with pytest.raises(ValueError, match=r"reward 'runaway' returned 7.0; declared \[0.0, 1.0\]"):
        runaway(parse(""), None)
    with pytest.raises(ValueError, match="returned nan"):
        broken(parse(""), None)


@given(ANY_TEXT | TAGGED, st.sampled_from(["18", "1/3", "50%", "", "nan", "no\n#### 2", "yes"]))
def test_any_text_at_all_gets_six_rewards_in_range(text, gold):
    for term, reward in zip(TERMS, pay(text, gold), strict=True):
        assert reward is None or term.low <= reward <= term.high


# --- the signature that TRL calls


def test_the_functions_have_the_names_of_the_mission():
    assert [function.__name__ for function in reward_functions()] == NAMES
    assert [function.__name__ for function in reward_functions(Tags("think", "final"))] == NAMES
    assert all(getattr(rewards, name).__name__ == name for name in NAMES)
    assert all("Pays" in getattr(rewards, name).__doc__ for name in NAMES)


def test_strings_and_conversations_earn_the_same():
    texts = [render_target("a", "18"), "18", ""]
    plain = rewards.correctness_reward_func(prompts=["p"] * 3, completions=texts, answer=[GOLD] * 3)
    chats = rewards.correctness_reward_func(
        prompts=[[{"role": "user", "content": "p"}]] * 3,
        completions=[[{"role": "assistant", "content": text}] for text in texts],
        answer=[GOLD] * 3,
        completion_ids=[[1]] * 3,
        trainer_state=None,
    )

    assert plain == chats == [2.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("a", "a"),
        ([{"role": "assistant", "content": "a"}], "a"),
        ([{"role": "tool", "content": "a"}, {"role": "assistant", "content": "b"}], "b"),
        ([{"role": "assistant", "content": None}], ""),
        ([{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "image"}]}], "a"),
        ([], ""),
    ],
)
def test_the_text_of_a_completion(completion, text):
    assert completion_text(completion) == text


def test_format_rewards_need_no_gold_and_correctness_says_that_it_does():
    for function in reward_functions()[:-1]:
        assert function(prompts=["p"], completions=[HONEST_WRONG]) == [0.5]
    with pytest.raises(TypeError, match="column 'answer'"):
        rewards.correctness_reward_func(prompts=["p"], completions=[HONEST_WRONG])


def test_golds_that_a_table_holds_as_numbers_are_read():
    texts = [render_target("a", "18")] * 3

    paid = rewards.correctness_reward_func(prompts=["p"] * 3, completions=texts, answer=[18, 18.0, None])
    assert paid == [2.0, 2.0, None]


@pytest.mark.parametrize(
    "prompt",
    [
        "2 + 2?\n<reasoning>\n",
        [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "<reasoning>\n"}],
    ],
)
def test_an_opening_tag_in_the_prompt_belongs_to_the_completion(prompt):
    whole = render_target("a", "18")
    rest = whole.removeprefix("<reasoning>\n")

    for completion in (whole, rest):
        assert rewards.strict_format_reward_func(prompts=[prompt], completions=[completion]) == [0.5]
    assert rewards.strict_format_reward_func(prompts=["2 + 2?"], completions=[rest]) == [0.0]
    assert rewards.strict_format_reward_func(prompts=[instructions()], completions=[rest]) == [0.0]


def test_the_functions_survive_pickling():
    copy = pickle.loads(pickle.dumps(rewards.strict_format_reward_func))

    assert copy([""], [HONEST_WRONG]) == [0.5]


def test_what_cannot_be_told_is_none_and_not_zero(monkeypatch):
    text = render_target("a", "18")
    monkeypatch.setattr(default_pool(), "compare", lambda *_: Outcome.TIMEOUT)

    assert pay(text, gold="") == [0.5, 0.5, 0.5, 0.5, 0.5, None]
    assert pay(text, gold=r"\sqrt{324}") == [0.5, 0.5, 0.5, 0.5, 0.5, None]


def test_other_tag_names_have_their_own_rewards():
    tags = Tags("think", "final")
    text = tags.wrap("a", "18")

    for term, function in zip(TERMS, reward_functions(tags), strict=True):
        assert function(prompts=["p"], completions=[text], answer=[GOLD]) == [term.high]
    assert rewards.easy_reward_func(prompts=["p"], completions=[text]) == [0.0]


# --- the stages


def test_the_stage_weights_are_those_of_the_plan():
    assert {stage: list(weights.values()) for stage, weights in STAGE_WEIGHTS.items()} == {
        "shape": [1, 1, 1, 1, 0, 1],
        "format": [0, 1, 0, 1, 1, 1],
        "solve": [0, 0, 0, 0, 1, 1],
    }
    assert all(list(weights) == NAMES for weights in STAGE_WEIGHTS.values())


# From best to worst format; each takes the answer.
SHAPES = [
    lambda answer: render_target("9 + 9 is that.", answer),
    lambda answer: f"<reasoning>9 + 9</reasoning><answer>{answer}</answer>",
    lambda answer: f"<reasoning>9 + 9</reasoning><answer>{answer}</answer> I hope this helps.",
    lambda answer: f"<answer>{answer}</answer><reasoning>9 + 9</reasoning>",
    lambda answer: f"<answer>{answer}</answer>",
    lambda answer: f"It is hard to say, but I go for <ANSWER>{answer}</ANSWER>",
]


@pytest.mark.parametrize("stage", STAGE_WEIGHTS)
def test_a_right_answer_earns_more_than_every_wrong_one_in_equal_or_worse_format(stage):
    for (better, right), (worse, wrong) in itertools.product(enumerate(SHAPES), repeat=2):
        if better <= worse:
            for answer in ("17", "18 or 20", "many"):
                assert stage_total(stage, right("18")) > stage_total(stage, wrong(answer))


@given(TAGGED)
def test_no_wrong_text_earns_what_a_right_answer_in_strict_format_earns(text):
    breakdown = score(text, "123456789")
    for weights in STAGE_WEIGHTS.values():
        best = score(render_target("a", "123456789"), "123456789").total(weights)
        assert breakdown.total(weights) <= best - 2.0


DEGENERATE = {
    "empty": "",
    "white space": " \n ",
    "tags only": "".join(DEFAULT_TAGS.exact),
    "tags on lines": "\n".join(DEFAULT_TAGS.exact),
    "strict but blank": DEFAULT_TAGS.wrap("", ""),
    "strict but invisible": DEFAULT_TAGS.wrap("\u200b", "\u200b"),
    "strict but marks": DEFAULT_TAGS.wrap("...", "..."),
    "tag spam": "".join(DEFAULT_TAGS.exact) * 100,
    "opening tags": "<reasoning>" * 500 + GOLD,
    "number spray": " ".join(map(str, range(100))),
    "number spray in the answer": DEFAULT_TAGS.wrap("x", ", ".join(map(str, range(100)))),
    "an answer for every number": DEFAULT_TAGS.wrap("x", "1")
    + "".join(f"<answer>{i}</answer>" for i in range(100)),
    "echo of the instructions": instructions(),
    "echo of the template": instructions().partition("\n")[2],
    "answer inside the reasoning": f"<reasoning>\nx <answer>{GOLD}</answer>\n</reasoning>",
    "answer only inside the reasoning": DEFAULT_TAGS.wrap(f"x <answer>{GOLD}</answer>", ""),
    "a second answer block": DEFAULT_TAGS.wrap("x", "17") + f"\n<answer>{GOLD}</answer>",
    "a second answer block, right one first": DEFAULT_TAGS.wrap("x", GOLD) + "\n<answer>2</answer>",
    "cut off": DEFAULT_TAGS.wrap("x", GOLD).removesuffix("\n</answer>"),
    "no tags": GOLD,
    "letters": "a" * 5000,
}


@pytest.mark.parametrize("stage", STAGE_WEIGHTS)
@pytest.mark.parametrize("name", DEGENERATE)
def test_no_degenerate_completion_earns_more_than_an_honest_wrong_one(stage, name):
    assert stage_total(stage, DEGENERATE[name]) <= stage_total(stage, HONEST_WRONG)


def test_each_further_answer_block_costs_format_and_never_earns():
    totals = [
        [stage_total(stage, HONEST_WRONG + "\n<answer>17</answer>" * extra) for extra in range(4)]
        for stage in STAGE_WEIGHTS
    ]

    assert all(first > second >= third >= fourth for first, second, third, fourth in totals)


# --- the breakdown


def test_the_row_of_a_completion_has_the_promised_keys_and_is_json():
    row = score("<reasoning>9 + 9</reasoning><answer>18</answer>", GOLD).as_row()

    assert json.loads(json.dumps(row)) == {
        "verdict": "correct",
        "given": "18",
        "lenient": {"verdict": "correct", "given": "18", "path": "tags"},
        "strict": False,
        "soft": True,
        "rewards": dict(zip(NAMES, [0.5, 0.5, 0.5, 0.5, 0.0, 2.0], strict=True)),
        "why_not_strict": row["why_not_strict"],
    }
    assert row["why_not_strict"][0] == {
        "code": "newline_missing",
        "at": 11,
        "message": "no line break right after <reasoning>",
    }


def test_a_total_with_a_term_that_cannot_be_told_cannot_be_told():
    breakdown = score(HONEST_WRONG, "")

    assert breakdown.total(STAGE_WEIGHTS["solve"]) is None
    assert breakdown.total({"easy_reward_func": 2.0, "correctness_reward_func": 0.0}) == 1.0
