"""Log-probabilities of a group's completions with its prompt computed once, gradient included.

The prompt of a group is the same in every row (shared-prefix forward: Prefix Grouper, arXiv:2506.05433).
It is computed once and every completion attends to it; the gradient flows back through it from all
completions at once, so that the sum is the one of the plain forward. Two layouts do that:

    cached   prompts first, their keys and values repeated for the completions, which come second
    packed   a prompt and several of its completions in one row, each hidden from the others by the mask

The cached one does less work and is taken where it can be. Gradient checkpointing computes a layer anew
in the backward pass and keeps no cache, so that it needs the packed one.
"""

from __future__ import annotations

from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from transformers import DynamicCache


def groups_of(prompt_ids: torch.Tensor, prompt_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first row of each distinct prompt, and for every row which of these prompts it has.

    Rows with one prompt stand together, as TRL makes them; a prompt that comes back later counts anew.
    """
    same = (prompt_ids[1:] == prompt_ids[:-1]).all(dim=1) & (prompt_mask[1:] == prompt_mask[:-1]).all(dim=1)
    starts = torch.cat([same.new_ones(1), ~same])
    return starts.nonzero().squeeze(-1), starts.long().cumsum(dim=0) - 1


def score(
    model: Any,  # noqa: ANN401
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    logits_to_keep: int,
    *,
    packed: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the log-probability and the entropy of every completion token, both (rows, logits_to_keep).

    ``model`` has TRL's fused head. The last prompt token goes with the completions, because each of them
    starts with a token of its own; the prompt needs two tokens therefore.
    """
    layout = _packed if packed else _cached
    return layout(model, input_ids, attention_mask, logits_to_keep)


def _cached(
    model: Any,  # noqa: ANN401
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    logits_to_keep: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    shared = input_ids.shape[1] - logits_to_keep - 1
    first, group = groups_of(input_ids[:, :shared], attention_mask[:, :shared])
    cache = DynamicCache()
    model(
        input_ids=input_ids[first, :shared],
        attention_mask=attention_mask[first, :shared],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    for layer in cache.layers:
        # Not `batch_select_indices`, which indexes: its gradient is added up by several threads at once on a CPU, in
        # whatever order they come, and no run is like another.
        layer.keys, layer.values = layer.keys.index_select(0, group), layer.values.index_select(0, group)
    ids = input_ids[:, shared:]
    labels = ids.masked_fill(attention_mask[:, shared:] == 0, -100)
    labels[:, 0] = -100
    output = model(
        input_ids=ids,
        attention_mask=attention_mask,
        past_key_values=cache,
        labels=labels,
        fused_lm_head=True,
    )
    return output.log_probs, output.entropy


def _packed(
    model: Any,  # noqa: ANN401
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    logits_to_keep: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    width = logits_to_keep + 1
    shared = input_ids.shape[1] - width
    first, group = groups_of(input_ids[:, :shared], attention_mask[:, :shared])
    sizes = torch.bincount(group)
    # Data parallelism wraps the model, and the wrapper knows neither its shape nor its type.
    plain = extract_model_from_parallel(model)
    config, dtype = plain.config.get_text_config(), plain.dtype
    slots = completions_per_row(
        int(sizes.max()), shared, width, hidden=config.hidden_size, inner=config.intermediate_size
    )
    # Completion i of a group stands in slot i % slots of that group's row i // slots.
    place = torch.arange(len(group), device=group.device) - first[group]
    rows_of_group = (sizes + slots - 1) // slots
    row = (rows_of_group.cumsum(0) - rows_of_group)[group] + place // slots
    slot = place % slots
    count = int(rows_of_group.sum())
    blocks = input_ids.new_zeros(count, slots, width)
    is_written = attention_mask.new_zeros(count, slots, width)
    blocks[row, slot], is_written[row, slot] = input_ids[:, shared:], attention_mask[:, shared:]
    owner = first.repeat_interleave(rows_of_group)
    ids = torch.cat([input_ids[owner, :shared], blocks.flatten(1)], dim=1)
    valid = torch.cat([attention_mask[owner, :shared], is_written.flatten(1)], dim=1).bool()
    labels = ids.masked_fill(~valid, -100)
    labels[:, :shared] = -100
    labels[:, shared::width] = -100
    positions, allowed = _block_mask(shared, width, slots, ids.device)
    # Padding attends to itself: a row of nothing would be NaN, and NaN times zero is NaN.
    allowed = (allowed & valid[:, None, :]) | torch.eye(ids.shape[1], dtype=torch.bool, device=ids.device)
    bias = torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)
    output = model(
        input_ids=ids,
        attention_mask=bias[:, None],
        position_ids=positions.expand(count, -1),
        labels=labels,
        fused_lm_head=True,
    )

    def of_rows(found: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(found[:, shared:], (0, 1)).view(count, slots, width)[row, slot, :-1]

    return of_rows(output.log_probs), of_rows(output.entropy)


def _block_mask(
    shared: int, width: int, slots: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the position of every token of a packed row, and who may look at whom, (tokens, tokens)."""
    index = torch.arange(shared + slots * width, device=device)
    block = torch.where(index < shared, -1, (index - shared) // width)
    positions = torch.where(index < shared, index, shared + (index - shared) % width)
    visible = (block[None, :] == -1) | (block[None, :] == block[:, None])
    return positions, visible & (index[None, :] <= index[:, None])


def completions_per_row(group_size: int, shared: int, width: int, *, hidden: int, inner: int) -> int:
    """Return how many completions stand behind one copy of their prompt where that costs least.

    A packed row of T tokens costs T (L + A T) per layer: L = 2 (4 hidden² + 3 hidden inner) for the
    products with weights, A = 4 hidden for each pair of tokens in attention, hidden pairs included. Many
    completions in a row save copies of the prompt, and waste pairs that the mask throws away.

    Args:
        group_size: Completions of the largest group.
        shared: Tokens of the prompt.
        width: Tokens of a completion, the longest's.
        hidden: Width of the model.
        inner: Width inside its feed-forward layers.
    """
    linear, pair = 2 * (4 * hidden**2 + 3 * hidden * inner), 4 * hidden

    def cost(slots: int) -> int:
        tokens = shared + slots * width
        return -(-group_size // slots) * tokens * (linear + pair * tokens)

    return min(range(1, group_size + 1), key=cost)


def why_not(model: Any, args: Any) -> str | None:  # noqa: ANN401
    """Return why the prompts of a group cannot be shared, or None."""
    config = model.config.get_text_config()
    # Some dropout is no module: attention's in Llama and Qwen, all of OPT's.
    is_dropped = any((getattr(config, name, 0.0) or 0.0) > 0 for name in ("attention_dropout", "dropout"))
    if is_dropped or any(isinstance(one, torch.nn.Dropout) and one.p > 0 for one in model.modules()):
        return "dropout differs from completion to completion, so that a shared prompt would not be the same"
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and set(kinds) != {"full_attention"}:
        return "layers with a window or a linear state keep no cache to share"
    if not args.gradient_checkpointing:
        return None
    no_cache = "gradient checkpointing keeps no cache to share"
    if config._attn_implementation not in ("sdpa", "eager"):
        return f"{no_cache}, and attention {config._attn_implementation!r} takes no mask of blocks"
    if kinds is None and getattr(config, "sliding_window", None) is not None:
        return f"{no_cache}, and a mask of blocks would take the place of the window's"
    if not isinstance(getattr(config, "intermediate_size", None), int):
        return f"{no_cache}, and models of type {config.model_type!r} were not tried with a mask of blocks"
    return None
