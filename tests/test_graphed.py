"""The computation of a token at fixed places: on the CPU without a graph, on a GPU with one."""

from __future__ import annotations

import pytest
import torch

from warmstart.models import add_adapter, load_base, load_tokenizer
from warmstart.rollouts import decoding, graphed
from warmstart.rollouts.sampling import Sampling, stream

QUESTIONS = ("Ann has 3 apples and buys 4 more. How many", "Tom had 12. He", "A box holds 6 pens and costs")
ROWS = [0, 0, 1, 1, 1, 2, 2]


@pytest.fixture(scope="module")
def model():
    return load_base("tiny", dtype="float32").eval()


def _decode(model, *, tokens=48, **sampling):
    tokenizer = load_tokenizer("tiny")
    return decoding.decode(
        model,
        [tokenizer(question)["input_ids"] for question in QUESTIONS],
        ROWS,
        [stream(tokens, 5, row) for row in range(len(ROWS))],
        sampling=Sampling(**{"temperature": 1.3, **sampling}),
        max_tokens=tokens,
        stops=[tokenizer.eos_token_id],
        pad=tokenizer.pad_token_id,
    )


@pytest.mark.parametrize("sampling", [{}, {"repetition_penalty": 1.2}, {"top_k": 5}])
def test_fixed_places_give_the_tokens_and_log_probabilities_of_growing_ones(
    model, monkeypatch, sampling
) -> None:
    monkeypatch.setattr(graphed, "is_possible", lambda model: False)
    growing = _decode(model, **sampling)
    monkeypatch.setattr(graphed, "is_possible", lambda model: True)
    fixed = _decode(model, **sampling)
    lengths = [len(one.ids) for one in growing]
    assert min(lengths) < 0.5 * max(lengths), "rows must leave the batch on the way"
    assert [one.ids for one in fixed] == [one.ids for one in growing]
    for one, other in zip(fixed, growing, strict=True):
        assert one.log_probs == pytest.approx(other.log_probs, abs=2e-5)
        assert one.entropy == pytest.approx(other.entropy, abs=2e-5)


def test_what_lies_in_unwritten_places_does_not_reach_the_logits(model) -> None:
    """NaN times nothing is NaN: a cache of chance memory would poison every row."""
    layer = decoding._Layer(4)
    layer.update(torch.ones(1, 2, 4, 3), torch.ones(1, 2, 4, 3))
    layer.select(torch.tensor([0, 0]), 9, 4)
    assert layer.keys.shape == (2, 2, 9, 3)
    assert float(layer.keys[:, :, 4:].abs().sum() + layer.values[:, :, 4:].abs().sum()) == 0.0


@pytest.mark.parametrize("kind", ["dynamic", "longrope", "yarn", "default"])
def test_an_embedding_that_asks_how_long_the_text_is_is_not_recorded(kind) -> None:
    class Rotary(torch.nn.Module):
        rope_type = kind

    assert graphed._looks_at_numbers(Rotary()) == (kind in ("dynamic", "longrope"))
    Rotary.rope_type = {"full_attention": kind, "sliding_attention": "default"}
    assert graphed._looks_at_numbers(Rotary()) == (kind in ("dynamic", "longrope"))


def test_the_embeddings_of_qwen_can_be_recorded(model) -> None:
    assert any(hasattr(module, "rope_type") for module in model.modules())
    assert not any(map(graphed._looks_at_numbers, model.modules()))


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU it is possible")
def test_nothing_is_recorded_without_a_gpu(model) -> None:
    assert not graphed.is_possible(model)


def test_rows_are_decoded_with_a_plain_mask_where_attention_builds_its_own(model, monkeypatch) -> None:
    usual = _decode(model)
    asked = []
    forward = type(model).forward

    def seen(self, *args, **kwargs):
        asked.append(kwargs["attention_mask"].dim())
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(model), "forward", seen)
    assert [one.ids for one in _decode(model)] == [one.ids for one in usual]
    assert set(asked[1:]) == {4}
    asked.clear()
    monkeypatch.setattr(decoding, "_attends_to_everything", lambda model: False)
    assert [one.ids for one in _decode(model)] == [one.ids for one in usual]
    assert set(asked) == {2}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_graph_gives_the_tokens_of_kernels_launched_one_by_one(model, monkeypatch) -> None:
    assert graphed.is_possible(model)
    recorded = _decode(model)
    monkeypatch.setattr(graphed, "is_possible", lambda model: False)
    assert [one.ids for one in recorded] == [one.ids for one in _decode(model)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_4_bit_model_is_not_recorded() -> None:
    base = load_base("tiny", quantization="nf4")
    adapted = add_adapter(base, rank=2, alpha=4, dropout=0.0, target_modules="all-linear", seed=0)
    assert not graphed.is_possible(adapted)
