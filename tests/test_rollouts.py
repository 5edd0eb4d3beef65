from __future__ import annotations

import pytest
import torch

from warmstart.data.synthetic import generate as problems
from warmstart.models import load_base, load_tokenizer
from warmstart.rollouts import generate
from warmstart.tags import DEFAULT_TAGS
from warmstart.templates.prompter import make_prompter


@pytest.fixture(scope="module")
def tiny():
    return load_base("tiny"), make_prompter(load_tokenizer("tiny"), tags=DEFAULT_TAGS)


@pytest.fixture(scope="module")
def prompts(tiny):
    return [tiny[1].prompt_ids(p.question) for p in problems(6, seed=0, split="eval")]


def test_greedy_completions_come_in_the_order_of_the_prompts_whatever_the_batch(tiny, prompts) -> None:
    model, prompter = tiny
    together = generate(model, prompter.tokenizer, prompts, max_tokens=64, batch_size=6)
    alone = [generate(model, prompter.tokenizer, [p], max_tokens=64, batch_size=1)[0] for p in prompts]
    assert [group[0].text for group in together] == [group[0].text for group in alone]


def test_the_same_seed_gives_the_same_samples_and_another_gives_others(tiny, prompts) -> None:
    model, prompter = tiny

    def sample(seed):
        return generate(
            model,
            prompter.tokenizer,
            prompts,
            samples=3,
            temperature=1.0,
            max_tokens=64,
            batch_size=9,
            seed=seed,
        )

    first = sample(1)
    assert [len(group) for group in first] == [3] * 6
    assert sample(1) == first
    assert sample(2) != first


def test_a_completion_that_reaches_the_cap_is_not_finished_and_one_that_stops_is(tiny, prompts) -> None:
    model, prompter = tiny
    (cut,) = generate(model, prompter.tokenizer, prompts[:1], max_tokens=3, batch_size=1)[0]
    (whole,) = generate(model, prompter.tokenizer, prompts[:1], max_tokens=200, batch_size=1)[0]
    assert (cut.tokens, cut.is_finished) == (3, False)
    assert whole.is_finished
    assert prompter.tokenizer.eos_token not in whole.text
    assert whole.text.startswith(cut.text)


def test_temperature_one_samples_the_models_own_softmax(tiny, prompts) -> None:
    """The first token of 2,000 samples against the model's probabilities: chi-square, p > 0.001."""
    from scipy.stats import chisquare

    model, prompter = tiny
    drawn = generate(
        model, prompter.tokenizer, prompts[:1], samples=2000, temperature=1.0, max_tokens=1, batch_size=2000
    )[0]
    with torch.no_grad():
        shares = model(torch.tensor([prompts[0]])).logits[0, -1].double().softmax(-1)
    texts = [prompter.tokenizer.decode([token], skip_special_tokens=True) for token in range(len(shares))]
    expected: dict[str, float] = {}
    for text, share in zip(texts, shares.tolist(), strict=True):
        expected[text] = expected.get(text, 0.0) + 2000 * share
    common = [text for text, count in expected.items() if count >= 5]
    observed = [sum(c.text == text for c in drawn) for text in common]
    observed.append(2000 - sum(observed))
    wanted = [expected[text] for text in common]
    wanted.append(2000 - sum(wanted))
    assert chisquare(observed, wanted).pvalue > 0.001


def test_the_model_is_left_in_the_mode_it_was_in(tiny, prompts) -> None:
    model, prompter = tiny
    model.train()
    generate(model, prompter.tokenizer, prompts[:1], max_tokens=2, batch_size=1)
    assert model.training
    model.eval()
