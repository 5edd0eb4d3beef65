"""What every number of a training step means, what is healthy, and what to do when it is not.

`docs/metrics.md` is written from this and from the causes of `warmstart.diagnosis` by
``scripts/build_metrics_page.py``.
"""

from __future__ import annotations

from typing import NamedTuple


class Metric(NamedTuple):
    """One number of a line of metrics.jsonl.

    Attributes:
        tracker: Its name in a tracker, behind ``train/``; ``…`` stands for the reward.
        meaning: What it is, with its unit.
        healthy: Where it should be.
        act: What to do when it is not there.
    """

    tracker: str
    meaning: str
    healthy: str
    act: str


METRICS: dict[str, Metric] = {
    "live_share": Metric(
        "warmstart/live_share",
        "share of groups whose rewards differ: only they carry gradient",
        "0.3 to 0.9",
        "near 0: `warmstart probe` names the cause; all fail: easier problems, a warm start; all pass: harder problems",
    ),
    "outcome_live_share": Metric(
        "warmstart/mixed_share",
        "share of groups with right and wrong answers: what teaches the math",
        "above 0.2",
        "far below `live_share`: groups differ in format alone; the outcome gate (stage `solve`) keeps that out",
    ),
    "expected_live_share": Metric(
        "warmstart/expected_live_share",
        "share of mixed groups that the problem sampler expected of this step",
        "close to `outcome_live_share`",
        "far above it for long: solve rates move faster than the posterior learns; nothing to do but to know",
    ),
    "all_fail_share": Metric(
        "warmstart/all_fail_share",
        "share of groups in which no answer is right",
        "below 0.5",
        "easier problems first, larger groups, or a warm start",
    ),
    "all_pass_share": Metric(
        "warmstart/all_pass_share",
        "share of groups in which every answer is right",
        "below 0.5",
        "harder problems, or stop: there is little left to win",
    ),
    "undecided_share": Metric(
        "warmstart/undecided_share",
        "share of completions whose answer the grader could not judge; they are left out of the update",
        "0",
        "look at them with `warmstart rollouts RUN`; repair the gold answers or the reward",
    ),
    "reward_fault_share": Metric(
        "warmstart/reward_fault_share",
        "share of completions on which a reward of your own failed; they are left out of the update",
        "0",
        "the run names the function and its line; repair it",
    ),
    "update_share": Metric(
        "warmstart/update_share",
        "share of the completions that went through the update: those of live groups",
        "`outcome_live_share` in the stage `solve`, where the outcome gate leaves the other live groups out; else `live_share`",
        "low values make steps cheap; for more signal choose problems by their solve rate (`grpo.problems=adaptive`)",
    ),
    "engine_gap": Metric(
        "sampling/sampling_logp_difference/mean",
        "mean distance between the log-probabilities vLLM sampled with and the trainer's own, nats per token",
        "below 0.1",
        "grows: the engine has other weights or another precision than the trainer",
    ),
    "held_out_strict": Metric(
        "warmstart/held_out_strict",
        "strict accuracy of one sample on problems kept out of training, at the steps where it is measured",
        "rises with the reward",
        "falls while the reward rises: reward hacking or overfitting; the watch says so and puts the best adapter back",
    ),
    "held_out_lenient": Metric(
        "warmstart/held_out_lenient",
        "the same for right answers in any form",
        "does not fall below where it began",
        "falls while the format rises: the format is bought with skill; lower the rate, gate the shaping",
    ),
    "held_out_format": Metric(
        "warmstart/held_out_format", "the same for the exact format", "above 0.9 after the warm start", "another warm start"
    ),
    "generate_s": Metric(
        "warmstart/generate_s", "seconds of a step spent on completions", "half of `step_s` or less", "vLLM, shorter caps"
    ),
    "score_s": Metric(
        "warmstart/score_s", "seconds spent on rewards", "a few per cent of `step_s`", "a slow reward of your own; symbolic golds"
    ),
    "generated_tokens": Metric(
        "warmstart/generated_tokens", "tokens generated in the step, all processes", "steady", "see `completion_tokens`"
    ),
    "tokens_per_s": Metric("–", "generated tokens per second of the step", "steady", "falls: completions grow, or the machine is shared"),
    "step_s": Metric("step_time", "seconds of the step", "steady", "see `generate_s`"),
    "reward": Metric("reward", "mean weighted reward of a completion", "rises, then levels off", "see `live_share`"),
    "reward_std": Metric(
        "reward_std", "mean standard deviation of the reward within a group", "above 0", "0: every group is dead"
    ),
    "rewards": Metric(
        "rewards/…/mean", "mean of each reward before its weight", "correctness rises with the others", "only format rises: see `hacking`"
    ),
    "loss": Metric(
        "loss",
        "of SFT: nats per supervised token; of GRPO: 0 in value at the first pass by construction",
        "SFT: falls and levels off; GRPO: says nothing",
        "judge GRPO by `reward`, `live_share` and `held_out_strict`",
    ),
    "learning_rate": Metric("learning_rate", "of this step", "as scheduled", "`grpo.learning_rate`, `sft.learning_rate`"),
    "grad_norm": Metric(
        "grad_norm", "norm of the gradient before clipping", "above 0, no jumps", "0: see `gradient-blocked`; jumps: a lower rate"
    ),
    "entropy": Metric(
        "warmstart/entropy",
        "of the policy, nats per token, over every token of the step; TRL's `entropy` where others than warmstart sample",
        "falls slowly",
        "near 0: explores nothing; a lower rate, a higher temperature",
    ),
    "kl": Metric("kl", "distance to the starting policy, nats per token; with `grpo.beta` above 0", "below 1", "raise `grpo.beta`"),
    "completion_tokens": Metric(
        "completions/mean_length", "mean tokens of a completion", "steady, well under the cap", "grows to the cap: see `truncated`"
    ),
    "truncated_share": Metric(
        "completions/clipped_ratio", "share of completions that ran into the cap", "below 0.05", "raise `grpo.max_completion_tokens`"
    ),
}  # fmt: skip
"""Every number of a line of metrics.jsonl by its name there."""
