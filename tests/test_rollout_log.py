"""The rollout log and what is asked of it, on real files."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.run_directories import rollout_row, rollout_rows, start

from warmstart.errors import ConfigError, RunDirError
from warmstart.records import Verdict
from warmstart.runs import rollout_log
from warmstart.runs.rollout_log import Filters, parse_steps, rows_of, select

DEAD = {"live": False, "advantage": 0.0, "reward": 2.5}


@pytest.fixture(params=[100, 2], ids=["a file per step", "two steps packed into one"])
def run(tmp_path, request, monkeypatch):
    """Three steps of two groups of two; group 1 of step 2 is dead, and one of its texts misses the format."""
    monkeypatch.setattr(rollout_log, "PACK", request.param)
    run = start(tmp_path / "run")
    for step in (1, 2, 3):
        rows = [
            rollout_row(step, group, sample, right=sample == 1, tokens=10 * step + 2 * group + sample)
            for group in (0, 1)
            for sample in (0, 1)
        ]
        if step == 2:
            rows[2] |= DEAD | {"format": False, "why_not_strict": "text_after"}
            rows[3] |= DEAD | {"stage": "format"}
        run.write_rollouts(step, rows)
    return run


def _places(run, sort=None, lowest_first=False, **filters) -> list[tuple[int, int, int]]:
    found = select(run.rollout_files(), Filters(**filters), sort=sort, lowest_first=lowest_first)
    return [tuple(key) for key in found.keys_N.tolist()]


@pytest.mark.parametrize(
    ("text", "steps"),
    [("500", (500, 500)), ("1:3", (1, 3)), ("2:", (2, None)), (":2", (None, 2)), (" 7 ", (7, 7))],
)
def test_a_step_or_a_span_of_steps_is_read_with_both_its_ends(text, steps) -> None:
    assert parse_steps(text) == steps


@pytest.mark.parametrize("text", ["", ":", "x", "-1", "1:2:3", "3.5", "1-3", "9" * 13, "٣"])
def test_what_is_no_step_is_refused_with_an_example(text) -> None:
    with pytest.raises(ConfigError, match="is not a step") as error:
        parse_steps(text)
    assert "100:200" in error.value.hint


def test_a_span_that_ends_before_it_begins_is_turned_round_in_the_hint() -> None:
    with pytest.raises(ConfigError, match="ends before it begins") as error:
        parse_steps("9:2")
    assert error.value.hint == "write 2:9"


@pytest.mark.parametrize(
    ("filters", "places"),
    [
        ({"steps": (2, 2)}, [(2, 0, 0), (2, 0, 1), (2, 1, 0), (2, 1, 1)]),
        ({"steps": (3, None), "problem": "train-1"}, [(3, 1, 0), (3, 1, 1)]),
        ({"live": False}, [(2, 1, 0), (2, 1, 1)]),
        ({"live": True, "steps": (None, 2), "verdict": Verdict.WRONG}, [(1, 0, 0), (1, 1, 0), (2, 0, 0)]),
        (
            {"verdict": Verdict.WRONG, "is_format": True},
            [(1, 0, 0), (1, 1, 0), (2, 0, 0), (3, 0, 0), (3, 1, 0)],
        ),
        ({"is_format": False}, [(2, 1, 0)]),
        ({"stage": "format"}, [(2, 1, 1)]),
        ({"steps": (4, None)}, []),
        ({"verdict": Verdict.UNDECIDED}, []),
    ],
    ids=str,
)
def test_filters_find_what_meets_all_of_them_in_the_order_of_the_log(run, filters, places) -> None:
    assert _places(run, **filters) == places


def test_sorting_puts_the_highest_first_and_what_has_no_value_last_either_way(run) -> None:
    run.write_rollouts(
        4, [rollout_row(4, 0, 0, tokens=99, advantage=9.0), rollout_row(4, 0, 1, advantage=None)]
    )
    assert _places(run, sort="tokens")[:2] == [(4, 0, 0), (3, 1, 1)]
    assert _places(run, sort="tokens", lowest_first=True)[0] == (1, 0, 0)
    for lowest_first in (False, True):
        assert _places(run, sort="advantage", lowest_first=lowest_first)[-1] == (4, 0, 1)


def test_sorted_rows_come_out_whole_and_in_their_order(run) -> None:
    found = select(run.rollout_files(), Filters(), sort="tokens").first(3)
    rows = list(rows_of(found.tables()))
    assert [row["tokens"] for row in rows] == [33, 32, 31]
    assert rows[0] == rollout_row(3, 1, 1, tokens=33)


def test_a_group_comes_whole_and_once_however_many_of_its_completions_were_found(run) -> None:
    found = select(run.rollout_files(), Filters(is_format=False))
    (group,) = found.group_tables()
    assert [(row["step"], row["group"], row["sample"]) for row in group.to_pylist()] == [(2, 1, 0), (2, 1, 1)]
    longest = select(run.rollout_files(), Filters(), sort="tokens")
    assert longest.groups().tolist() == [[3, 1], [3, 0], [2, 1], [2, 0], [1, 1], [1, 0]]
    assert len(list(longest.group_tables(limit=2))) == 2


def test_a_problem_drawn_twice_in_a_step_makes_two_groups(run) -> None:
    run.write_rollouts(4, [rollout_row(4, group, 0, problem_id="twice") for group in (0, 1)])
    assert select(run.rollout_files(), Filters(problem="twice")).groups().tolist() == [[4, 0], [4, 1]]


def test_every_column_has_its_type_even_where_all_its_values_are_missing(tmp_path) -> None:
    run = start(tmp_path)
    empty = dict.fromkeys(("stage", "verdict", "given", "reward", "log_prob", "entropy"))
    run.write_rollouts(1, [rollout_row(1) | empty])
    run.write_rollouts(2, rollout_rows(2))
    schemas = [pq.read_schema(path) for path in run.rollout_files().values()]
    assert schemas[0] == schemas[1]
    assert schemas[0].names == [*rollout_log.COLUMNS, "rewards"]
    assert len(select(run.rollout_files(), Filters(steps=(1, 1)))) == 1


def test_exports_hold_what_was_found_and_a_broken_off_one_leaves_nothing(run, tmp_path) -> None:
    found = select(run.rollout_files(), Filters(live=False))
    lines, table = tmp_path / "dead.jsonl", tmp_path / "dead.parquet"
    assert rollout_log.write_jsonl(lines, found.tables()) == 2
    assert rollout_log.write_parquet(table, found.tables()) == 2
    written = [json.loads(line) for line in lines.read_text().splitlines()]
    assert written == pq.read_table(table).to_pylist() == list(rows_of(found.tables()))

    def breaks():
        yield from found.tables()
        raise KeyboardInterrupt

    for name, write in (("x.jsonl", rollout_log.write_jsonl), ("x.parquet", rollout_log.write_parquet)):
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / name, breaks())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dead.jsonl", "dead.parquet", "run"]


def test_an_export_of_nothing_is_a_file_with_the_columns_and_no_row(run, tmp_path) -> None:
    nothing = select(run.rollout_files(), Filters(problem="nobody"))
    assert rollout_log.write_parquet(tmp_path / "none.parquet", nothing.tables()) == 0
    written = pq.read_table(tmp_path / "none.parquet")
    assert written.num_rows == 0
    assert str(written.schema.field("advantage").type) == "double"


def test_many_small_steps_are_exported_in_row_groups_of_a_size_that_is_read_fast(tmp_path) -> None:
    run = start(tmp_path / "run")
    for step in range(1, 21):
        run.write_rollouts(step, rollout_rows(step, problems=125))
    every = select(run.rollout_files(), Filters())
    assert rollout_log.write_parquet(tmp_path / "all.parquet", every.tables()) == 10_000
    assert pq.ParquetFile(tmp_path / "all.parquet").num_row_groups == 2


def test_a_damaged_file_and_one_of_another_version_are_named(tmp_path) -> None:
    run = start(tmp_path)
    for step in (1, 2):
        run.write_rollouts(step, rollout_rows(step))
    run.rollouts_path(2).write_bytes(b"PAR1 torn")
    with pytest.raises(RunDirError, match="cannot be read"):
        select(run.rollout_files(), Filters(verdict=Verdict.WRONG))
    pq.write_table(pq.read_table(run.rollouts_path(1)).drop_columns(["verdict"]), run.rollouts_path(1))
    with pytest.raises(RunDirError, match="has no column 'verdict'"):
        select(run.rollout_files(), Filters(steps=(1, 1)))


def test_steps_are_packed_into_one_file_and_read_as_before(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(rollout_log, "PACK", 3)
    run = start(tmp_path)
    # A trainer that takes two updates from one batch draws completions in every other step.
    for step in (1, 3, 5, 7, 9, 11, 13):
        run.write_rollouts(step, rollout_rows(step))
    assert sorted(path.name for path in run.rollouts.iterdir()) == [
        "step-000013.parquet", "steps-000001-000005.parquet", "steps-000007-000011.parquet",
    ]  # fmt: skip
    assert list(run.read_rollouts()) == [rollout_rows(step) for step in (1, 3, 5, 7, 9, 11, 13)]
    assert len(select(run.rollout_files(), Filters(steps=(5, 7)))) == 16
    assert len(select(run.rollout_files(), Filters(steps=(2, 2)))) == 0


def test_a_kill_between_packing_and_deleting_counts_nothing_twice(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(rollout_log, "PACK", 2)
    run = start(tmp_path)
    run.write_rollouts(1, rollout_rows(1))
    left_behind = run.rollouts_path(1).read_bytes()
    run.write_rollouts(2, rollout_rows(2))
    run.rollouts_path(1).write_bytes(left_behind)
    assert len(select(run.rollout_files(), Filters())) == 16
    for step in (3, 4):
        run.write_rollouts(step, rollout_rows(step))
    assert sorted(path.name for path in run.rollouts.iterdir()) == [
        "steps-000001-000002.parquet", "steps-000003-000004.parquet",
    ]  # fmt: skip


def test_a_file_that_was_packed_while_it_was_asked_for_is_no_damage(tmp_path) -> None:
    run = start(tmp_path)
    run.write_rollouts(1, rollout_rows(1))
    files = run.rollout_files()
    found = select(files, Filters())
    run.drop_rollouts()
    for read in (lambda: select(files, Filters()), lambda: list(found.tables())):
        with pytest.raises(RunDirError, match="has changed while it was read") as error:
            read()
        assert "ask again" in error.value.hint


def test_packed_steps_of_long_texts_are_read_back_in_pieces(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(rollout_log, "_ROW_GROUP_BYTES", 50_000)
    long = start(tmp_path / "long")
    monkeypatch.setattr(rollout_log, "PACK", 4)
    for step in (1, 2, 3, 4):
        long.write_rollouts(step, [rollout_row(step, 0, sample, text="x" * 10_000) for sample in range(4)])
    (path,) = set(long.rollout_files().values())
    assert pq.ParquetFile(path).num_row_groups == 2
    tables = list(select(long.rollout_files(), Filters()).tables())
    assert [len(table) for table in tables] == [8, 8]


def test_a_stage_begun_again_starts_with_an_empty_log(run) -> None:
    run.drop_rollouts()
    assert run.rollout_files() == {}
    run.drop_rollouts()


def test_the_python_of_the_documentation_reads_a_log(run, monkeypatch) -> None:
    page = (Path(__file__).parents[1] / "docs" / "rollouts.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 2
    monkeypatch.chdir(run.path.parent)
    shutil.copytree(run.path, "runs/demo")
    results = []
    for example in examples:
        *lines, last = example.strip().splitlines()
        names: dict = {}
        exec("\n".join([*lines, f"result = {last}"]), names)
        results.append(names["result"])
    # Live rows from step 2 on: two of step 2, four of step 3. Wrong: the first sample of each of six groups.
    assert results[0].index.tolist() == [2, 3]
    assert results[0].tolist() == pytest.approx([0.5**0.5, (1 / 3) ** 0.5])
    assert results[1].num_rows == 6
    assert results[1].column_names == ["step", "problem_id", "reward"]


def test_the_documentation_explains_every_column(run) -> None:
    page = (Path(__file__).parents[1] / "docs" / "rollouts.md").read_text()
    assert [name for name in (*rollout_log.COLUMNS, "rewards") if f"`{name}`" not in page] == []
