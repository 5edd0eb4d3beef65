"""Only rows that carry gradient go through the model, cut into as many micro-batches as stock TRL's.

A row whose advantage is zero adds exactly nothing to the policy loss: every loss type of TRL multiplies
its term by the advantage. Leaving such rows out keeps the loss and the gradient, as long as the divisor
stays the one it would have been with them; `divisor_scale` sees to that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch

Batch = dict[str, Any]
"""What TRL's `_generate_and_score_completions` returns: tensors with a row per completion, and scalars."""

TOKEN_DIVISOR = ("dapo", "cispo", "vespo")
"""Loss types divided by the token count of the whole generation batch, which TRL hands over."""
ROW_DIVISOR = ("grpo", "dr_grpo", "sapo", "luspo")
"""Loss types divided by the number of rows in the micro-batch."""
_WORTH = 0.95
"""Groups are cut where that leaves at most this share of the tokens: more prompts are also more, smaller products."""
_SAME = 1e-6
"""Rewards that differ by less are equal, as in `learning_signal`."""


def why_not(args: Any, *, has_auxiliary_loss: bool) -> str | None:  # noqa: ANN401
    """Return the setting of TRL's `GRPOConfig` under which dead rows do count, or None.

    A KL penalty, an entropy bonus and an auxiliary loss act on dead rows too; the entropy quantile is
    taken over all rows; bnpo divides by the tokens of each micro-batch.
    """
    if args.beta != 0.0:
        return f"beta={args.beta}: the KL penalty acts on dead groups too"
    if args.entropy_coef != 0.0 or args.use_adaptive_entropy:
        return "the entropy bonus acts on dead groups too"
    if args.top_entropy_quantile < 1.0:
        return f"top_entropy_quantile={args.top_entropy_quantile} is taken over all rows"
    if has_auxiliary_loss:
        return "the router's auxiliary loss acts on dead groups too"
    if args.use_vllm and args.vllm_importance_sampling_correction:
        return "vLLM's importance sampling correction is averaged over all rows"
    if args.loss_type not in (*TOKEN_DIVISOR, *ROW_DIVISOR):
        return f"loss_type={args.loss_type!r} divides by the tokens of each micro-batch"
    return None


def gated(rewards: torch.Tensor, outcome: torch.Tensor, group_size: int) -> torch.Tensor:
    """Return the rewards with the group's mean in place of each value where outcomes are not mixed.

    The mean, not zero: the logged means stay what they were, and only the spread goes.
    """
    groups = rewards.view(-1, group_size, rewards.shape[1])
    right = outcome.view(-1, group_size)
    mixed = (right == 1).any(dim=1) & (right == 0).any(dim=1)
    level = groups.nanmean(dim=1, keepdim=True).expand_as(groups)
    level = torch.where(torch.isnan(groups), groups, level)
    return torch.where(mixed[:, None, None], groups, level).view_as(rewards)


def dead_rows(compared_B_V: torch.Tensor, group_size: int) -> torch.Tensor:
    """Return which rows are in groups in which every value is the same for all rows that have it; NaN is unknown.

    Their advantage is 0 by definition. Computed, it is not always: the mean of eight times 0.35 in float32 can
    miss 0.35 by a digit, and divided by a spread as small that is an advantage of 3e-4, which Adam, where there
    is no other gradient, makes into a step of full size.
    """
    groups = compared_B_V.view(-1, group_size, compared_B_V.shape[1])
    known = ~torch.isnan(groups)
    low = torch.where(known, groups, torch.inf).amin(dim=1)
    high = torch.where(known, groups, -torch.inf).amax(dim=1)
    return (high - low <= _SAME).all(dim=1).repeat_interleave(group_size)


def live_rows(advantages_B: torch.Tensor, group_of_B: torch.Tensor) -> torch.Tensor:
    """Return the indices of all rows of groups in which some advantage is not zero, in order."""
    live_groups = torch.unique(group_of_B[advantages_B != 0])
    return torch.isin(group_of_B, live_groups).nonzero().squeeze(-1)


def share_out(
    group_of_rows: Sequence[int],
    tokens: Sequence[int],
    bins: int,
    room: int,
    *,
    prompt: float = math.inf,
    updates: int = 1,
) -> list[list[int]]:
    """Return ``bins`` lists of row positions: as few as fit, of like size and length, then empty ones.

    Long lists use a processor best, and rows of like length need little padding; a list without rows costs
    next to nothing. A group stays whole, so that its prompt is computed once, unless it has more than ``room``
    rows, or its completions are so unlike in length that padding them costs clearly more than computing the prompt
    again: then its rows are cut into pieces of like length. Every optimizer step gets a like share of the tokens:
    the costliest piece goes to the step that has the fewest.

    Args:
        group_of_rows: The group of each row; rows of a group stand together.
        tokens: Completion tokens of each row.
        bins: How many lists.
        room: The most rows in one list; ``bins * room`` rows fit.
        prompt: Tokens that are computed once for all rows of a group in a list; 0 where prompts are not shared.
        updates: How many optimizer steps the lists are for, ``bins / updates`` of them in a row for each.
    """
    groups: dict[int, list[int]] = {}
    for position, group in enumerate(group_of_rows):
        groups.setdefault(group, []).append(position)

    def cost(lists: list[list[int]]) -> float:
        filled = [rows for rows in lists if rows]
        padded = sum(len(rows) * max(tokens[row] for row in rows) for rows in filled)
        shown = sum(len({group_of_rows[row] for row in rows}) for rows in filled)
        return padded + (prompt * shown if prompt else 0.0)

    whole = [rows[at : at + room] for rows in groups.values() for at in range(0, len(rows), room)]
    best = _arranged(whole, tokens, bins, room, updates)
    size = max((len(piece) for piece in whole), default=1)
    while size > 1 and (best is None or prompt < math.inf):
        size = (size + 1) // 2
        cut = _arranged(_cut(groups.values(), tokens, size), tokens, bins, room, updates)
        if cut is not None and (best is None or cost(cut) < _WORTH * cost(best)):
            # In their order, which puts the rows of a group together.
            best = [sorted(rows) for rows in cut]
    return _in_order(len(group_of_rows), bins) if best is None else best


def _cut(groups: Iterable[list[int]], tokens: Sequence[int], size: int) -> list[list[int]]:
    """Return each group's rows in pieces of at most ``size`` rows, the longest completions together."""
    longest_first = [sorted(rows, key=lambda row: -tokens[row]) for rows in groups]
    return [rows[at : at + size] for rows in longest_first for at in range(0, len(rows), size)]


def _arranged(
    pieces: Sequence[list[int]], tokens: Sequence[int], bins: int, room: int, updates: int
) -> list[list[int]] | None:
    """Return the pieces in ``bins`` lists, as `share_out` says, or None if they do not fit."""
    of_step: list[list[list[int]]] = [[] for _ in range(updates)]
    load = [0] * updates
    for rows in sorted(pieces, key=lambda rows: -sum(tokens[row] for row in rows)):
        step = load.index(min(load))
        of_step[step].append(rows)
        load[step] += sum(tokens[row] for row in rows)
    filled = [_fewest(pieces_of_step, tokens, room) for pieces_of_step in of_step]
    each = bins // updates
    if any(len(lists) > each for lists in filled):
        return None
    return [rows for lists in filled for rows in lists + [[]] * (each - len(lists))]


def _fewest(pieces: Sequence[list[int]], tokens: Sequence[int], room: int) -> list[list[int]]:
    """Return the pieces' rows in the fewest lists of at most ``room``, the largest as small as may be."""
    longest_first = sorted(pieces, key=lambda rows: -max(tokens[row] for row in rows))
    fewest = len(_filled(longest_first, room))
    least = math.ceil(sum(map(len, pieces)) / max(1, fewest))
    return next(
        lists
        for most in range(max(1, least), room + 1)
        if len(lists := _filled(longest_first, most)) == fewest
    )


def _filled(pieces: Sequence[list[int]], room: int) -> list[list[int]]:
    lists: list[list[int]] = []
    for rows in pieces:
        if lists and len(lists[-1]) + len(rows) <= room:
            lists[-1] = lists[-1] + rows
        else:
            lists.append(rows)
    return lists


def _in_order(rows: int, bins: int) -> list[list[int]]:
    edges = [round(rows * index / bins) for index in range(bins + 1)]
    return [list(range(start, end)) for start, end in pairwise(edges)]


def micro_batch(batch: Batch, rows: Sequence[int], *, size: int, stock_rows: int, loss_type: str) -> Batch:
    """Return the micro-batch of the given rows, without the padding that they do not need.

    Args:
        batch: The scored generation batch.
        rows: Which of its rows; may be empty.
        size: Rows of the result, at least one. Missing ones are filled with a row of no token that counts
            and advantage zero, because every process must hold as many. A micro-batch of nothing else keeps
            the last two tokens of a prompt, the fewest that go the way of the other ones.
        stock_rows: Rows TRL would have had in its micro-batch.
        loss_type: Decides whether the divisor is a row count.
    """
    # The last row again, not any: it brings no prompt and no padding of its own.
    filler = rows[-1] if rows else 0
    index = torch.tensor([*rows, *[filler] * (size - len(rows))], device=batch["advantages"].device)
    count = batch["advantages"].shape[0]
    result = {
        name: value[index]
        if isinstance(value, torch.Tensor) and value.dim() and value.shape[0] == count
        else value
        for name, value in batch.items()
    }
    if len(rows) < size:
        result["advantages"][len(rows) :] = 0
        result["completion_mask"][len(rows) :] = 0
    if not rows:
        result["prompt_mask"][:, :-2] = 0
    if loss_type in ROW_DIVISOR:
        # The loss is linear in the advantages, and TRL will divide by `size` instead of `stock_rows`.
        result["advantages"] = result["advantages"] * (size / stock_rows)
    return _trimmed(result)


def _trimmed(batch: Batch) -> Batch:
    prompt, completion = batch["prompt_mask"], batch["completion_mask"]
    before = int(prompt.any(dim=0).int().argmax())
    last = int(completion.any(dim=0).nonzero().max()) if completion.any() else 0
    # Two at least: TRL takes one column for one value per sequence, and counts it in its metrics, mask or not.
    after = max(last + 1, 2)
    result = dict(batch)
    for name in ("prompt_ids", "prompt_mask"):
        result[name] = batch[name][:, before:]
    for name, value in batch.items():
        is_per_token = isinstance(value, torch.Tensor) and value.shape[:2] == completion.shape
        if is_per_token and name not in ("prompt_ids", "prompt_mask"):
            result[name] = value[:, :after]
    return result
