r"""One spelling for the many in which models write the same short answer.

``plain`` takes Unicode look-alikes, invisible characters, LaTeX wrappers and Markdown off a short
text, so that the number reader has one notation to know. It changes notation, never value: what
it does not understand stays as it is, and the reader then refuses it.
"""

from __future__ import annotations

import re
import unicodedata

MAX_NESTING = 8
r"""How many ``\text{…}`` or braces inside one another are taken off."""

_INVISIBLE = [
    0x00AD, 0x034F, 0x061C, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F),
    *range(0x2060, 0x2070), *range(0xFE00, 0xFE10), 0xFEFF,
]  # fmt: skip
_SAME: dict[str, str] = {
    "\u2212": "-", "\ufe63": "-", "\uff0d": "-", "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-",
    "\uff0b": "+", "\ufe62": "+", "\u2044": "/", "\u2215": "/", "\uff0f": "/", "\u00f7": "/",
    "\u00d7": "*", "\u22c5": "*", "\u00b7": "*", "\uff0a": "*", "\u2217": "*",
    "\uff0c": ",", "\uff0e": ".", "\uff1a": ":", "\uff1d": "=", "\uff05": "%", "\ufe6a": "%", "\u066a": "%",
    "\uff04": "$", "\uffe5": "¥", "\uff08": "(", "\uff09": ")", "\u3002": ".", "\uff01": "!",
    "\u201c": '"', "\u201d": '"', "\u2018": "'", "\u2019": "'", "\u00b4": "'", "\u2248": "≈", "\u00b0": "",
    "\u00a0": " ", "\u202f": " ", "\u3000": " ", "\u205f": " ", "\u1680": " ",
    "\u2028": "\n", "\u2029": "\n", "\u0085": "\n", "\r": "\n", "\v": "\n", "\f": "\n", "\t": " ",
    **{chr(space): " " for space in range(0x2000, 0x200B)},
}  # fmt: skip
_CHARACTERS = str.maketrans(_SAME) | dict.fromkeys(_INVISIBLE)

_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_SUPERSCRIPTS = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]++")

_BOX = re.compile(r"\\f?box(?:ed)?\s*+\{")
_ANNOTATION = re.compile(r"<<[^<>]*+>>")
_TEXT_COMMAND = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal|normalfont)?|math(?:rm|bf|it|sf|tt|normal)|[mhf]box|boxed|emph"
    r"|operatorname|displaystyle|bold(?:symbol)?)\s*+\{([^{}]*+)\}"
)
_BRACED = re.compile(r"(?<![\^_}\w])\{([^{}]*+)\}")
_FRACTION = re.compile(r"\\[dtc]?frac\s*+(?:\{\s*+([^{}]*+)\}|(\d))\s*+(?:\{\s*+([^{}]*+)\}|(\d))")
_PLAIN_NUMBER = re.compile(r"-?+\s*+\d++(?:\.\d++)?\s*+", re.ASCII)
_SIZING = re.compile(r"\\(?:left|right|displaystyle|[bB]igg?[lr]?)(?![a-zA-Z])")
_DEGREES = re.compile(r"\^\s*+(?:\{\s*+\\circ\s*+\}|\\circ)|\\degree(?![a-zA-Z])")
# Bold, but not the power of 9**9: at least one side of it is no operand.
_BOLD = re.compile(r"(?<![\w)}])\*\*(?!\*)|\*\*(?!\s*+[\d({*-])|__(?![\w])|(?<![\w])__")
_SYMBOLS = {
    **dict.fromkeys([r"\,", r"\;", r"\:", r"\ ", r"\quad", r"\qquad", r"\(", r"\)", r"\[", r"\]"], " "),
    **{f"\\{symbol}": symbol for symbol in "%$#&_"},
    r"\!": "", r"{,}": ",", r"\times": "*", r"\cdot": "*", r"\div": "/", r"\approx": "≈", r"\pm": "±",
    r"\colon": ":", r"\pounds": "£", r"\euro": "€", r"\infty": "∞",
}  # fmt: skip
_COMMANDS = re.compile(
    "|".join(re.escape(key) + ("(?![a-zA-Z])" if key[-1].isalpha() else "") for key in _SYMBOLS)
)


def plain(text: str) -> str:
    """Return the text in one notation: ASCII digits and signs, ``a/b``, ``^{n}``, no wrappers.

    Meant for answers: the caller bounds the length. Line breaks stay, each as LF.
    """
    text = text if text.isascii() else _plain_characters(text)
    if "\r" in text or "\t" in text:
        text = text.translate(_CHARACTERS)
    if "<<" in text:
        text = _ANNOTATION.sub("", text)
    if "\\" in text or "{" in text:
        text = _plain_latex(text)
    return _BOLD.sub("", text) if "**" in text or "__" in text else text


def boxes(text: str) -> list[tuple[int, int, str]]:
    r"""Return start, end and content of every outermost complete ``\boxed{…}``, in order; linear time."""
    found: list[tuple[int, int, str]] = []
    match = _BOX.search(text)
    closers = _closing_braces(text) if match else {}
    while match:
        closer = closers.get(match.end() - 1)
        end = match.end()
        if closer is not None:
            found.append((match.start(), closer + 1, text[end:closer]))
            end = closer + 1
        match = _BOX.search(text, end)
    return found


def canonical(text: str) -> str:
    """Return the text as it is compared when it is no number: one notation, one case, no leading zeros."""
    words = plain(text).casefold().replace("$", " ").split()
    text = " ".join(words).strip("*_`\"'.,;: ")
    return re.sub(r"(?<![\d.])0++(?=\d)", "", text)


def _plain_characters(text: str) -> str:
    text = _SUPERSCRIPTS.sub(
        lambda run: f"^{{{run[0].translate(_SUPERSCRIPT)}}}", text.translate(_CHARACTERS)
    )
    return text if text.isascii() else "".join(map(_plain_character, text))


def _plain_character(character: str) -> str:
    if character.isascii():
        return character
    if (digit := unicodedata.decimal(character, None)) is not None:
        return str(digit)
    if unicodedata.decomposition(character).startswith("<fraction>"):
        return " " + unicodedata.normalize("NFKC", character).replace("\u2044", "/")
    return character


def _plain_latex(text: str) -> str:
    text = _SIZING.sub("", _DEGREES.sub("", text))
    text = _COMMANDS.sub(lambda command: _SYMBOLS[command[0]], text)
    for _ in range(MAX_NESTING):
        before = text
        text = _TEXT_COMMAND.sub(r" \1 ", _FRACTION.sub(_plain_fraction, text))
        text = _BRACED.sub(r"\1", text)
        if text == before:
            break
    return text


def _plain_fraction(fraction: re.Match[str]) -> str:
    over, under = fraction[1] or fraction[2] or "", fraction[3] or fraction[4] or ""
    if _PLAIN_NUMBER.fullmatch(over) and _PLAIN_NUMBER.fullmatch(under):
        return f" {over.strip()}/{under.strip()}"
    return fraction[0]


def _closing_braces(text: str) -> dict[int, int]:
    """Return where each opening brace is closed; a brace after a backslash is no brace."""
    closers: dict[int, int] = {}
    open_braces: list[int] = []
    for brace in re.finditer(r"\\.|[{}]", text, re.DOTALL):
        if brace[0] == "{":
            open_braces.append(brace.start())
        elif brace[0] == "}" and open_braces:
            closers[open_braces.pop()] = brace.start()
    return closers
