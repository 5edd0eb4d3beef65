"""Log-probabilities of a group's completions with its prompt computed once, gradient included.

The prompt of a group is the same in every row (shared-prefix forward: Prefix Grouper, arXiv:2506.05433).
Its keys and values are computed once and every completion attends to them; the gradient flows back
through them from all completions at once, so that the sum is the one of the plain forward.
"""

from __future__ import annotations

from typing import Any

import torch
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
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the log-probability and the entropy of every completion token, both (rows, logits_to_keep).

    ``model`` has TRL's fused head, and its cache must be allowed: no gradient checkpointing. The last
    prompt token goes with the completions, because each of them starts with a token of its own.
    """
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
    cache.batch_select_indices(group)
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


def why_not(model: Any, args: Any) -> str | None:  # noqa: ANN401
    """Return why the prompts of a group cannot be shared, or None."""
    if args.gradient_checkpointing:
        return "gradient checkpointing drops the cache that a shared prompt needs"
    if any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in model.modules()):
        return "dropout differs from completion to completion, so that a shared prompt would not be the same"
    kinds = getattr(model.config.get_text_config(), "layer_types", None)
    if kinds is not None and set(kinds) != {"full_attention"}:
        return "layers with a window or a linear state keep no cache to share"
    return None
