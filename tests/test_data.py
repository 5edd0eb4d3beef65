from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from warmstart.config.schema import ColumnMap, DataConfig
from warmstart.data import files, load
from warmstart.data.files import read_rows, to_problems
from warmstart.data.golds import check_golds
from warmstart.data.gsm8k import to_problem
from warmstart.data.overlap import find_overlap
from warmstart.errors import DataError
from warmstart.grading.verdicts import check_gold
from warmstart.records import Problem

NATALIA = "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nNatalia sold 48+24 = <<48+24=72>>72 clips altogether.\n#### 72"


def test_a_gsm8k_row_becomes_gold_rationale_without_marks_and_two_steps() -> None:
    problem = to_problem("How many?", NATALIA, "p1")
    assert problem.gold == "72"
    assert (
        problem.rationale == "Natalia sold 48/2 = 24 clips in May.\nNatalia sold 48+24 = 72 clips altogether."
    )
    assert problem.steps == 2


def test_all_of_gsm8k_loads_with_every_gold_valid_and_no_mark_left(shared_data) -> None:
    splits = load(DataConfig(source="gsm8k", path=str(shared_data / "gsm8k")), seed=0, eval_problems=10_000)
    assert (len(splits.train), len(splits.eval)) == (7473, 1319)
    assert not any("<<" in p.rationale or "####" in p.rationale for p in splits.train + splits.eval)
    assert len({p.id for p in splits.train + splits.eval}) == 7473 + 1319


def test_the_same_seed_draws_the_same_problems_and_fewer_are_a_prefix(shared_data) -> None:
    config = DataConfig(source="gsm8k", path=str(shared_data / "gsm8k"), train_problems=50)
    first, again, other = (load(config, seed=seed, eval_problems=20) for seed in (0, 0, 1))
    assert first == again
    assert first.train != other.train
    assert load(config, seed=0, eval_problems=10).eval == first.eval[:10]


@pytest.fixture
def rows():
    return [
        {"q": "1 + 1?", "a": "2", "why": "1+1=2"},
        {"q": "2 + 2?", "a": "It is four.\n#### 4", "why": "2+2=4"},
    ]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_local_files_load_by_column_mapping(rows, kind, tmp_path) -> None:
    path = tmp_path / f"train.{kind}"
    if kind == "jsonl":
        path.write_text("\ufeff" + "\n\n".join(json.dumps(row) for row in rows) + "\r\n")
    elif kind == "csv":
        path.write_text('q,a,why\n1 + 1?,2,1+1=2\n2 + 2?,"It is four.\n#### 4",2+2=4\n')
    else:
        parquet.write_table(pa.Table.from_pylist(rows), path)
    config = DataConfig(
        source="files",
        path=str(path),
        eval_path=str(path),
        columns=ColumnMap(question="q", answer="a", rationale="why"),
    )
    problems = sorted(load(config, seed=0, eval_problems=5).train, key=lambda p: p.id)
    assert [(p.question, p.gold, p.rationale) for p in problems] == [
        ("1 + 1?", "2", "1+1=2"),
        ("2 + 2?", "4", "2+2=4"),
    ]


@pytest.mark.parametrize(
    ("row", "columns", "expected"),
    [
        (
            {"Body": "Ann has 3 pears. ", "Question": "And 2 more?", "Answer": 5.0, "Type": "Addition"},
            {"question": ["Body", "Question"], "answer": "Answer", "family": "Type"},
            ("Ann has 3 pears. And 2 more?", "5.0", "Addition", None),
        ),
        (
            {"body": "Nine apples.", "question": "How many?", "answer": "9 (apples)", "grade": "3"},
            {"question": ["body", "question"], "steps": "grade"},
            ("Nine apples. How many?", "9", None, 3),
        ),
        (
            {"problem": "x + 1 = 3", "solution": r"So $x = \boxed{\frac{4}{2}}$.", "level": "Level 5", "type": "Algebra"},
            {"question": "problem", "answer": "solution", "family": "type", "steps": "level"},
            ("x + 1 = 3", r"\frac{4}{2}", "Algebra", 5),
        ),
    ],
    ids=["SVAMP", "ASDiv", "MATH"],
)  # fmt: skip
def test_published_data_sets_load_by_column_mapping(row, columns, expected, tmp_path) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps([row]))
    (problem,) = files.load(str(path), ColumnMap(**columns))
    assert (problem.question, problem.gold, problem.family, problem.steps) == expected
    assert check_gold(problem.gold) is None


@pytest.mark.parametrize(
    ("gold", "final"),
    [("(1, 2)", "(1, 2)"), ("3 (mod 5)", "3 (mod 5)"), ("7", "7"), (r"\boxed{7}", "7"), ("a #### 7", "7")],
)
def test_a_gold_loses_only_what_is_no_part_of_it(gold, final) -> None:
    (problem,) = files.to_problems([{"question": "q", "answer": gold}], ColumnMap(), where="x")
    assert problem.gold == final


def test_a_json_file_that_is_no_list_of_rows_is_refused(tmp_path) -> None:
    for text in ("{}", "[1]", "["):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(DataError, match=r"list of objects|not usable JSON"):
            files.read_rows(tmp_path / "a.json")


def test_without_a_held_out_file_a_fifth_is_held_out_and_nothing_is_in_both(tmp_path) -> None:
    path = tmp_path / "all.jsonl"
    path.write_text("\n".join(json.dumps({"question": f"{n} + 1?", "answer": n + 1}) for n in range(50)))
    splits = load(DataConfig(source="files", path=str(path)), seed=0, eval_problems=100)
    assert (len(splits.train), len(splits.eval)) == (40, 10)
    assert not {p.id for p in splits.train} & {p.id for p in splits.eval}


def test_a_missing_column_is_named_with_those_there_are(rows) -> None:
    with pytest.raises(
        DataError, match=r"row 1 has no column 'question'; its columns are 'q', 'a', 'why'"
    ) as caught:
        to_problems(rows, ColumnMap(), where="train.jsonl")
    assert "data.columns.question" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"question": "a"}\n{oops', "line 2 is not JSON"), ("[1]", "line 1 is a list")],
)
def test_a_broken_line_is_named(tmp_path, text, message) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_rows(path)


def test_a_file_that_is_not_there_or_of_another_kind_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        read_rows(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match=r"is none of \.jsonl"):
        read_rows(tmp_path / "train.xlsx")


def test_a_broken_parquet_is_refused(tmp_path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        read_rows(tmp_path / "x.parquet")


def test_an_id_that_occurs_twice_is_refused() -> None:
    rows = [{"question": "a?", "answer": "1", "key": "x"}] * 2
    with pytest.raises(DataError, match="row 2: the id 'x' is that of row 1 too"):
        to_problems(rows, ColumnMap(id="key"), where="train.jsonl")


def test_golds_that_cannot_be_graded_are_listed_by_row_value_and_reason() -> None:
    problems = [Problem("a", "?", "4"), Problem("b", "?", ""), Problem("c", "?", "nan")]
    with pytest.raises(DataError) as caught:
        check_golds(problems, where="training")
    assert caught.value.message.startswith(
        "2 of 3 gold answers of the training data cannot be graded:\n  row 2: '' is "
    )
    assert "row 3: 'nan' is " in caught.value.message


def test_an_empty_data_set_is_refused(tmp_path) -> None:
    (tmp_path / "train.jsonl").write_text("\n")
    with pytest.raises(DataError, match="has no rows"):
        load(DataConfig(source="files", path=str(tmp_path / "train.jsonl")), seed=0, eval_problems=5)


def test_without_the_hub_the_message_says_how_to_use_local_files(monkeypatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="could not be loaded") as caught:
        load(DataConfig(source="gsm8k"), seed=0, eval_problems=5)
    assert "data.path=FOLDER" in caught.value.hint


TRAIN = [Problem("t1", "Ann has three red pens and four blue pens. How many pens has she?", "7")]


def test_overlap_tells_exact_from_normalised_from_shared_words() -> None:
    held_out = [
        Problem("exact", TRAIN[0].question, "7"),
        Problem("case", "ann has THREE red pens and four blue pens; how many pens has she", "7"),
        Problem("gram", "In May Ann has three red pens and four blue hats. How many?", "7"),
        Problem("new", "A train leaves at noon.", "1"),
    ]
    found = find_overlap(TRAIN, held_out)
    assert (found.exact, found.normalised, found.ngram) == (1, 2, 3)
    assert [pair.eval_id for pair in found.pairs] == ["exact", "case", "gram"]
    assert found.pairs[2].shared == "ann has three red pens and four blue"
    assert "1 are in the training data to the letter" in found.describe()


def test_overlap_looks_at_every_training_source_and_says_which_shares_how_much() -> None:
    question = "One two three four five six seven eight nine ten?"
    train = [Problem("t0", "Why?", "7", rationale="We saw: one two three four five six seven eight.")]
    found = find_overlap(train, [Problem("e0", question, "1")], also={"SFT targets": [("t1", question)]})
    assert found.by_source == {
        "questions": {"texts": 1, "exact": 0, "normalised": 0, "ngram": 0},
        "rationales": {"texts": 1, "exact": 0, "normalised": 0, "ngram": 1},
        "SFT targets": {"texts": 1, "exact": 1, "normalised": 1, "ngram": 1},
    }
    assert (found.exact, found.normalised, found.ngram) == (1, 1, 1)
    worst, other = found.pairs
    assert (worst.train_id, worst.source, worst.kind) == ("t1", "SFT targets", "exact")
    # One of its three runs of eight words.
    assert (other.train_id, other.source, other.share) == ("t0", "rationales", pytest.approx(1 / 3))


def test_overlap_says_so_when_there_is_none() -> None:
    found = find_overlap(TRAIN, [Problem("new", "A train leaves at noon.", "1")])
    assert found.describe().startswith("none of the 1 held-out problems")


@given(st.lists(st.text(max_size=60), max_size=8), st.lists(st.text(max_size=60), max_size=8))
def test_overlap_counts_grow_from_exact_to_normalised_for_any_text(train, held_out) -> None:
    found = find_overlap(
        [Problem(f"t{i}", text, "1") for i, text in enumerate(train)],
        [Problem(f"e{i}", text, "1") for i, text in enumerate(held_out)],
    )
    assert found.exact <= found.normalised <= len(held_out)
    assert found.ngram <= len(held_out)


def test_a_bad_gold_is_named_by_its_row_in_the_file_though_the_split_is_shuffled(tmp_path) -> None:
    path = tmp_path / "all.jsonl"
    golds = [str(n) if n != 7 else "??" for n in range(1, 51)]
    path.write_text("\n".join(json.dumps({"question": f"{gold}?", "answer": gold}) for gold in golds))
    with pytest.raises(DataError, match=r"1 of 50 gold answers.*\n  row 7: '\?\?'"):
        load(DataConfig(source="files", path=str(path)), seed=3, eval_problems=5)


def test_what_is_held_out_of_one_file_does_not_depend_on_the_seed(tmp_path) -> None:
    path = tmp_path / "all.jsonl"
    path.write_text("\n".join(json.dumps({"question": f"{n} + 1?", "answer": n + 1}) for n in range(50)))
    config = DataConfig(source="files", path=str(path))
    first, other = (load(config, seed=seed, eval_problems=100) for seed in (0, 1))
    assert {p.id for p in first.eval} == {p.id for p in other.eval}
    assert [p.id for p in first.train] != [p.id for p in other.train]


def test_one_row_cannot_be_split(tmp_path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text('{"question": "1 + 1?", "answer": 2}')
    with pytest.raises(DataError, match="one row, and some must be held out"):
        load(DataConfig(source="files", path=str(path)), seed=0, eval_problems=5)


def test_a_folder_that_is_not_gsm8k_is_refused_by_its_columns(tmp_path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text('{"problem": "1 + 1?", "answer": "#### 2"}')
    with pytest.raises(
        DataError, match=r"row 1 of the train data is not GSM8K's: it has 'problem', 'answer'"
    ):
        load(DataConfig(source="gsm8k", path=str(tmp_path)), seed=0, eval_problems=5)


def test_an_unquoted_comma_in_a_csv_is_refused_instead_of_shifting_the_answer(tmp_path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("question,answer\nAnn has 3 pens, Bob has 4. How many?,7\n")
    with pytest.raises(DataError, match="line 2 has more cells than the header"):
        read_rows(path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"answer": ' + "9" * 5000 + "}"], ids=["deep", "long"])
def test_json_that_python_cannot_hold_is_a_data_error_with_its_line(tmp_path, text) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("{}\n" + text)
    with pytest.raises(DataError, match="line 2 is not"):
        read_rows(path)


@pytest.mark.parametrize("value", [True, ["1"], {"x": 1}], ids=repr)
def test_a_cell_that_is_neither_text_nor_number_is_refused(value) -> None:
    with pytest.raises(DataError, match="row 1: 'answer' is a"):
        to_problems([{"question": "1?", "answer": value}], ColumnMap(), where="train.jsonl")


def test_an_error_of_the_hub_without_words_is_named_by_its_kind(monkeypatch) -> None:
    def fail(*arguments, **options):
        raise ValueError

    monkeypatch.setattr("datasets.load_dataset", fail)
    with pytest.raises(DataError, match="could not be loaded: ValueError"):
        load(DataConfig(source="gsm8k"), seed=0, eval_problems=5)
