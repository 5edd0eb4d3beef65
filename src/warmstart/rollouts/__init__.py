"""Sampling completions from a model."""

from warmstart.rollouts.transformers import Completion, generate

__all__ = ["Completion", "generate"]
