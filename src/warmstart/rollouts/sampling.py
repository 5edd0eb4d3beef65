"""Drawing tokens: the distribution a completion is sampled from, and a random stream of its own for each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

_BELOW_ONE = 1.0 - 2.0**-52
"""Keeps a draw under the whole mass, so that the last token drawn is one that can be drawn."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """The distribution of a token, as `transformers.GenerationConfig` names its fields.

    Attributes:
        temperature: 0 takes the likeliest token (greedy); 1 is the model's own distribution.
        top_p: Nucleus sampling (arXiv:1904.09751); 1 switches it off.
        top_k: 0 switches it off.
        min_p: arXiv:2407.01082; None switches it off.
        repetition_penalty: arXiv:1909.05858; 1 switches it off.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float | None = None
    repetition_penalty: float = 1.0

    @classmethod
    def of(cls, config: GenerationConfig) -> Sampling:
        """Return the distribution that a generation config of transformers asks for; what it leaves out is off."""
        return cls(
            temperature=config.temperature,
            top_p=1.0 if config.top_p is None else config.top_p,
            top_k=config.top_k or 0,
            min_p=config.min_p,
            repetition_penalty=config.repetition_penalty or 1.0,
        )

    @property
    def needs_history(self) -> bool:
        """Whether the distribution depends on which tokens stand before, prompt included."""
        return self.repetition_penalty != 1.0

    def processors(self) -> LogitsProcessorList:
        """Return what transformers does to the logits, apart from the temperature, in its own order."""
        found = LogitsProcessorList()
        if self.top_k:
            found.append(TopKLogitsWarper(self.top_k))
        if self.top_p < 1.0:
            found.append(TopPLogitsWarper(self.top_p))
        if self.min_p:
            found.append(MinPLogitsWarper(self.min_p))
        return found


def stream(max_tokens: int, *key: int | str | tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return ``max_tokens`` uniform draws in [0, 1) that belong to ``key`` alone.

    Keyed streams (Philox, Salmon et al., SC'11) make a completion's draws independent of the batch, the
    process and the order it is generated in.
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest))).random(max_tokens)


def with_float64(device: torch.device) -> torch.device:
    """Return the device to draw on: this one, or the processor beside an Apple GPU, which has no float64."""
    return torch.device("cpu") if device.type == "mps" else device


def pick(
    logits_B_V: torch.Tensor,
    draws_B: torch.Tensor | None,
    sampling: Sampling,
    processors: LogitsProcessorList,
    history_B_T: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return each row's token, its log-probability and the entropy of what it was drawn from.

    A token is drawn by inverting the cumulative distribution in float64. Log-probability (nats) and
    entropy (nats) are those of the policy, softmax(logits / temperature), before any cut of its tail:
    that is what GRPO trains. Greedy rows use temperature 1 for both.

    Args:
        logits_B_V: Next-token logits, (rows, vocabulary).
        draws_B: One uniform draw per row in float64, on a device that has it; None is greedy.
        sampling: The distribution.
        processors: ``sampling.processors()``, made once.
        history_B_T: Every token so far, for the repetition penalty alone.
    """
    scores = logits_B_V.float()
    if sampling.needs_history:
        scores = RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)(history_B_T, scores)
    log_probs = torch.log_softmax(scores / (sampling.temperature or 1.0), dim=-1)
    probs = log_probs.exp()
    entropy = -(probs * log_probs.clamp(min=-100.0)).sum(dim=-1)
    if draws_B is None:
        tokens = scores.argmax(dim=-1)
    else:
        if processors:
            probs = torch.softmax(processors(history_B_T, log_probs), dim=-1)
        mass = probs.to(draws_B.device).double().cumsum(dim=-1)
        wanted = (draws_B * _BELOW_ONE).unsqueeze(-1) * mass[:, -1:]
        # A mass that is no number has no place for a draw; the log-probability says so.
        tokens = torch.searchsorted(mass, wanted, right=True).squeeze(-1).clamp(max=mass.shape[-1] - 1)
        tokens = tokens.to(logits_B_V.device)
    return tokens, log_probs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1), entropy
