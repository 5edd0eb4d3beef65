from __future__ import annotations

import re
import sys
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmstart import tags as tags_module
from warmstart.errors import DataError
from warmstart.tags import (
    DEFAULT_TAGS,
    MAX_CHARS,
    Tags,
    has_word,
    instructions,
    is_blank,
    parse,
    render_target,
)

STRICT = "<reasoning>\n2 + 2 is 4.\n</reasoning>\n<answer>\n4\n</answer>"

# An independent statement of the strict format, safe here because the texts are short.
REFERENCE = re.compile(r"<reasoning>\n(.*)\n</reasoning>\n<answer>\n(.*)\n</answer>", re.DOTALL)

EXACT = ["<reasoning>", "</reasoning>", "<answer>", "</answer>"]
NEARLY = ["<think>", "</think>", "<ANSWER>", "</Answer >", "<answer/>", "< answer a='1'>", "<", ">", "/"]
BETWEEN = ["\n", "\n", "\n", " ", "\r\n", "4", "18", "x", "...", "\u200b"]
PIECES = st.sampled_from([*EXACT, *NEARLY, *BETWEEN])
NEAR_FORMAT = st.lists(PIECES, max_size=24).map("".join) | st.builds(
    lambda a, b, c: a + STRICT.replace("2 + 2", b) + c, st.just("") | PIECES, PIECES, st.just("") | PIECES
)
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=200)


def codes(text: str) -> list[str]:
    return [reason.code for reason in parse(text).why_not_strict]


# --- the strict format


def test_the_exact_format_is_strict_and_soft_and_has_nothing_outside():
    parsed = parse(STRICT)

    assert parsed == (True, True, (1, 1, 1, 1), 4, 0, ("4",), 1, ())


def test_outer_white_space_does_not_break_strict():
    assert parse(f"\n  {STRICT}\n\n").strict


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (STRICT + "\nHope this helps!", [("text_after", 58)]),
        ("Sure: " + STRICT, [("text_before", 0)]),
        (STRICT.replace("<answer>\n", "<answer>"), [("newline_missing", 45)]),
        (STRICT.replace("\n</answer>", "</answer>"), [("newline_missing", 47)]),
        (STRICT.replace("</reasoning>\n", "</reasoning>\n\n"), [("between_blocks", 36)]),
        (STRICT.replace("\n4\n", "\n \n"), [("blank_body", 45)]),
        (STRICT.replace("2 + 2 is 4.", "\u200b"), [("blank_body", 11)]),
        (STRICT.replace("2 + 2", "2\r+ 2"), [("carriage_return", 13)]),
        (STRICT.replace("</answer>", ""), [("tag_missing", 48)]),
        (STRICT.replace("</answer>", "<answer>"), [("tag_repeated", 48), ("tag_missing", 56)]),
        ("", [("tag_missing", 0)] * 4),
    ],
)
def test_every_miss_has_a_reason_with_its_place(text, expected):
    parsed = parse(text)

    assert not parsed.strict
    assert [(reason.code, reason.at) for reason in parsed.why_not_strict] == expected


def test_blocks_in_the_wrong_order_are_named():
    text = "<answer>\n4\n</answer>\n<reasoning>\nx\n</reasoning>"

    assert parse(text).why_not_strict[0].message == "<answer> comes before </reasoning>"


def test_a_reason_says_in_words_what_is_wrong():
    assert parse(STRICT.replace("<answer>\n", "<answer>")).why_not_strict[0].message == (
        "no line break right after <answer>"
    )


def test_an_ellipsis_is_strict_by_shape_but_not_soft():
    parsed = parse(STRICT.replace("2 + 2 is 4.", "..."))

    assert parsed.strict
    assert not parsed.soft


def test_soft_leaves_white_space_free_but_not_order():
    assert parse("<reasoning>a</reasoning>  <answer>1</answer> bye").soft
    assert not parse("<answer>1</answer><reasoning>a</reasoning>").soft


@given(NEAR_FORMAT | ANY_TEXT)
def test_strict_is_the_reference_pattern_with_each_tag_once_and_visible_bodies(text):
    match = REFERENCE.fullmatch(text.strip())
    expected = (
        match is not None
        and all(text.count(tag) == 1 for tag in DEFAULT_TAGS.exact)
        and not any(map(is_blank, match.groups()))
        and "\r" not in text.strip()
    )

    assert parse(text).strict == expected


@given(NEAR_FORMAT | ANY_TEXT)
def test_a_text_is_strict_exactly_when_no_reason_speaks_against_it(text):
    parsed = parse(text)

    assert parsed.strict == (not parsed.why_not_strict)
    assert all(0 <= reason.at <= len(text) for reason in parsed.why_not_strict)


@given(NEAR_FORMAT | ANY_TEXT)
def test_the_short_cut_for_strict_texts_agrees_with_the_full_parser(text):
    assert parse(text) == tags_module._parse_any(text, DEFAULT_TAGS)


# --- counts


@pytest.mark.parametrize(
    ("text", "in_order"),
    [
        ("<reasoning></reasoning><answer></answer>", 4),
        ("<answer></answer><reasoning></reasoning>", 2),
        ("</answer><answer></reasoning><reasoning>", 1),
        ("<answer>1</answer>", 2),
        ("<reasoning>a</reasoning><answer>1</answer><answer>2</answer>", 2),
        ("no tags", 0),
    ],
)
def test_tags_in_order_counts_tags_that_occur_once_and_follow_those_before(text, in_order):
    assert parse(text).tags_in_order == in_order


@pytest.mark.parametrize(
    ("text", "outside"),
    [
        ("ab <reasoning>c d</reasoning> e <answer>1</answer> fg\n", 5),
        ("no tags", 6),
        ("<reasoning>cut off", 0),
        ("<answer>1</answer><reasoning>a</reasoning>z", 1),
        ("<reasoning>a<answer>1</answer>b</reasoning>c", 1),
        ("<reasoning>a</reasoning><answer>1</answer>\n<answer>2</answer>", 18),
    ],
)
def test_outside_counts_what_is_in_neither_first_block_without_white_space(text, outside):
    assert parse(text).outside == outside


# --- the answers that count


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ("<answer>4</answer>", ("4",)),
        ("<ANSWER> 4 </Answer>", ("4",)),
        ('<answer type="int">4</answer >', ("4",)),
        ("< answer >4</ answer>", ("4",)),
        ("<answer/>4", ()),
        ("<answer />4</answer>", ()),
        ("<answers>4</answers>", ()),
        ("&lt;answer&gt;4&lt;/answer&gt;", ()),
        ("<answer>4", ()),
        ("<answer>4</ans", ()),
        ("<answer>4<answer>", ()),
        ("<answer> \u200b </answer>", ()),
        ("<answer>4</answer><answer>5</answer>", ("4", "5")),
        ("<answer>\n<answer>\n4\n</answer>\n</answer>", ("4",)),
        ("<answer>7 <answer>4</answer>", ("7", "4")),
        ("<answer>4</answer> or <answer>5", ("4",)),
        ("<reasoning>maybe <answer>7</answer>?</reasoning><answer>4</answer>", ("4",)),
        ("<think><answer>7</answer></think><answer>4</answer>", ("4",)),
        ("<reasoning>never closed <answer>4</answer>", ()),
        ("<reasoning>the <think> tag</reasoning><answer>4</answer>", ("4",)),
        ("<reasoning>the <reasoning> tag</reasoning><answer>4</answer>", ("4",)),
        ("opened by the prompt <answer>7</answer></reasoning><answer>4</answer>", ("4",)),
        ("hm <answer> hm</think><reasoning>x</reasoning><answer>4</answer>", ("4",)),
        ("<reasoning>x</reasoning><answer>4</answer></reasoning>", ("4",)),
        ("<answer>4</answer><reasoning>x</reasoning>", ("4",)),
        ("<answer>4 <reasoning>x</reasoning></answer>", ("4 <reasoning>x</reasoning>",)),
    ],
)
def test_only_complete_answers_outside_reasoning_count(text, answers):
    assert parse(text).answers == answers


def test_blank_answers_are_counted_as_blocks_but_are_no_answers():
    parsed = parse("<answer></answer><answer>4</answer>")

    assert (parsed.answer_blocks, parsed.answers) == (2, ("4",))


def test_a_text_over_the_limit_is_not_parsed_at_all():
    parsed = parse(STRICT + "x" * MAX_CHARS)

    assert (parsed.strict, parsed.answers, parsed.tag_counts) == (False, (), (0, 0, 0, 0))
    assert [reason.code for reason in parsed.why_not_strict] == ["too_long"]
    assert codes(STRICT + " " * (MAX_CHARS - len(STRICT))) == []


# --- other names


def test_other_tag_names_are_used_throughout():
    tags = Tags("think", "final")
    text = "<think>\nx\n</think>\n<final>\n4\n</final>"

    assert parse(text, tags).strict
    assert parse(text, tags).answers == ("4",)
    assert parse(STRICT, tags).answers == ()
    assert render_target("x", "4", tags) == text


@pytest.mark.parametrize(
    "names", [("a b", "c"), ("", "c"), ("a", "<c>"), ("a", "A"), ("a", "think"), ("é", "c")]
)
def test_tag_names_that_cannot_be_told_apart_or_written_are_refused(names):
    with pytest.raises(ValueError, match="tag"):
        Tags(*names)


# --- the text that is trained on and the text that asks for it


def test_a_target_is_strict_soft_and_stripped():
    assert render_target(" 2 + 2 is 4.\r\n", "\n4 ") == STRICT
    assert parse(STRICT).soft


@pytest.mark.parametrize(
    ("reasoning", "answer", "why"),
    [
        ("", "4", "nothing in the <reasoning> block"),
        ("x", " ", "nothing in the <answer> block"),
        ("...", "4", "no letter or digit"),
        ("see <answer>", "4", "<answer> occurs more than once"),
        ("x", "<ANSWER>4", "contains a tag"),
        ("a\rb", "4", "LF alone"),
    ],
)
def test_a_body_that_breaks_the_format_is_refused(reasoning, answer, why):
    with pytest.raises(DataError, match=why):
        render_target(reasoning, answer)


def test_the_instructions_ask_for_the_format_word_for_word():
    assert instructions() == (
        "Respond in the following format:\n<reasoning>\nstep-by-step explanation\n</reasoning>\n"
        "<answer>\nfinal numeric answer\n</answer>"
    )
    assert "<think>\nstep-by-step explanation\n</think>\n<final>" in instructions(Tags("think", "final"))


# --- blanks


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\ufeff", "\u3164", "\0", "\ud800", "\u2800", "\ufe0f"])
def test_invisible_characters_make_a_blank_without_a_word(text):
    assert is_blank(text)
    assert not has_word(text)


@pytest.mark.parametrize("text", ["...", "_", "+", "。"])
def test_marks_are_neither_blank_nor_a_word(text):
    assert not is_blank(text)
    assert not has_word(text)


@pytest.mark.parametrize("text", ["a", "-5", "\u200b七", "٣"])
def test_letters_and_digits_of_any_script_are_words(text):
    assert has_word(text)


# --- cost


def count_lines(text: str) -> int:
    """Return how many lines of the tags module run while the text is parsed."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object):
        nonlocal count
        if frame.f_code.co_filename != tags_module.__file__:
            return None
        count += 1
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        parse(text)
    finally:
        sys.settrace(previous)
    return count


@pytest.mark.parametrize(
    "unit",
    [
        "<answer>",
        "<answer>1</answer>",
        "<reasoning>",
        "</answer>",
        "<think></think>",
        "<",
        "< answer ",
        "x\n",
        "\u200b",
    ],
)
def test_twice_the_text_is_at_most_twice_the_work(unit):
    small, large = count_lines(unit * 200), count_lines(unit * 400)

    assert large <= 2 * small + 50


def test_the_tag_pattern_has_no_repeat_that_could_be_tried_again():
    repeats = re.findall(
        r"(?<!\\)[*+?{][*+?]*", DEFAULT_TAGS.scanner.pattern.replace("(?:", "(").replace("(?<!", "(")
    )

    assert set(repeats) <= {"*+", "?+", "?"}
    # The slash, and the attributes: they begin with a space, which nothing behind them can take instead.
    assert repeats.count("?") == 2


@given(ANY_TEXT)
def test_any_text_at_all_is_parsed(text):
    parsed = parse(text)

    assert 0 <= parsed.tags_in_order <= 4
    assert 0 <= parsed.outside <= len(text)
