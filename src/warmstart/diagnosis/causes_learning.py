"""What can be wrong with learning itself: what the model writes, what it earns, what it can do, its course."""

from __future__ import annotations

from warmstart.diagnosis.cause import Cause, Severity

_B, _I, _W, _N = Severity.BROKEN, Severity.ILL, Severity.WARNING, Severity.NOTE

LEARNING = (
    # What the model writes. Sampling comes first: equal texts look like every other illness.
    Cause(
        "sampling-degenerate",
        _B,
        "the completions of a group are the same",
        "reward_std 0, all texts of a group alike",
        "raise the temperature; no top_k=1, no shared seed",
    ),
    Cause(
        "sampling-distorted",
        _B,
        "the sampler spoils what the model writes",
        "babble or stiff repetition in training that greedy decoding does not show",
        "sample at temperature 0.6 to 1, without a repetition penalty",
    ),
    Cause(
        "truncated",
        _I,
        "completions are cut by the cap",
        "clipped_ratio high, completions without an answer, length at the cap",
        "raise grpo.max_completion_tokens",
    ),
    Cause(
        "never-stops",
        _I,
        "the model does not end its turn",
        "every completion as long as the cap, whatever the cap; mean_terminated_length 0",
        "use an end-of-turn token it was trained on, or a warm start",
    ),
    # What the rewards make of it.
    Cause(
        "reward-unrelated",
        _B,
        "the outcome reward does not follow the answers",
        "the outcome reward wanders, right and wrong texts earn alike",
        "pay each completion by its own answer and its own gold, more for right than for wrong",
        False,
    ),
    Cause(
        "reward-blind",
        _B,
        "the reward cannot see right answers that are there",
        "correctness 0 although right answers stand in the texts",
        "accept the form the model writes",
        False,
    ),
    Cause(
        "reward-pays-wrong",
        _B,
        "the outcome reward pays wrong answers",
        "correctness rises fast or starts high, held-out accuracy does not",
        "compare the one final answer by value with the gold",
        False,
    ),
    Cause(
        "rewards-cancel",
        _B,
        "rewards of opposite sign cancel",
        "single rewards differ within a group, their sum does not: reward_std 0",
        "change the weights",
        False,
    ),
    Cause(
        "outcome-outweighed",
        _B,
        "the total reward hardly depends on right or wrong",
        "total reward rises while correctness stays or falls",
        "give the outcome reward at least twice the weight of all the others together, and bound the others",
        False,
    ),
    Cause(
        "reward-idle",
        _W,
        "a reward function pays nobody",
        "one of the rewards is 0 at every step",
        "let it read the tags and the place the model writes, or leave it out",
    ),
    Cause(
        "gold-contradicted",
        _B,
        "the model agrees with itself against the gold answers",
        "the model gives one answer again and again and earns 0 for it",
        "check the golds; rows may have slipped; if they are right, the model errs alike on such problems: take easier ones",
        False,
    ),
    # What the model can do. "Too hard" before "no format": without right answers there is no cold
    # start to cure, and where there are right answers "too hard" is not found.
    Cause(
        "skill-lost",
        _I,
        "the warm start cost the model its skill",
        "after SFT the format is perfect and few answers are right",
        "roll back; fewer, gentler SFT steps",
    ),
    Cause(
        "over-warmed",
        _I,
        "the warm start went too far",
        "after SFT all completions of a group are the same; entropy near 0",
        "roll back to an earlier SFT checkpoint",
    ),
    Cause(
        "saturated",
        _I,
        "the problems are solved",
        "reward at its maximum, reward_std 0, grad_norm 0",
        "stop, or take harder problems",
    ),
    Cause(
        "too-hard",
        _I,
        "the problems are too hard",
        "format is fine, correctness 0, all groups fail",
        "easier problems first, a stronger model, larger groups",
    ),
    Cause(
        "tags-differ",
        _I,
        "prompt or model use other tags than the rewards",
        "the model writes tags, and format rewards stay 0",
        "name the same two tags in the prompt and in the rewards",
    ),
    Cause(
        "no-format",
        _I,
        "the format is never sampled: the cold start itself",
        "reward 0, reward_std 0, grad_norm 0, loss 0.0 from the first step on: GRPO trains on nothing",
        "warm start",
    ),
    Cause(
        "format-inexact",
        _W,
        "the tags are there and the exact format is not",
        "soft format pays, strict format does not",
        "accept outer white space, or a few more SFT steps",
    ),
    # The course of training.
    Cause(
        "engine-gap",
        _W,
        "vLLM computes another policy",
        "with vLLM, a reward that falls although the loss does its work; importance ratios far from 1",
        "give it the trainer's precision",
        False,
    ),
    Cause(
        "hacking",
        _I,
        "the reward rises and the answers do not",
        "reward rises, held-out or lenient accuracy falls; several numbers as the answer, tags again and again, "
        "copied reasoning or none",
        "close the hole; roll back",
    ),
    Cause(
        "rate-too-large",
        _I,
        "the learning rate is too large",
        "grad_norm jumps, reward falls within a few steps, kl rises",
        "a tenth of it",
    ),
    Cause(
        "collapse",
        _I,
        "the policy has collapsed",
        "reward falls and does not come back; texts become alike or senseless",
        "roll back to the best checkpoint; lower the rate",
    ),
    Cause(
        "shaping-only",
        _W,
        "groups differ only in format, not in outcome",
        "reward_std > 0, correctness all equal within every group",
        "gate the shaping by the outcome",
    ),
    Cause(
        "few-live",
        _I,
        "few groups differ in outcome",
        "reward_std is 0 in most groups; reward hardly moves",
        "choose problems by their solve rate, or larger groups",
    ),
    Cause(
        "rate-too-small",
        _W,
        "the learning rate is too small",
        "live groups, a gradient, and a reward that stands still",
        "ten times as much",
    ),
    Cause(
        "four-bit-drift",
        _W,
        "the policy differs between the 4-bit and the full base",
        "format or accuracy drops when the adapter is put on the unquantised base",
        "merge into the base it was trained on",
    ),
    Cause(
        "problems-repeated",
        _W,
        "the same problems come again and again",
        "training reward rises, held-out accuracy does not; few distinct problems",
        "keep one row of each problem: copies teach nothing new",
    ),
    Cause(
        "overlap",
        _W,
        "held-out problems are in the training data",
        "held-out accuracy is better than it can be",
        "take them out of training",
    ),
    Cause(
        "healthy-zero-loss",
        _N,
        "a loss of 0.0 is healthy here",
        "loss 0.0 (or ±1e-8) while reward_std and grad_norm are above 0",
        "nothing: watch the reward and the live share",
    ),
)
"""Explaining ones first."""
