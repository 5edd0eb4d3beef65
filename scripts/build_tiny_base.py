"""Rebuild the tiny base that ships with warmstart: a cold model that can, unreliably, do the math.

    python scripts/build_tiny_base.py [--out DIR] [--seed 0] [--updates 1200]

The base is a Qwen2 of under a million parameters, trained from nothing on documents that this script
writes: ChatML conversations in which an assistant solves generated word problems *its own way*. What
makes it a useful base for a cold-start demo (measured, see docs/log.md):

1. Solutions come with many openings and endings (a heading, a sentence, list marks, one pair of tags),
   so that its skill does not hang on what comes first. None has the two-block format.
2. Part of the solutions slip, as real corpora do: a line is wrong now and then and the error is carried
   on. That opens the gap between one sample and eight which reinforcement learning lives on.
3. A share of the documents are pages of bare sums. After a few minutes every mistake left is one of
   arithmetic, and sums teach it at a fraction of the tokens.
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

DRILL_SHARE = 0.35
"""Share of the documents that are pages of sums."""
DRILL_LINES = 14

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


def drill(rng: Random) -> str:
    """Return one true sum of the size that the problems need."""
    operation = rng.choices("-+*/", weights=(9, 7, 3, 1))[0]
    if operation == "-":
        left = rng.randint(5, 150) if rng.random() < 0.8 else rng.randint(100, 450)
        right = rng.randint(1, left)
        return f"{left}-{right}={left - right}"
    if operation == "+":
        top = 120 if rng.random() < 0.8 else 300
        left, right = rng.randint(2, top), rng.randint(2, top)
        return f"{left}+{right}={left + right}"
    left, right = rng.randint(2, 60 if rng.random() < 0.3 else 20), rng.randint(2, 12)
    if operation == "*":
        return f"{left}*{right}={left * right}"
    return f"{left * right}/{right}={left}"


def documents(seed: int) -> Iterator[Document]:
    """Yield documents without end; none of their questions is ever used for evaluation."""
    rng = Random(f"tiny base {seed}")
    for question, work, _ in draw(seed=seed + 1_000_000, split="train"):
        while rng.random() < DRILL_SHARE:
            yield Document("", "\n".join(drill(rng) for _ in range(DRILL_LINES)) + PAD)
        slip = None
        if rng.random() > CAREFUL_SHARE:
            slip = lambda value: max(0, value + slipping(rng)) if rng.random() < SLIP else value  # noqa: E731
        lines = line_values(work, slip)
        solution, answer = "\n".join(line for line, _ in lines), lines[-1][1]
        yield Document(chat(system_prompt(rng), question), dress(solution, answer, rng) + END)


def build_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE in Qwen's manner, trained on the corpus without its tags."""
    source = documents(seed)
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


def batches(
    tokenizer: PreTrainedTokenizerFast, seed: int, rows: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield (ids, weights), both (rows, length): documents of like length together, prompts weighted low."""
    source, rng = documents(seed), Random(seed)
    while True:
        pool = [next(source) for _ in range(rows * 16)]
        prompts = tokenizer([d.prompt for d in pool])["input_ids"]
        solutions = tokenizer([d.solution for d in pool])["input_ids"]
        ids = sorted(
            ((p + s, len(p)) for p, s in zip(prompts, solutions, strict=True)), key=lambda pair: len(pair[0])
        )
        groups = [ids[start : start + rows] for start in range(0, len(ids), rows)]
        rng.shuffle(groups)
        for group in groups:
            length = max(len(i) for i, _ in group)
            batch, weights = torch.zeros(rows, length, dtype=torch.long), torch.zeros(rows, length)
            for row, (tokens, prompt) in enumerate(group):
                batch[row, : len(tokens)] = torch.tensor(tokens)
                weights[row, :prompt], weights[row, prompt : len(tokens)] = 0.1, 1.0
            yield batch, weights


def train(
    model: Qwen2ForCausalLM, source: Iterator[tuple[torch.Tensor, torch.Tensor]], *, updates: int, rate: float
) -> None:
    """Train in place: AdamW, 50 updates of warm-up, then a cosine down to a tenth."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05, betas=(0.9, 0.98))
    model.train()
    began = time.time()
    for update in range(1, updates + 1):
        scale = min(1.0, update / 50) * (0.1 + 0.45 * (1 + math.cos(math.pi * update / updates)))
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
        if update % 50 == 0:
            print(f"update {update:5d}  loss {loss.item():.3f}  {time.time() - began:.0f} s", flush=True)


def main() -> None:
    """Build the tokenizer and the model and save them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "src/warmstart/tiny_base")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--updates", type=int, default=1200)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--rate", type=float, default=4e-3)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    tokenizer = build_tokenizer(arguments.seed)
    model = build_model(len(tokenizer))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens")
    train(
        model,
        batches(tokenizer, arguments.seed, arguments.rows),
        updates=arguments.updates,
        rate=arguments.rate,
    )
    model.half().save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
