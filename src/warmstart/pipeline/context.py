"""What the stages of a run share: the recipe, the directory, the data, the prompts and the plan."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from transformers import PreTrainedModel

from warmstart import ranks
from warmstart.config.schema import Recipe
from warmstart.data import DataSplits, load
from warmstart.errors import ConfigError
from warmstart.interrupts import Interrupts
from warmstart.models import Lazy, load_merged, load_tokenizer, most_positions, require_fit
from warmstart.pipeline.fitting import Fitting
from warmstart.plan import Plan
from warmstart.probing.settings import SAMPLED, ProbeSettings
from warmstart.progress import Progress, Quiet
from warmstart.records import Problem
from warmstart.rewards.files import reward_file
from warmstart.rewards.functions import STAGE_WEIGHTS, RewardFunction, reward_functions
from warmstart.rewards.process import ProcessReward
from warmstart.rollouts.journal import Journal
from warmstart.runs.directory import RunDir
from warmstart.tags import Tags, render_target
from warmstart.templates.prompter import Prompter, make_prompter
from warmstart.training.checkpoints import Checkpoints


@dataclass
class Run:
    """One run: its recipe and directory, and the data, loaded once."""

    recipe: Recipe
    out: RunDir | None
    """None for what leaves nothing behind, like the `probe` command."""
    progress: Progress
    force: bool = False
    """Train although the diagnosis says STOP."""
    interrupts: Interrupts = field(init=False)
    """Whether the run was told to stop."""
    _data: DataSplits | None = field(default=None, init=False)
    _own_rewards: list[ProcessReward] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.interrupts = Interrupts(self.progress.say)

    @property
    def folder(self) -> RunDir:
        """The run directory."""
        if self.out is None:
            raise LookupError("this run has no directory")
        return self.out

    @property
    def data(self) -> DataSplits:
        """The problems, loaded once."""
        if self._data is None:
            self._data = load_splits(self.recipe, self.progress.say)
        return self._data

    @property
    def plan(self) -> Plan:
        """The cure that the probe settled on; before it, the one that the recipe forces."""
        written = ranks.from_main(lambda: self.folder.read_json_if_there(self.folder.plan_path))
        return Plan.from_dict(written) if written else Plan.forced(self.recipe)

    def prompter(self, plan: Plan | None = None) -> Prompter:
        """Return a prompter on a freshly loaded tokenizer: stages cannot disturb each other's.

        With a plan, its cure of the prompt is applied.
        """
        prompter = load_prompter(self.recipe)
        if plan is None or plan.prompt == "plain":
            return prompter
        return cured(prompter, plan.prompt, self.data.train)

    def rewards(self, tags: Tags) -> tuple[list[RewardFunction], dict[str, float]]:
        """Return the run's reward functions, the recipe's own ones last, and the weight of each by name.

        The processes of its own rewards are kept for the whole run.
        """
        wanted = self.recipe.grpo
        if self._own_rewards is None:
            self._own_rewards = [
                ProcessReward(reward_file(text), limit_s=wanted.reward_limit_s) for text in wanted.rewards
            ]
        functions: list[RewardFunction] = [*reward_functions(tags), *self._own_rewards]
        changed = {**STAGE_WEIGHTS[wanted.stage], **(wanted.reward_weights or {})}
        return functions, {one.__name__: changed.get(one.__name__, 1.0) for one in functions}

    def model(self, adapter: Path | None = None) -> Lazy:
        """Return the unquantised base, with an adapter merged into it: to generate with."""
        wanted = self.recipe.model

        def load() -> PreTrainedModel:
            model = load_merged(wanted.name, adapter, revision=wanted.revision, dtype=wanted.dtype)
            require_fit(model, load_tokenizer(wanted.name, revision=wanted.revision))
            return model

        return Lazy(load)

    def journal(self, name: str, adapter: str = "") -> Journal | None:
        """Return what keeps the batches of one sampling of this stage.

        Args:
            name: What the sampling is called in the stage.
            adapter: The digest of the adapter on the base, if there is one.
        """
        if self.out is None:
            return None
        # Every process keeps its own share; another number of them shares it out anew.
        share = f"{ranks.index()} of {ranks.count()}"
        model = f"{self.recipe.model.model_dump_json()} {adapter} {share}"
        return Journal(self.folder.sampling_path(f"{name}-{ranks.index()}"), model=model)

    def checkpoints(self, name: str, *, every: int) -> Checkpoints:
        """Return what keeps the checkpoints of one training of this stage."""
        return Checkpoints(self.folder, name, every=every, say=self.progress.say, interrupts=self.interrupts)

    def training_problems(self) -> list[Problem]:
        """Return the problems GRPO trains on: all, or the easier ones that the plan asks for."""
        most = self.plan.most_steps
        return [p for p in self.data.train if most is None or (p.steps or 0) <= most]


def cured(prompter: Prompter, prompt: str, problems: list[Problem]) -> Prompter:
    """Return the prompter with one cure of the prompt: ``exemplar`` or ``prefill``."""
    if prompt == "prefill":
        return prompter.prefilled(f"{prompter.tags.exact[0]}\n")
    return replace(prompter, exemplar=exemplar_of(problems, prompter.tags))


def exemplar_of(problems: list[Problem], tags: Tags) -> tuple[str, str]:
    """Return the question and the target that are shown as an example: the shortest with two lines or more.

    Raises:
        ConfigError: If no problem has a rationale.
    """
    worked = [problem for problem in problems if problem.rationale]
    if not worked:
        raise ConfigError(
            "none of the training problems has a rationale to show as an example",
            "name the column with data.columns.rationale, or take another cure than the exemplar",
        )
    several = [problem for problem in worked if "\n" in str(problem.rationale)] or worked
    shown = min(
        several, key=lambda problem: (len(problem.question) + len(str(problem.rationale)), problem.id)
    )
    return shown.question, render_target(shown.rationale or "", shown.gold, tags)


def settings_of(recipe: Recipe) -> ProbeSettings:
    """Return how a probe of the recipe samples: as its GRPO will."""
    grpo, wanted = recipe.grpo, recipe.probe
    extra = {**grpo.trl, **(grpo.trl.get("generation_kwargs") or {})}
    sampled = {name: extra[name] for name in SAMPLED if name in extra}
    return ProbeSettings(
        **{
            "problems": wanted.problems,
            "completions": wanted.completions,
            "group_size": grpo.group_size,
            "largest_group": max(wanted.largest_group, grpo.group_size),
            "cap": grpo.max_completion_tokens,
            "temperature": grpo.temperature,
            "top_p": grpo.top_p,
            "batch_size": recipe.eval.batch_size,
            "seed": recipe.seed,
            **sampled,
        }
    )


def load_splits(recipe: Recipe, say: Callable[[str], None] | None = None) -> DataSplits:
    """Return the recipe's problems: to train on, held out, and of unseen families.

    Those whose prompt and completion do not fit into the model are left out, and said.

    Raises:
        DataError: If the data cannot be used, or nothing of a part fits.
    """
    splits = load(
        recipe.data,
        seed=recipe.seed,
        eval_problems=recipe.eval.problems,
        unseen_problems=recipe.eval.unseen_problems,
    )
    most = most_positions(recipe.model.name, revision=recipe.model.revision)
    if most is None:
        return splits
    cap = max(recipe.grpo.max_completion_tokens, recipe.eval.max_completion_tokens or 0)
    fitting = Fitting(most, cap, recipe.prompt.instructions or "", lambda: load_prompter(recipe))
    return fitting.kept(splits, say or Quiet().say)


def digest_of(splits: DataSplits) -> str:
    """Return what tells one set of problems from another."""
    return hashlib.sha256(
        repr((splits.train, splits.eval, splits.unseen)).encode("utf-8", "surrogatepass")
    ).hexdigest()


def load_prompter(recipe: Recipe) -> Prompter:
    """Return what puts the recipe's problems to its model."""
    model, prompt = recipe.model, recipe.prompt
    return make_prompter(
        load_tokenizer(model.name, revision=model.revision),
        tags=prompt.tags,
        text=prompt.instructions,
        role=prompt.role,
        enable_thinking=prompt.enable_thinking,
        end_token=model.end_token,
    )
