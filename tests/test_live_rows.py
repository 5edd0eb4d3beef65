"""How the rows with gradient are cut into micro-batches."""

from __future__ import annotations

import itertools
import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from warmstart.training.live_rows import micro_batch, share_out


def _rows(sizes: dict[int, int]) -> list[int]:
    return [group for group, count in sizes.items() for _ in range(count)]


def test_lists_are_filled_one_after_the_other_with_groups_of_like_length() -> None:
    # Groups 0 to 3 of two rows; the longest completions have 9, 3, 8 and 2 tokens; three lists of four rows.
    tokens = [9, 1, 3, 3, 8, 8, 2, 2]
    assert share_out(_rows({0: 2, 1: 2, 2: 2, 3: 2}), tokens, 3, 4) == [[0, 1, 4, 5], [2, 3, 6, 7], []]


def test_lists_that_cannot_all_be_full_are_equally_so() -> None:
    # Four groups of two rows need two lists of six: four and four, not six and two.
    shares = share_out(_rows({0: 2, 1: 2, 2: 2, 3: 2}), [1] * 8, 3, 6)
    assert [len(share) for share in shares] == [4, 4, 0]


def test_every_optimizer_step_gets_a_like_share_of_the_tokens() -> None:
    # 20 + 4 and 12 + 10 tokens: costliest first, each to the step with the fewest; a step has two lists.
    tokens = [10, 10, 6, 6, 5, 5, 2, 2]
    shares = share_out(_rows({0: 2, 1: 2, 2: 2, 3: 2}), tokens, 4, 4, updates=2)
    assert shares == [[0, 1, 6, 7], [], [2, 3, 4, 5], []]


def test_a_group_larger_than_a_list_is_cut() -> None:
    assert share_out([0] * 6, [1] * 6, 3, 2) == [[0, 1], [2, 3], [4, 5]]


def test_groups_that_fit_into_no_list_whole_are_cut() -> None:
    # Three groups of two rows in two lists of three rows.
    assert share_out(_rows({0: 2, 1: 2, 2: 2}), [1] * 6, 2, 3) == [[0, 1, 2], [3, 4, 5]]


def test_groups_are_cut_where_padding_costs_more_than_their_prompts_again() -> None:
    # Whole: two lists of two rows, 4 times 90 tokens and two prompts. Cut: 2 times 90, 2 times 10, four prompts.
    groups, tokens = _rows({0: 2, 1: 2}), [90, 10, 10, 90]
    assert share_out(groups, tokens, 2, 2, prompt=20) == [[0, 3], [1, 2]]
    assert share_out(groups, tokens, 2, 2, prompt=100) == [[0, 1], [2, 3]]
    # 360 + 2p against 200 + 4p tokens: at p = 71 the cut leaves 484 of 502, which is not worth it; at 62, 448 of 484.
    assert share_out(groups, tokens, 2, 2, prompt=71) == [[0, 1], [2, 3]]
    assert share_out(groups, tokens, 2, 2, prompt=62) == [[0, 3], [1, 2]]


def test_without_a_row_all_lists_are_empty() -> None:
    assert share_out([], [], 4, 8) == [[], [], [], []]


@given(st.data())
def test_every_row_is_in_one_list_and_no_list_has_more_than_its_room(data: st.DataObject) -> None:
    each, updates, room = (data.draw(st.integers(1, 5), label) for label in ("each", "updates", "room"))
    bins = each * updates
    group_size = data.draw(st.integers(1, 6))
    live = data.draw(st.integers(0, bins * room // group_size))
    groups = [group for group in range(live) for _ in range(group_size)]
    tokens = data.draw(st.lists(st.integers(1, 50), min_size=len(groups), max_size=len(groups)))
    prompt = data.draw(st.sampled_from([0.0, 10.0, 100.0, math.inf]))
    shares = share_out(groups, tokens, bins, room, prompt=prompt, updates=updates)
    assert len(shares) == bins
    assert sorted(row for share in shares for row in share) == list(range(len(groups)))
    assert max(len(share) for share in shares) <= room
    for share in shares:
        kept = [group for group, _ in itertools.groupby(groups[row] for row in share)]
        assert len(kept) == len(set(kept)), "the rows of a group stand together"


def _batch() -> dict[str, torch.Tensor]:
    return {
        "prompt_ids": torch.tensor([[0, 5, 6], [7, 8, 9]]),
        "prompt_mask": torch.tensor([[0, 1, 1], [1, 1, 1]]),
        "completion_ids": torch.tensor([[3, 4, 0], [3, 4, 5]]),
        "completion_mask": torch.tensor([[1, 1, 0], [1, 1, 1]]),
        "advantages": torch.tensor([1.0, -1.0]),
    }


def test_missing_rows_repeat_the_last_one_and_count_for_nothing() -> None:
    cut = micro_batch(_batch(), [0], size=2, stock_rows=2, loss_type="dapo")
    assert cut["prompt_ids"].tolist() == [[5, 6], [5, 6]], "no column of a longer prompt"
    assert cut["completion_mask"].tolist() == [[1, 1], [0, 0]]
    assert cut["advantages"].tolist() == [1.0, 0.0]


def test_a_micro_batch_without_rows_is_one_row_of_four_tokens_that_count_for_nothing() -> None:
    batch = _batch()
    cut = micro_batch(batch, [], size=1, stock_rows=2, loss_type="dapo")
    assert cut["prompt_ids"].shape == (1, 2)
    assert cut["completion_ids"].shape == (1, 2), "one would be TRL's shape of one value per sequence"
    assert not cut["completion_mask"].any()
    assert not cut["advantages"].any()
    assert batch["prompt_mask"].sum() == 5, "the batch stays as it was"


def test_a_divisor_of_rows_stays_the_one_of_stock() -> None:
    # TRL divides by the two rows it sees; stock would have divided by four.
    cut = micro_batch(_batch(), [0, 1], size=2, stock_rows=4, loss_type="grpo")
    assert cut["advantages"].tolist() == [0.5, -0.5]
