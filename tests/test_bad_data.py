"""Data sets as strangers have them: a sentence with the row, or problems; never a traceback or a wrong answer."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from warmstart.config.schema import ColumnMap, DataConfig, load_recipe
from warmstart.data import load
from warmstart.data.files import read_rows, to_problems
from warmstart.errors import DataError
from warmstart.pipeline.context import load_splits
from warmstart.records import Problem


def _is_told(refused: DataError, *words: str) -> None:
    assert refused.hint
    assert refused.exit_code == 2
    assert refused.message
    assert all(word in refused.message for word in words)


ROWS = [{"question": f"{n} + {n}?", "answer": str(2 * n)} for n in range(1, 6)]


def _load(path: Path, **columns: str):
    return load(
        DataConfig(source="files", path=str(path), columns=ColumnMap(**columns)), seed=0, eval_problems=1
    )


def _jsonl(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "BOM"])
def test_newlines_and_marks_of_any_system_give_the_same_problems(tmp_path, newline, mark) -> None:
    jsonl, table = tmp_path / "t.jsonl", tmp_path / "t.csv"
    jsonl.write_bytes((mark + newline.join(map(json.dumps, ROWS))).encode())
    table.write_bytes(
        (mark + newline.join(["question,answer", *(f"{r['question']},{r['answer']}" for r in ROWS)])).encode()
    )
    for path in (jsonl, table):
        assert [(p.question, p.gold) for p in to_problems(read_rows(path), ColumnMap(), where="t")] == [
            (row["question"], row["answer"]) for row in ROWS
        ]


def test_newlines_of_all_systems_in_one_file_are_lines(tmp_path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes("\r".join(map(json.dumps, ROWS[:2])).encode() + b"\r\n\n" + json.dumps(ROWS[2]).encode())
    assert len(read_rows(path)) == 3
    # A separator inside a text is not the end of its line.
    path.write_text(
        json.dumps({"question": "a\u2028b\x85c?", "answer": "1"}, ensure_ascii=False), encoding="utf-8"
    )
    assert read_rows(path)[0]["question"] == "a\u2028b\x85c?"


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "cp1252", "utf-32"])
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_another_encoding_is_named_and_never_read_as_other_letters(tmp_path, encoding, kind) -> None:
    path = tmp_path / f"t.{kind}"
    path.write_bytes('question,answer\n"Zwölf Bäume?",12\n'.encode(encoding))
    with pytest.raises(DataError, match=r"t\.\w+ cannot be read: .*utf-8.*") as refused:
        _load(path)
    assert refused.value.hint == "save it as UTF-8"


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_question_of_a_megabyte_is_read_whole(tmp_path, kind) -> None:
    path, row = tmp_path / f"t.{kind}", {"question": "x" * 10**6 + "?", "answer": "1"}
    if kind == "csv":
        path.write_text(f"question,answer\n{row['question']},1\n")
    elif kind == "jsonl":
        _jsonl(path, [row])
    else:
        parquet.write_table(pa.table({key: [value] for key, value in row.items()}), path)
    assert len(read_rows(path)[0]["question"]) == 10**6 + 1


def test_problems_that_do_not_fit_into_the_model_are_left_out_and_said(tmp_path) -> None:
    long = {"question": "How many are 1 and 1? " * 50_000, "answer": "2"}  # 1.1 MB
    path = _jsonl(tmp_path / "t.jsonl", [ROWS[0], long, *ROWS[1:]])
    held_out = _jsonl(tmp_path / "e.jsonl", ROWS)
    said: list[str] = []
    files = ["data.source=files", f"data.path={path}", f"data.eval_path={held_out}"]
    splits = load_splits(load_recipe("tiny", files), said.append)
    assert {p.question for p in splits.train} == {row["question"] for row in ROWS}
    assert said == [
        "data: 1 training problems do not fit into the 2,048 tokens of the model with completions of 112; they are left out (t.jsonl-2 first)"
    ]
    _jsonl(path, [long])
    with pytest.raises(DataError, match=r"all 1 training problems do not fit into the 2,048 tokens"):
        load_splits(load_recipe("tiny", files), said.append)


def test_a_prompt_that_just_fits_is_kept(tmp_path) -> None:
    row = {"question": "1 " * 900 + "?", "answer": "1"}  # over the bound by bytes, under it by tokens
    path = _jsonl(tmp_path / "t.jsonl", [row])
    files = ["data.source=files", f"data.path={path}", f"data.eval_path={path}"]
    assert len(load_splits(load_recipe("tiny", files)).train) == 1


@pytest.mark.parametrize(
    ("rows", "message", "hint"),
    [
        ([], "the training data of .* has no rows", "name another file or split"),
        (ROWS[:1], "has one row, and some must be held out", "data.eval_path"),
        ([{"q": "1?", "answer": "1"}] * 2, "row 1 has no column 'question'; its columns are 'q', 'answer'", "data.columns.question=NAME"),
        ([{"question": "1?", "answer": None}] * 2, "row 1: 'answer' is empty", "leave the row out"),
        ([{"question": ["1?"], "answer": "1"}] * 2, "row 1: 'question' is a list", "a text or a number"),
        ([{"question": "1?", "answer": "????"}] * 2, "2 of 2 gold answers of the training data cannot be graded", "repair"),
        ([{"question": "1?", "answer": float("nan")}] * 2, "row 1: 'nan' is not finite", "repair"),
        ([{"question": "1?\ud800", "answer": "1"}] * 2, r"row 1: 'question' holds half a character, U\+D800", "UTF-8"),
    ],
)  # fmt: skip
def test_a_data_set_that_cannot_be_used_is_a_sentence_with_the_row_and_what_to_do(
    tmp_path, rows, message, hint
) -> None:
    with pytest.raises(DataError, match=message) as refused:
        _load(_jsonl(tmp_path / "t.jsonl", rows))
    assert hint in refused.value.hint
    assert refused.value.exit_code == 2


def test_ids_that_occur_twice_are_named_with_both_rows(tmp_path) -> None:
    path = _jsonl(tmp_path / "t.jsonl", [{**row, "id": "a"} for row in ROWS])
    with pytest.raises(DataError, match="row 2: the id 'a' is that of row 1 too"):
        _load(path, id="id")


WHOLE = pa.BufferOutputStream()
parquet.write_table(pa.table({"question": ["1 + 1?"] * 50, "answer": [str(n) for n in range(50)]}), WHOLE)
BYTES = WHOLE.getvalue().to_pybytes()


@settings(max_examples=40)
@given(st.integers(0, len(BYTES) - 1), st.binary(min_size=1, max_size=8), st.booleans())
def test_a_parquet_file_broken_anywhere_is_read_or_refused(tmp_path_factory, at, junk, is_cut) -> None:
    path = tmp_path_factory.getbasetemp() / "broken.parquet"
    path.write_bytes(BYTES[:at] if is_cut else BYTES[:at] + junk + BYTES[at + len(junk) :])
    problems = _read_or_refused(path)
    assert problems is None or len(problems) == 50
    # The footer stands at the end: without it there is no table to read.
    assert problems is None or not is_cut


@given(
    st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(["jsonl", "csv"]),
)
def test_any_bytes_are_rows_or_refused(tmp_path_factory, content, kind) -> None:
    path = tmp_path_factory.getbasetemp() / f"any.{kind}"
    path.write_bytes(content)
    problems = _read_or_refused(path)
    assert problems is None or all(problem.question and problem.gold is not None for problem in problems)


def _read_or_refused(path: Path) -> list[Problem] | None:
    """Return the problems of a file, None of one that was refused in words."""
    try:
        return to_problems(read_rows(path), ColumnMap(), where="t")
    except DataError as refused:
        _is_told(refused)
        return None


CELLS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.lists(st.text(), max_size=2)
    | st.binary(max_size=4)
)


@given(st.lists(st.dictionaries(st.sampled_from(["question", "answer", "id", "why"]), CELLS), max_size=4))
def test_rows_of_any_cells_are_problems_or_refused(rows) -> None:
    columns = ColumnMap(id="id", rationale="why")
    try:
        problems = to_problems(rows, columns, where="t")
    except DataError as refused:
        _is_told(refused)
    else:
        assert len({problem.id for problem in problems}) == len(rows)
        assert all(isinstance(problem, Problem) and problem.question for problem in problems)
