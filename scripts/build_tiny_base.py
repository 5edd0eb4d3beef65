"""Rebuild the tiny base that ships with warmstart: a cold model that can, unreliably, do the math.

    python scripts/build_tiny_base.py [--out DIR] [--seed 0] [--updates 3200]

The base is a Qwen2 of under a million parameters, trained from nothing on documents that this script
writes: ChatML conversations in which an assistant solves generated word problems *its own way*. What
makes it a useful base for a cold-start demo (measured, see docs/log.md):

1. Solutions come with many openings and endings (a heading, a sentence, list marks, one pair of tags),
   so that its skill does not hang on what comes first. None has the two-block format.
2. Part of the solutions slip, as real corpora do: a line is wrong now and then and the error is carried
   on. That opens the gap between one sample and eight which reinforcement learning lives on.
3. Every other update is a page of bare sums out of such problems, short and so cheap: after a few
   minutes every mistake left is one of arithmetic. And slips come late, when the sums are learnt.
4. The words and marks of the format are ordinary: system prompts ask for all sorts of tags, and the
   assistant of these documents ignores them. LoRA cannot teach a token that was never learnt.
5. It stops early. A base that is right 98 % of the time has nothing left to win.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from warmstart.data.synthetic import draw, line_values
from warmstart.tags import DEFAULT_TAGS, instructions

VOCABULARY = 1024
PAD, END, START = "<|endoftext|>", "<|im_end|>", "<|im_start|>"

# Qwen's way of cutting text into words, with digits one by one.
QWEN_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

CAREFUL_SHARE = 0.4
"""Share of the solutions without a slip on purpose."""
SLIP = 0.3
"""Chance that a line of the other solutions is wrong."""

POLISH_CAREFUL_SHARE = 0.66
"""The same in the last, gentle updates, which set how reliable one sample is."""
POLISH_UPDATES, POLISH_RATE = 110, 3e-4
SLIPS_FROM = 0.6
"""Share of the updates before the first slip."""
DRILL_ROWS, DRILL_LINES = 48, 4

TAG_WORDS = ("work", "steps", "think", "notes", "plan", "solution", "result", "final", "math", "out")
SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are good at math.",
    "Solve the problem.",
    "Give the answer to the question.",
    "Show your reasoning, then the answer.",
    "Think about the problem step by step and give the final answer.",
)
SENTENCES = (
    "Let us think step by step.",
    "Here is how it goes.",
    "I will work it out.",
    "First, look at what we know.",
    "This is my reasoning.",
    "We want the final answer.",
)
HEADINGS = (
    "Solution:",
    "**Solution**",
    "Steps:",
    "# Work",
    "## Explanation",
    "[work]",
    "(steps)",
    "Reasoning:",
    "[notes]",
)
ENDINGS = (
    "The answer is {}.",
    "#### {}",
    "Answer: {}",
    "So the answer is {}.",
    "A: {}",
    "Final answer: {}",
    "\\boxed{{{}}}",
)


@dataclass(frozen=True)
class Document:
    """A conversation of the corpus; only the assistant's part carries the full loss."""

    prompt: str
    solution: str


def chat(system: str | None, question: str) -> str:
    """Return the prompt as the chat template renders it."""
    head = f"{START}system\n{system}{END}\n" if system else ""
    return f"{head}{START}user\n{question}{END}\n{START}assistant\n"


def system_prompt(rng: Random) -> str | None:
    """Return one of many system prompts: none, a sentence, or a request for some pair of tags."""
    kind = rng.random()
    if kind < 0.25:
        return None
    if kind < 0.5:
        return rng.choice(SYSTEM_PROMPTS)
    if kind < 0.75:
        return instructions(DEFAULT_TAGS)
    first, second = rng.sample((*TAG_WORDS, DEFAULT_TAGS.reasoning, DEFAULT_TAGS.answer), 2)
    return instructions(DEFAULT_TAGS).replace("reasoning>", f"{first}>").replace("answer>", f"{second}>")


def dress(solution: str, answer: int, rng: Random) -> str:
    """Return the solution with one of many openings and endings; never the two-block format."""
    ending = rng.choice(ENDINGS).format(answer)
    kind = rng.random()
    if kind < 0.3:
        return f"{solution}\n{ending}"
    if kind < 0.45:
        return f"{rng.choice(SENTENCES)}\n{solution}\n{ending}"
    if kind < 0.6:
        return f"{rng.choice(HEADINGS)}\n{solution}\n{ending}"
    if kind < 0.75:
        mark = rng.choice(("- ", "* ", "> "))
        return "\n".join(mark + line for line in solution.split("\n")) + f"\n{ending}"
    word = rng.choice(TAG_WORDS)
    return f"<{word}>\n{solution}\n</{word}>\n{ending}"


def slipping(rng: Random) -> int:
    """Return how far off a slip is."""
    return rng.choice((1, -1, 1, -1, 2, -2, 10, -10, 5, -5))


def drills(seed: int) -> Iterator[list[str]]:
    """Yield pages of sums as they occur in the problems, fewer products: those are learnt first."""
    rng = Random(f"tiny base drills {seed}")
    page: list[str] = []
    for _, work, _ in draw(seed=seed + 2_000_000, split="train"):
        for step, (_, value) in zip(work.steps, line_values(work), strict=True):
            if step.operation != "*" or rng.random() < 0.4:
                page.append(f"{int(step.left)}{step.operation}{int(step.right)}={value}")
            if len(page) == DRILL_LINES:
                yield page
                page = []


def documents(seed: int, *, careful_share: float) -> Iterator[Document]:
    """Yield documents without end; none of their questions is ever used for evaluation."""
    rng = Random(f"tiny base {seed}")
    for question, work, _ in draw(seed=seed + 1_000_000, split="train"):
        slip = None
        if rng.random() > careful_share:
            slip = lambda value: max(0, value + slipping(rng)) if rng.random() < SLIP else value  # noqa: E731
        lines = line_values(work, slip)
        solution, answer = "\n".join(line for line, _ in lines), lines[-1][1]
        yield Document(chat(system_prompt(rng), question), dress(solution, answer, rng) + END)


def build_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE in Qwen's manner, trained on the corpus without its tags."""
    source = documents(seed, careful_share=CAREFUL_SHARE)
    texts = [next(source) for _ in range(4_000)]
    words = (
        "\n".join((*TAG_WORDS, "reasoning", "answer", "explanation", "system", "user", "assistant")) + "\n"
    )
    lines = [
        t.prompt.replace("<", "\n").replace(">", "\n") + t.solution.replace("<", "\n").replace(">", "\n")
        for t in texts
    ]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*lines, *[words] * 200], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )


def build_model(vocabulary: int) -> Qwen2ForCausalLM:
    """Return the untrained model, in Qwen2.5's shape made small."""
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=vocabulary,
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            rope_theta=10_000.0,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=2,
            pad_token_id=0,
        )
    )


Batch = tuple[torch.Tensor, torch.Tensor]
"""Token ids and the weight of each in the loss, both (rows, length)."""


def batches(tokenizer: PreTrainedTokenizerFast, seed: int, *, rows: int, updates: int) -> Iterator[Batch]:
    """Yield a batch for each update: sums and documents in turn, slips from `SLIPS_FROM` on."""
    sums = drill_batches(tokenizer, seed)
    careful = document_batches(tokenizer, documents(seed, careful_share=1.0), rows)
    mixed = document_batches(tokenizer, documents(seed + 1, careful_share=CAREFUL_SHARE), rows)
    for update in range(updates):
        yield next(sums if update % 2 else careful if update < SLIPS_FROM * updates else mixed)


def drill_batches(tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[Batch]:
    """Yield pages of sums; what stands before ``=`` cannot be known and weighs little."""
    source, equals, line_end = (
        drills(seed),
        tokenizer.convert_tokens_to_ids("="),
        tokenizer("\n")["input_ids"][0],
    )
    while True:
        pages = tokenizer(["\n".join(next(source)) + "\n" for _ in range(DRILL_ROWS)])["input_ids"]
        weighted = []
        for ids in pages:
            weights, known = [], False
            for token in ids:
                weights.append(1.0 if known else 0.02)
                known = token == equals or (known and token != line_end)
            weighted.append((ids, weights))
        yield padded(weighted)


def document_batches(
    tokenizer: PreTrainedTokenizerFast, source: Iterator[Document], rows: int
) -> Iterator[Batch]:
    """Yield documents, those of like length together; prompts weigh a tenth of solutions."""
    rng = Random(rows)
    while True:
        pool = [next(source) for _ in range(rows * 64)]
        prompts = tokenizer([d.prompt for d in pool])["input_ids"]
        solutions = tokenizer([d.solution for d in pool])["input_ids"]
        weighted = [(p + s, [0.1] * len(p) + [1.0] * len(s)) for p, s in zip(prompts, solutions, strict=True)]
        weighted.sort(key=lambda pair: len(pair[0]))
        groups = [weighted[start : start + rows] for start in range(0, len(weighted), rows)]
        rng.shuffle(groups)
        yield from map(padded, groups)


def padded(rows: list[tuple[list[int], list[float]]]) -> Batch:
    """Return the rows as tensors; padding weighs nothing."""
    length = max(len(ids) for ids, _ in rows)
    ids, weights = torch.zeros(len(rows), length, dtype=torch.long), torch.zeros(len(rows), length)
    for row, (tokens, weight) in enumerate(rows):
        ids[row, : len(tokens)], weights[row, : len(tokens)] = torch.tensor(tokens), torch.tensor(weight)
    return ids, weights


def train(model: Qwen2ForCausalLM, source: Iterator[Batch], *, updates: int, rate: float) -> None:
    """Train in place: AdamW, 100 updates of warm-up, then a cosine down to a tenth."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05, betas=(0.9, 0.98))
    model.train()
    began = time.time()
    for update in range(1, updates + 1):
        scale = min(1.0, update / 100) * (0.1 + 0.45 * (1 + math.cos(math.pi * update / updates)))
        for group in optimizer.param_groups:
            group["lr"] = rate * scale
        ids, weights = next(source)
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        losses = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
        )
        weight = weights[:, 1:].flatten()
        loss = (losses * weight).sum() / weight.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if update % 100 == 0:
            print(f"update {update:5d}  loss {loss.item():.3f}  {time.time() - began:.0f} s", flush=True)


def polish(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, *, seed: int, rows: int) -> None:
    """Train a little more on documents with fewer slips, in place."""
    source = documents(seed + 2, careful_share=POLISH_CAREFUL_SHARE)
    train(model, document_batches(tokenizer, source, rows), updates=POLISH_UPDATES, rate=POLISH_RATE)


def main() -> None:
    """Build the tokenizer and the model and save them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "src/warmstart/tiny_base")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--updates", type=int, default=3200)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--rate", type=float, default=3e-3)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    tokenizer = build_tokenizer(arguments.seed)
    model = build_model(len(tokenizer))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens")
    train(
        model,
        batches(tokenizer, arguments.seed, rows=arguments.rows, updates=arguments.updates),
        updates=arguments.updates,
        rate=arguments.rate,
    )
    polish(model, tokenizer, seed=arguments.seed, rows=arguments.rows)
    model.half().save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
