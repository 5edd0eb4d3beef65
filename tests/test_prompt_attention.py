"""Attention that reads a group's prompt once, against attention over whole rows."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    DiffLlamaConfig,
    DiffLlamaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tiny_models import SHAPE
from warmstart.models import add_adapter
from warmstart.rollouts import prompt_attention
from warmstart.rollouts.decoding import decode
from warmstart.rollouts.prompt_attention import PromptCache, attend, in_use
from warmstart.rollouts.sampling import Sampling, stream

PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12], [13], [14, 15]]
UNEVEN = [2, 0, 0, 1, 0, 2, 3, 1, 0, 0, 1, 0, 2, 0, 0, 0]


def _model(name, **changes):
    torch.manual_seed(0)
    shape = {**SHAPE, **changes}
    made = {
        "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**shape)),
        "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**shape, head_dim=16)),
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**shape)),
    }
    return made[name]().eval()


def _decode(model, rows=UNEVEN, max_tokens=24, **sampling):
    return decode(
        model,
        PROMPTS,
        rows,
        [stream(max_tokens, 3, place) for place in range(len(rows))],
        sampling=Sampling(**{"temperature": 1.0, **sampling}),
        max_tokens=max_tokens,
        stops=list(range(20, 32)),
        pad=0,
    )


def _calls(monkeypatch):
    """Return the list that fills with the rows of every call of the shared attention."""
    seen = []
    inner = PromptCache.scores

    def counted(self, layer, query):
        seen.append((len(self.bias), len(query)))
        return inner(self, layer, query)

    monkeypatch.setattr(PromptCache, "scores", counted)
    return seen


def _layer(keys, values):
    return SimpleNamespace(keys=torch.tensor(keys), values=torch.tensor(values))


@pytest.mark.parametrize("name", prompt_attention.MODELS)
@pytest.mark.parametrize("sampling", [{}, {"repetition_penalty": 1.3}, {"top_k": 5}], ids=str)
def test_tokens_and_log_probabilities_are_those_of_attention_over_whole_rows(
    name, sampling, monkeypatch
) -> None:
    model = _model(name)
    seen = _calls(monkeypatch)
    shared = _decode(model, **sampling)
    assert seen, "the shared attention must have been used"
    assert len({prompts for prompts, _ in seen}) > 1, "a prompt must leave with its last row"
    monkeypatch.setattr(prompt_attention, "is_possible", lambda model: False)
    whole = _decode(model, **sampling)
    assert [one.ids for one in shared] == [one.ids for one in whole]
    for one, other in zip(shared, whole, strict=True):
        assert one.log_probs == pytest.approx(other.log_probs, abs=2e-5)
        assert one.entropy == pytest.approx(other.entropy, abs=2e-5)


@pytest.mark.parametrize("heads", [1, 4])
def test_one_head_of_keys_and_as_many_as_of_queries_are_served_too(heads, monkeypatch) -> None:
    model = _model("qwen2", num_key_value_heads=heads)
    shared = _decode(model)
    monkeypatch.setattr(prompt_attention, "is_possible", lambda model: False)
    assert [one.ids for one in shared] == [one.ids for one in _decode(model)]


def test_an_adapter_that_is_not_merged_goes_the_same_way(monkeypatch) -> None:
    model = add_adapter(_model("qwen2"), rank=4, alpha=8, dropout=0.0, target_modules="all-linear", seed=0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.eval()
    seen = _calls(monkeypatch)
    shared = _decode(model)
    assert seen
    monkeypatch.setattr(prompt_attention, "is_possible", lambda model: False)
    assert [one.ids for one in shared] == [one.ids for one in _decode(model)]


def test_what_a_token_sees_is_worked_out_by_hand() -> None:
    """Queries of zero weigh all tokens alike: prompt values 100 (padding), 3 and the row's own 5, mean 4."""
    keys = [[[[0.0], [0.0]]], [[[0.0], [0.0]]]]
    values = [[[[100.0], [3.0]]], [[[7.0], [9.0]]]]
    prompts = PromptCache([_layer(keys, values)], torch.tensor([[0, 1], [1, 1]]), torch.tensor([0, 1, 0]))
    own = torch.tensor([[[[5.0]]], [[[2.0]]], [[[9.0]]]])
    seen, _ = attend(
        SimpleNamespace(layer_idx=0),
        torch.zeros(3, 1, 1, 1),
        torch.zeros(3, 1, 1, 1),
        own,
        None,
        scaling=1.0,
        prompts=prompts,
    )
    assert seen.flatten().tolist() == pytest.approx([(3 + 5) / 2, (7 + 9 + 2) / 3, (3 + 9) / 2])


def test_a_score_is_the_scaled_product_of_query_and_key() -> None:
    """Keys ln 2 and 0, query 2, scaling 0.5: weights 2, 1 and the own token's 1, values 4, 8 and 0."""
    prompts = PromptCache(
        [_layer([[[[0.6931472], [0.0]]]], [[[[4.0], [8.0]]]])], torch.ones(1, 2), torch.tensor([0])
    )
    seen, _ = attend(
        SimpleNamespace(layer_idx=0),
        torch.full((1, 1, 1, 1), 2.0),
        torch.zeros(1, 1, 1, 1),
        torch.zeros(1, 1, 1, 1),
        None,
        scaling=0.5,
        prompts=prompts,
    )
    assert float(seen) == pytest.approx((2 * 4 + 1 * 8 + 1 * 0) / 4)


def _shared_and_whole(prompt_of, heads, queries, own, seed, dtype=torch.float32):
    """Return what rows with ``own`` tokens of their own see, by `attend` and by torch over whole rows."""
    random = torch.Generator().manual_seed(seed)
    rows = torch.tensor(prompt_of)
    keys, values = torch.randn(2, 4, heads, 5, 4, generator=random).to(dtype)
    own_keys, own_values = torch.randn(2, len(rows), heads, own, 4, generator=random).to(dtype)
    query = torch.randn(len(rows), heads * queries, 1, 4, generator=random).to(dtype)
    mask = torch.arange(5) >= torch.arange(4)[:, None]
    everyone = [*range(4), *prompt_of]  # Every prompt has a row at first, as it has when it is decoded.
    prompts = PromptCache([SimpleNamespace(keys=keys, values=values)], mask, torch.tensor(everyone))
    prompts.keep(torch.arange(4, len(everyone)))
    seen, _ = attend(
        SimpleNamespace(layer_idx=0), query, own_keys, own_values, None, scaling=0.5, prompts=prompts
    )
    visible = torch.cat([mask[rows], torch.ones(len(rows), own, dtype=torch.bool)], dim=1)
    whole = torch.nn.functional.scaled_dot_product_attention(
        query,
        torch.cat([keys[rows], own_keys], dim=2).repeat_interleave(queries, dim=1),
        torch.cat([values[rows], own_values], dim=2).repeat_interleave(queries, dim=1),
        attn_mask=visible[:, None, None],
        scale=0.5,
    )
    return seen, whole.transpose(1, 2)


@given(
    prompt_of=st.lists(st.integers(0, 3), min_size=1, max_size=12),
    heads=st.integers(1, 3),
    queries=st.integers(1, 3),
    own=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_any_rows_of_any_prompts_see_what_attention_over_whole_rows_sees(
    prompt_of: list[int], heads: int, queries: int, own: int, seed: int
) -> None:
    seen, whole = _shared_and_whole(prompt_of, heads, queries, own, seed)
    torch.testing.assert_close(seen, whole, rtol=1e-4, atol=1e-5)


def test_in_bfloat16_it_is_as_near_to_float32_as_attention_over_whole_rows() -> None:
    setting = ([0, 1, 1, 2, 3, 3, 3] * 40, 2, 2, 4, 0)
    _, exact = _shared_and_whole(*setting)
    shared, whole = (found.float() - exact for found in _shared_and_whole(*setting, torch.bfloat16))
    assert float(shared.abs().mean()) < 2 * float(whole.abs().mean())


def test_a_prompt_leaves_with_its_last_row() -> None:
    values = [[[[1.0]]], [[[2.0]]], [[[3.0]]]]
    prompts = PromptCache([_layer([[[[0.0]]]] * 3, values)], torch.ones(3, 1), torch.tensor([0, 1, 1, 2]))
    prompts.keep(torch.tensor([1, 3]))
    assert len(prompts.bias) == 2
    weights = torch.ones(2, 1, 1, 1)
    assert prompts.values(0, weights).flatten().tolist() == [2.0, 3.0]


def test_the_models_own_attention_comes_back_after_an_error() -> None:
    model = _model("qwen2")

    def fail() -> None:
        with in_use(model):
            assert model.config._attn_implementation != "sdpa"
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert model.config._attn_implementation == "sdpa"


def test_a_prompt_for_every_row_is_decoded_as_ever(monkeypatch) -> None:
    seen = _calls(monkeypatch)
    _decode(_model("qwen2"), rows=[0, 1, 2, 3])
    assert not seen


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_only_the_standard_attention_is_replaced(attention) -> None:
    model = _model("qwen2")
    model.set_attn_implementation(attention)
    assert prompt_attention.is_possible(model) == (attention == "sdpa")


def test_a_model_of_another_kind_keeps_its_own_attention(monkeypatch) -> None:
    """DiffLlama takes the difference of two softmaxes: not what is computed here."""
    torch.manual_seed(0)
    seen = _calls(monkeypatch)
    written = _decode(DiffLlamaForCausalLM(DiffLlamaConfig(**SHAPE)).eval())
    assert len(written) == len(UNEVEN)
    assert not seen
