"""How a probe samples: exactly as the training to come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from warmstart.probing.reward_calls import TIME_LIMIT_S

SAMPLED = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
"""The settings of the distribution a token is drawn from, as `trl.GRPOConfig` names them."""
HOT = 1.3
"""Above this temperature the probe looks whether it is the sampler that spoils what is written."""
PENALTY = 0.1
"""The same for a repetition penalty this far from 1."""


@dataclass(frozen=True)
class ProbeSettings:
    """How a probe samples; by default as `trl.GRPOConfig` would train.

    Attributes:
        problems: How many.
        completions: Of each.
        group_size: Completions per problem in the run to come.
        largest_group: The largest group size the run could afford; STOP is judged there.
        cap: Most tokens of a completion.
        temperature: Of sampling.
        top_p: Of sampling; 1 for none.
        top_k: Of sampling; 0 for none.
        min_p: Of sampling; None for none.
        repetition_penalty: Of sampling; 1 for none.
        batch_size: Completions generated at once.
        seed: Of sampling.
        reward_limit_s: A reward function that takes longer for the probe's completions has run out of time.
    """

    problems: int = 64
    completions: int = 8
    group_size: int = 8
    largest_group: int = 16
    cap: int = 512
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float | None = None
    repetition_penalty: float = 1.0
    batch_size: int = 64
    seed: int = 0
    reward_limit_s: float = TIME_LIMIT_S

    @classmethod
    def of(cls, args: Any, **changes: Any) -> ProbeSettings:  # noqa: ANN401
        """Return the settings that sample as a `trl.GRPOConfig` will; ``changes`` are the other fields."""
        sampled = {name: getattr(args, name) for name in SAMPLED} | {
            "group_size": args.num_generations,
            "largest_group": max(args.num_generations, cls.largest_group),
            "cap": args.max_completion_length,
            "seed": args.seed,
        }
        own = args.generation_kwargs if isinstance(args.generation_kwargs, dict) else {}
        return cls(**{**sampled, **{name: own[name] for name in SAMPLED if name in own}, **changes})

    @property
    def sampler(self) -> dict[str, Any]:
        """What `rollouts.generate` is told about the distribution of a token."""
        return {name: getattr(self, name) for name in SAMPLED}

    @property
    def is_unusual(self) -> bool:
        """Whether the sampler changes the policy so much that it has to be told from the model."""
        return self.temperature > HOT or abs(self.repetition_penalty - 1.0) > PENALTY

    @property
    def most_tokens(self) -> int:
        """The most tokens the probe generates: its cost, known before it starts."""
        return self.problems * self.completions * self.cap
