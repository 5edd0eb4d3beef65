from __future__ import annotations

import pytest

from warmstart.grading.notation import boxes, canonical, plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("９**9", "9**9"),
        ("**bold**", "bold"),
        ("x²", "x^{2}"),
        (r"\text{\textbf{18}}", "  18  "),
        (r"\frac{\sqrt{2}}{2}", r"\frac{\sqrt{2}}{2}"),
        ("a\r\nb\tc", "a\n\nb c"),
    ],
)
def test_plain_takes_notation_off_and_leaves_what_it_does_not_know(text, expected):
    assert plain(text) == expected


def test_boxes_finds_outermost_complete_boxes_only():
    text = r"\boxed{1} \fbox{a{b}c} \boxed{\boxed{2}} \boxed{\}} \boxed{3"

    assert [content for _, _, content in boxes(text)] == ["1", "a{b}c", r"\boxed{2}", r"\}"]
    assert next(text[start:end] for start, end, _ in boxes(text)) == r"\boxed{1}"


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("03:30", "3:30"),
        ("3:30 PM", "3:30  pm."),
        (r"\text{Evelyn}", "evelyn"),
        ("$x^2$", "x^2"),
        ("1.05", "1.05"),
    ],
)
def test_the_same_text_has_the_same_canonical_form(left, right):
    assert canonical(left) == canonical(right)


def test_canonical_keeps_zeros_that_matter():
    assert canonical("1.05") != canonical("1.5")
    assert canonical("100") == "100"
