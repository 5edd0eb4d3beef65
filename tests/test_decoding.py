"""The decoding loop against `transformers.generate` and against the model's own forward pass."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from transformers import (
    GenerationConfig,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tiny_models import SHAPE
from warmstart.models import add_adapter, merged
from warmstart.rollouts.decoding import decode
from warmstart.rollouts.sampling import Sampling, pick, stream

PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12], [13]]


def _models():
    torch.manual_seed(0)
    yield "qwen2", Qwen2ForCausalLM(Qwen2Config(**SHAPE))
    yield "qwen3", Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=8))
    # A window of four tokens: the loop hands such models transformers' own cache.
    yield "window", MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=4))
    yield "eager", Qwen2ForCausalLM._from_config(Qwen2Config(**SHAPE), attn_implementation="eager")


MODELS = dict(_models())


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param].eval()


def _decode(model, rows, draws=None, *, sampling=None, max_tokens=12, prompts=PROMPTS):
    return decode(
        model,
        prompts,
        rows,
        draws,
        sampling=sampling or Sampling(),
        max_tokens=max_tokens,
        stops=[2],
        pad=0,
    )


def _draws(rows, max_tokens=12, seed=0):
    return [stream(max_tokens, seed, place) for place in range(len(rows))]


def test_greedy_tokens_are_those_of_transformers_generate(model) -> None:
    ours = _decode(model, [0, 1, 2])
    for prompt, decoded in zip(PROMPTS, ours, strict=True):
        config = GenerationConfig(max_new_tokens=12, do_sample=False, eos_token_id=2, pad_token_id=0)
        theirs = model.generate(input_ids=torch.tensor([prompt]), generation_config=config)
        assert decoded.ids == theirs[0, len(prompt) :].tolist()


def test_log_probs_and_entropy_are_those_of_the_policy_at_its_temperature(model) -> None:
    rows = [0, 0, 1, 2, 2]
    written = _decode(model, rows, _draws(rows), sampling=Sampling(temperature=0.7))
    for row, decoded in zip(rows, written, strict=True):
        ids = PROMPTS[row] + decoded.ids
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, len(PROMPTS[row]) - 1 : -1] / 0.7
        expected = logits.log_softmax(-1)
        chosen = expected.gather(-1, torch.tensor(decoded.ids)[:, None]).squeeze(-1)
        assert decoded.log_probs == pytest.approx(chosen.tolist(), abs=1e-4)
        entropy = -(expected.exp() * expected).sum(-1).mean()
        assert decoded.entropy == pytest.approx(float(entropy), abs=1e-4)


def test_a_completion_does_not_depend_on_the_rows_beside_it(model) -> None:
    """Finished rows leave the batch, and the order and company of the others changes nothing."""
    rows = [0, 1, 2] * 8
    draws = _draws(rows)
    together = _decode(model, rows, draws, sampling=Sampling(temperature=1.0))
    assert len({len(decoded.ids) for decoded in together}) > 2
    for place in (0, 7, 23):
        (alone,) = _decode(model, [rows[place]], [draws[place]], sampling=Sampling(temperature=1.0))
        assert alone.ids == together[place].ids


def test_a_stop_token_ends_a_completion_and_the_cap_cuts_it(model) -> None:
    rows = [0] * 32
    written = _decode(model, rows, _draws(rows), sampling=Sampling(temperature=1.0), max_tokens=12)
    for decoded in written:
        assert 2 not in decoded.ids[:-1]
        assert decoded.ids[-1] == 2 or len(decoded.ids) == 12
        assert len(decoded.log_probs) == len(decoded.ids)


@pytest.mark.parametrize(
    ("sampling", "allowed"),
    [
        # Probabilities of the logits below: 0.5, 0.25, 0.125, 0.125.
        (Sampling(temperature=1.0), {0, 1, 2, 3}),
        (Sampling(temperature=1.0, top_k=2), {0, 1}),
        (Sampling(temperature=1.0, top_p=0.7), {0, 1}),
        (Sampling(temperature=1.0, min_p=0.4), {0, 1}),
        (Sampling(temperature=1.0, top_k=1), {0}),
    ],
    ids=str,
)
def test_cuts_of_the_tail_leave_the_tokens_transformers_leaves(sampling, allowed) -> None:
    logits = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log().expand(2000, 4)
    draws = torch.from_numpy(np.linspace(0.0, 1.0 - 2**-53, 2000))
    tokens, log_probs, _ = pick(logits, draws, sampling, sampling.processors(), None)
    assert set(tokens.tolist()) == allowed
    # The log-probability is the policy's, whatever was cut.
    assert log_probs[0].item() == pytest.approx(np.log(0.5))


def test_draws_fall_on_tokens_in_proportion_to_their_probabilities() -> None:
    logits = torch.tensor([[0.5, 0.0, 0.25, 0.25]]).log().expand(1000, 4)
    draws = (torch.arange(1000).double() + 0.5) / 1000
    sampling = Sampling(temperature=1.0)
    tokens, _, entropy = pick(logits, draws, sampling, sampling.processors(), None)
    assert torch.bincount(tokens, minlength=4).tolist() == [500, 0, 250, 250]
    assert entropy[0].item() == pytest.approx(1.5 * np.log(2))


def test_sampled_pairs_of_tokens_follow_the_models_own_softmax_by_a_chi_square_test() -> None:
    """The second token is drawn from the cache, by rows that left the batch when others had ended."""
    model, count = MODELS["qwen2"].eval(), 6000
    prompt = PROMPTS[1]
    written = _decode(
        model,
        [0] * count,
        _draws(range(count), 2),
        max_tokens=2,
        prompts=[prompt],
        sampling=Sampling(temperature=1.0),
    )
    seen = Counter(tuple(one.ids) for one in written)
    with torch.no_grad():
        first = model(torch.tensor([prompt])).logits[0, -1].double().softmax(-1)
        both = torch.tensor([[*prompt, token] for token in range(64)])
        second = model(both).logits[:, -1].double().softmax(-1)
    expected = {
        (a, b): float(first[a] * second[a, b]) * count for a in range(64) for b in range(64) if a != 2
    } | {(2,): float(first[2]) * count}
    likely = [pair for pair, times in expected.items() if times >= 5]
    observed = [seen[pair] for pair in likely]
    wanted = [expected[pair] for pair in likely]
    # What is left over is one cell of its own.
    _, p = chisquare([*observed, count - sum(observed)], [*wanted, count - sum(wanted)])
    assert len(likely) > 50
    assert p > 1e-3


def test_the_largest_draw_never_falls_on_a_token_of_probability_zero() -> None:
    logits = torch.tensor([[0.3, 0.7, 0.0]]).log()
    sampling = Sampling(temperature=1.0)
    token, _, _ = pick(
        logits, torch.tensor([1.0 - 2**-53], dtype=torch.float64), sampling, sampling.processors(), None
    )
    assert token.item() == 1


def test_repetition_penalty_counts_the_prompt_as_transformers_does() -> None:
    model = MODELS["qwen2"].eval()
    (ours,) = _decode(model, [1], sampling=Sampling(repetition_penalty=1.8))
    config = GenerationConfig(
        max_new_tokens=12, do_sample=False, eos_token_id=2, pad_token_id=0, repetition_penalty=1.8
    )
    theirs = model.generate(input_ids=torch.tensor([PROMPTS[1]]), generation_config=config)
    assert ours.ids == theirs[0, len(PROMPTS[1]) :].tolist()


def test_streams_belong_to_their_key_alone() -> None:
    assert np.array_equal(stream(5, 0, "a", 1), stream(5, 0, "a", 1))
    assert np.array_equal(stream(5, 0, "a", 1), stream(9, 0, "a", 1)[:5])
    assert not np.array_equal(stream(5, 0, "a", 1), stream(5, 0, "a", 2))
    assert not np.array_equal(stream(5, 0, "1"), stream(5, 0, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_base_is_bit_for_bit_the_same_after_a_thousand_merges(dtype) -> None:
    torch.manual_seed(0)
    base = Qwen2ForCausalLM(Qwen2Config(**SHAPE)).to(dtype)
    before = {name: p.detach().clone() for name, p in base.named_parameters()}
    model = add_adapter(base, rank=4, alpha=8, dropout=0.0, target_modules="all-linear", seed=0)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.1)
    for _ in range(1000):
        with merged(model):
            pass
    after = {
        name.removeprefix("base_model.model.").replace(".base_layer", ""): p
        for name, p in model.named_parameters()
        if "lora_" not in name
    }
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_merged_adapter_computes_what_the_adapter_computes_and_trains_on_afterwards() -> None:
    torch.manual_seed(0)
    base = Qwen2ForCausalLM(Qwen2Config(**SHAPE))
    model = add_adapter(base, rank=4, alpha=8, dropout=0.0, target_modules="all-linear", seed=0).eval()
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.1)
    ids = torch.tensor([PROMPTS[1]])
    with torch.no_grad():
        plain = model(ids).logits
        with merged(model):
            inside = model(ids).logits
        with model.disable_adapter():
            without = model(ids).logits
    assert torch.allclose(inside, plain, atol=1e-4)
    assert not torch.allclose(without, plain, atol=1e-2)
    model(ids).logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_an_exception_inside_the_block_brings_the_base_back_too() -> None:
    torch.manual_seed(0)
    base = Qwen2ForCausalLM(Qwen2Config(**SHAPE))
    weight = base.model.layers[0].self_attn.q_proj.weight
    before = weight.detach().clone()
    model = add_adapter(base, rank=4, alpha=8, dropout=0.0, target_modules="all-linear", seed=0)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.1)

    def fail() -> None:
        with merged(model):
            assert not torch.equal(weight, before)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.equal(weight, before)
