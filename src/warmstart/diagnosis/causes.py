"""The catalogue: every cause warmstart can name, in the order in which they explain each other.

A cause that stands earlier is named first.
"""

from __future__ import annotations

from warmstart.diagnosis.cause import Cause, Severity

_B, _I, _W, _N = Severity.BROKEN, Severity.ILL, Severity.WARNING, Severity.NOTE

CAUSES: dict[str, Cause] = {
    cause.code: cause
    for cause in (
        # The data.
        Cause("column-missing", _B, "a column the run needs is missing", "name it with data.columns", False),
        Cause("gold-missing", _B, "problems without a gold answer", "fill or drop the rows", False),
        Cause("gold-unparsable", _B, "gold answers that cannot be read", "repair or drop the rows", False),
        Cause(
            "gold-alike",
            _B,
            "different problems have one and the same gold answer",
            "check which column data.columns.answer names",
            False,
        ),
        Cause(
            "gold-conflicts",
            _B,
            "one problem has different gold answers",
            "keep one row of each problem, with the right gold",
            False,
        ),
        # The reward functions.
        Cause(
            "reward-raises",
            _B,
            "a reward function raises",
            "repair the function; its zeros are not the model's",
            False,
        ),
        Cause(
            "reward-wrong-length",
            _B,
            "a reward function returns the wrong number of values",
            "return one value per completion",
            False,
        ),
        Cause(
            "reward-times-out",
            _B,
            "a reward function runs out of time",
            "bound its work or raise its limit",
            False,
        ),
        Cause(
            "reward-not-a-number",
            _B,
            "a reward function returns something that is no finite number",
            "return floats, or None for undecided",
            False,
        ),
        Cause(
            "reward-undecided",
            _B,
            "a reward function cannot tell too often",
            "find out why it returns None",
            False,
        ),
        # The template and the tokenizer.
        Cause(
            "template-missing",
            _B,
            "the tokenizer has no chat template",
            "write one with the marks this model was trained on into chat_template.jinja beside its tokenizer",
            False,
        ),
        Cause(
            "template-foreign",
            _B,
            "the template writes the marks of another model family",
            "take the chat template that was published with this model",
            False,
        ),
        Cause(
            "template-opens-thinking",
            _B,
            "the template opens <think> for the model",
            "take the opener out and save the template",
        ),
        Cause(
            "template-begins-turn",
            _B,
            "the template writes the beginning of the completion",
            "take it out and save the template",
        ),
        Cause(
            "template-opens-no-turn",
            _B,
            "the prompt does not open the model's turn as conversations do",
            "end the prompt in the mark that opens the model's turn",
        ),
        Cause(
            "template-drops-reasoning",
            _B,
            "the template drops the reasoning from SFT targets",
            "render targets by hand, as warmstart does",
        ),
        Cause(
            "template-rewrites-text",
            _B,
            "the template changes what a turn says",
            "write message.content in chat_template as it is, without filters, and save the tokenizer",
            False,
        ),
        Cause(
            "template-ignores-system",
            _B,
            "the template ignores the system turn",
            "put the instructions into the user's turn",
        ),
        Cause(
            "double-bos",
            _B,
            "two beginning-of-text tokens",
            "tokenise the rendered prompt without special tokens",
        ),
        Cause(
            "bos-missing",
            _B,
            "no beginning-of-text token",
            "begin chat_template with {{ bos_token }} and save the tokenizer",
        ),
        Cause(
            "pad-is-end",
            _B,
            "the padding token ends the turn",
            "pad with another token, or the model never learns to stop",
        ),
        Cause(
            "text-not-kept",
            _B,
            "the tokens do not give the prompt or the target back",
            "use the tokenizer that belongs to the model, in its newest form",
        ),
        Cause(
            "tags-skipped",
            _B,
            "decoding leaves the tags out",
            "use tag names that are no special tokens (prompt.reasoning_tag, prompt.answer_tag)",
            False,
        ),
        Cause(
            "end-missing",
            _B,
            "nothing ends the model's turn in training text",
            "write the end-of-turn token after the model's turn",
        ),
        Cause(
            "end-token-differs",
            _N,
            "the template ends a turn with another token than the tokenizer",
            "warmstart ends targets with the tokenizer's own; set model.end_token for the other",
        ),
        # The optimisation's plumbing.
        Cause("adapter-frozen", _B, "nothing is trainable", "load the adapter with is_trainable=True"),
        Cause(
            "adapter-dropped",
            _B,
            "the warm start got lost between SFT and GRPO",
            "continue the adapter SFT saved",
        ),
        Cause(
            "all-masked",
            _B,
            "every token is masked from the loss",
            "check the labels, and mask_truncated_completions",
        ),
        Cause(
            "not-a-number",
            _B,
            "NaN or infinity in loss or gradient",
            "float32 adapters, bfloat16 base, a lower rate",
        ),
        Cause(
            "gradient-blocked",
            _B,
            "rewards differ and no gradient arrives",
            "with gradient checkpointing, enable input gradients",
        ),
        # What the model writes. Sampling comes first: equal texts look like every other illness.
        Cause(
            "sampling-degenerate",
            _B,
            "the completions of a group are the same",
            "raise the temperature; no top_k=1, no shared seed",
        ),
        Cause(
            "sampling-distorted",
            _B,
            "the sampler spoils what the model writes",
            "sample at temperature 0.6 to 1, without a repetition penalty",
        ),
        Cause("truncated", _I, "completions are cut by the cap", "raise grpo.max_completion_tokens"),
        Cause(
            "never-stops",
            _I,
            "the model does not end its turn",
            "use an end-of-turn token it was trained on, or a warm start",
        ),
        # What the rewards make of it.
        Cause(
            "reward-unrelated",
            _B,
            "the outcome reward does not follow the answers",
            "pay each completion by its own answer and its own gold, more for right than for wrong",
            False,
        ),
        Cause(
            "reward-blind",
            _B,
            "the reward cannot see right answers that are there",
            "accept the form the model writes",
            False,
        ),
        Cause(
            "reward-pays-wrong",
            _B,
            "the outcome reward pays wrong answers",
            "compare the one final answer by value with the gold",
            False,
        ),
        Cause("rewards-cancel", _B, "rewards of opposite sign cancel", "change the weights", False),
        Cause(
            "outcome-outweighed",
            _B,
            "the total reward hardly depends on right or wrong",
            "give the outcome reward at least twice the weight of all the others together, and bound the others",
            False,
        ),
        Cause(
            "reward-idle",
            _W,
            "a reward function pays nobody",
            "let it read the tags and the place the model writes, or leave it out",
        ),
        Cause(
            "gold-contradicted",
            _B,
            "the model agrees with itself against the gold answers",
            "check the golds; rows may have slipped",
            False,
        ),
        # What the model can do. "Too hard" before "no format": without right answers there is no cold
        # start to cure, and where there are right answers "too hard" is not found.
        Cause(
            "skill-lost", _I, "the warm start cost the model its skill", "roll back; fewer, gentler SFT steps"
        ),
        Cause("over-warmed", _I, "the warm start went too far", "roll back to an earlier SFT checkpoint"),
        Cause("saturated", _I, "the problems are solved", "stop, or take harder problems"),
        Cause("too-hard", _I, "the problems are too hard", "easier problems first, larger groups"),
        Cause(
            "tags-differ",
            _I,
            "prompt or model use other tags than the rewards",
            "name the same two tags in the prompt and in the rewards",
        ),
        Cause("no-format", _I, "the format is never sampled: the cold start itself", "warm start"),
        Cause(
            "format-inexact",
            _W,
            "the tags are there and the exact format is not",
            "accept outer white space, or a few more SFT steps",
        ),
        # The course of training.
        Cause("engine-gap", _W, "vLLM computes another policy", "give it the trainer's precision", False),
        Cause("hacking", _I, "the reward rises and the answers do not", "close the hole; roll back"),
        Cause("rate-too-large", _I, "the learning rate is too large", "a tenth of it"),
        Cause("collapse", _I, "the policy has collapsed", "roll back to the best checkpoint; lower the rate"),
        Cause(
            "shaping-only",
            _W,
            "groups differ only in format, not in outcome",
            "gate the shaping by the outcome",
        ),
        Cause(
            "few-live",
            _I,
            "few groups differ in outcome",
            "choose problems by their solve rate, or larger groups",
        ),
        Cause("rate-too-small", _W, "the learning rate is too small", "ten times as much"),
        Cause(
            "four-bit-drift",
            _W,
            "the policy differs between the 4-bit and the full base",
            "merge into the base it was trained on",
        ),
        Cause(
            "problems-repeated",
            _W,
            "the same problems come again and again",
            "keep one row of each problem: copies teach nothing new",
        ),
        Cause("overlap", _W, "held-out problems are in the training data", "take them out of training"),
        Cause(
            "healthy-zero-loss",
            _N,
            "a loss of 0.0 is healthy here",
            "nothing: watch the reward and the live share",
        ),
    )
}
"""Every cause by its code, explaining ones first."""

FOUND_BY: dict[str, str] = dict.fromkeys(
    (
        "template-missing",
        "template-foreign",
        "template-opens-thinking",
        "template-begins-turn",
        "template-opens-no-turn",
        "template-drops-reasoning",
        "template-rewrites-text",
        "template-ignores-system",
        "double-bos",
        "bos-missing",
        "pad-is-end",
        "text-not-kept",
        "tags-skipped",
        "end-missing",
        "end-token-differs",
    ),
    "warmstart.plumbing",
)
"""The causes that no rule of this package looks for, with the module whose facts show them."""
