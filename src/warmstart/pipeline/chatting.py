"""A run's model, asked one problem at a time with the prompt it was trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from warmstart.config.schema import Recipe
from warmstart.models import load_merged
from warmstart.pipeline.context import Run
from warmstart.progress import Quiet
from warmstart.rollouts.streaming import stream_text
from warmstart.runs.directory import RunDir
from warmstart.tags import Tags
from warmstart.templates.prompter import Prompter


@dataclass(frozen=True)
class Conversation:
    """A loaded model and how it is asked; `of` loads it."""

    name: str
    model: Any
    prompter: Prompter
    max_tokens: int
    top_p: float

    @classmethod
    def of(cls, folder: RunDir, stage: str) -> Conversation:
        """Return the model of a run: ``base``, ``warmup``, ``grpo``, or ``auto`` for the one trained last.

        Raises:
            RunDirError: If the run has not trained it yet.
        """
        recipe = Recipe.model_validate(folder.read_json(folder.resolved_path))
        adapter = None if stage == "base" else folder.adapter(stage)
        run = Run(recipe, folder, Quiet())
        model = load_merged(
            recipe.model.name, adapter, revision=recipe.model.revision, dtype=recipe.model.dtype
        )
        # The base is asked as it was found, like the evaluation does; the others with the plan's prompt.
        prompter = run.prompter(None if adapter is None else run.plan)
        cap = recipe.eval.max_completion_tokens or recipe.grpo.max_completion_tokens
        shown = recipe.model.name if adapter is None else f"{recipe.model.name} + {adapter}"
        return cls(shown, model, prompter, cap, recipe.eval.top_p)

    @property
    def tags(self) -> Tags:
        """The answer format."""
        return self.prompter.tags

    def ask(self, question: str, *, temperature: float, seed: int) -> Iterator[str]:
        """Yield what the model writes, in pieces, with what the prompt had already written of it first."""
        if self.prompter.prefill:
            yield self.prompter.prefill
        yield from stream_text(
            self.model,
            self.prompter.tokenizer,
            self.prompter.prompt_ids(question),
            temperature=temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            seed=seed,
        )
