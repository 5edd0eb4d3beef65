"""The recipe: its schema, its loading, and all that is wrong with it in one message.

Every field is documented once, here; the line under it says what it is, its unit, where its default
comes from and its twin in TRL. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from warmstart.batching import check_plan
from warmstart.config import yaml_loader
from warmstart.config.errors import sentences
from warmstart.config.files import SHOW
from warmstart.config.files import list_recipes as list_recipes
from warmstart.config.files import recipe_text as recipe_text
from warmstart.config.overrides import apply_overrides
from warmstart.errors import ConfigError
from warmstart.rewards import files as reward_files
from warmstart.rewards.functions import STAGE_WEIGHTS
from warmstart.tags import Tags
from warmstart.trl_fields import checked_extra, refuse

LastRung = Literal["easier-problems", "larger-groups"]
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _a_switch_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401
        # pydantic takes true for 1, so that `grpo.steps=yes` would train one step.
        switch = cls.model_fields[str(info.field_name)].annotation in (bool, bool | None)
        if isinstance(value, bool) and not switch:
            raise PydanticCustomError("switch", "true and false are for switches")
        return value


class ModelConfig(_Section):
    """Which model is trained."""

    name: str
    """``tiny`` (the base that ships with warmstart), a folder, or a Hub id."""
    revision: str | None = None
    """Branch, tag or commit on the Hub."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """``auto``: float32 on CPU, bfloat16 from compute capability 8.0 on, else float16."""
    licence: str | None = None
    """Of the model, for the model card; that of the packaged recipes' models is known."""
    end_token: str | None = None
    """The token that ends a turn, if not the tokenizer's (Qwen2.5 *base* never learnt ``<|im_end|>``)."""


class PromptConfig(_Section):
    """How a problem is put to the model."""

    reasoning_tag: str = "reasoning"
    """Name of the first block (``think`` for R1's own format)."""
    answer_tag: str = "answer"
    """Name of the second block."""
    instructions: str | None = None
    """What asks for the format; by default the format itself with a line in each block."""
    role: Literal["auto", "system", "user"] = "auto"
    """The turn the instructions stand in; ``auto`` takes the system turn where the template has one."""
    enable_thinking: bool | None = None
    """The thinking switch of Qwen3's template; None leaves it."""

    @model_validator(mode="after")
    def _tags_are_usable(self) -> PromptConfig:
        _ = self.tags
        return self

    @property
    def tags(self) -> Tags:
        """The tags of the format."""
        return Tags(self.reasoning_tag, self.answer_tag)


class ColumnMap(_Section):
    """Which column of the data is what."""

    question: str | list[str] = "question"
    """The problem's text; several columns are joined, as SVAMP's ``[Body, Question]``."""
    answer: str = "answer"
    """The gold answer; a worked solution that ends in ``#### N`` or in ``\\boxed{N}`` will do, and ``9 (apples)`` is 9."""
    rationale: str | None = None
    """A worked solution, for SFT."""
    id: str | None = None
    """What names a problem; by default the row number."""
    family: str | None = None
    """The kind of problem, which results are broken down by: MATH's ``subject``, SVAMP's ``Type``."""
    steps: str | None = None
    """Its difficulty as a whole number, or a text with one: MATH's ``level``."""


class DataConfig(_Section):
    """Where the problems come from."""

    source: Literal["synthetic", "gsm8k", "hub", "files"]
    """``synthetic`` generates; ``gsm8k`` is openai/gsm8k or a folder of its jsonl; ``hub`` any data set; ``files`` any jsonl, csv or parquet."""
    path: Annotated[str | None, Field(validate_default=True)] = None
    """gsm8k: the folder (None: from the Hub). hub: the data set's id. files: the training file."""
    eval_path: str | None = None
    """files: the held-out file; None holds out a fifth of the training file, the same whatever the seed."""
    subset: str | None = None
    """hub: the configuration of the data set."""
    train_split: str = "train"
    """hub: the split that is trained on."""
    eval_split: str = "test"
    """hub: the split that is held out."""
    columns: ColumnMap = ColumnMap()
    """hub and files: which column is what."""
    steps: Positive | None = None
    """synthetic: calculation steps of every problem; None draws from the families, which have 2 to 6."""
    licence: str | None = None
    """Of the data, for the model card; that of GSM8K and a few others is known."""
    train_problems: Positive | None = None
    """How many problems are trained on, drawn by the seed; None takes all (synthetic: 4,000)."""

    @field_validator("path")
    @classmethod
    def _the_source_and_the_path_go_together(cls, path: str | None, info: ValidationInfo) -> str | None:
        if path is None and info.data.get("source") in ("hub", "files"):
            raise ValueError(f"data.path is needed with data.source={info.data['source']}")
        if path is not None and info.data.get("source") == "synthetic":
            raise ValueError("data.path is read by nothing with data.source=synthetic; set data.source=files")
        return path


class LoraConfig(_Section):
    """The adapter (LoRA, arXiv:2106.09685), the same one through SFT and GRPO."""

    rank: Positive = 16
    """Rank of the update. PEFT: ``r``."""
    alpha: Positive = 32
    """The update is scaled by alpha/rank. PEFT: ``lora_alpha``."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout in the adapter; 0 keeps sampling and training the same policy. PEFT: ``lora_dropout``."""
    target_modules: str | list[str] = "all-linear"
    """The adapted layers; all linear ones match full fine-tuning best (TRL, LoRA without regret)."""


class ProbeConfig(_Section):
    """Measuring whether GRPO can learn, before it starts, and what is done if it cannot."""

    problems: Annotated[int, Field(ge=8)] = 64
    """How many training problems are asked; without a right answer among them up to four times as many."""
    completions: Annotated[int, Field(ge=2)] = 8
    """Completions per problem."""
    largest_group: Annotated[int, Field(ge=2)] = 16
    """The largest group size the run could afford; below 5 % live groups even there means STOP."""
    cure: Literal["auto", "exemplar", "prefill", "self-warm-start", "gold-warm-start", LastRung] = "auto"
    """``auto`` climbs the ladder to the cheapest cure that suffices; a name forces that one."""
    force: bool = False
    """Train although the diagnosis says STOP, as ``--force`` does."""


class SftConfig(_Section):
    """The warm start: QLoRA supervised fine-tuning on solutions in the tags."""

    enabled: bool = True
    """False tries the cures of the prompt alone; where neither suffices the run ends with STOP."""
    samples: Positive = 4
    """Self warm start: solutions sampled per problem, of which verified ones are kept."""
    temperature: Annotated[float, Field(gt=0)] = 0.6
    """Self warm start: of that sampling; below 1 more of them are right, and alike in form."""
    problems: Positive
    """How many rationales are used; a few hundred teach the format, more wear down the skill."""
    steps: Positive
    """Optimizer steps. TRL: ``max_steps``."""
    batch_size: Positive = 16
    """Rows per optimizer step."""
    micro_batch: Positive | None = None
    """Rows per forward pass; None takes the whole batch. TRL: ``per_device_train_batch_size``."""
    learning_rate: Rate = 2e-4
    """QLoRA's own (arXiv:2305.14314, up to 13B); about ten times that of full fine-tuning."""
    warmup_ratio: Share = 0.1
    """Share of the steps over which the rate rises."""
    check_every: Annotated[int, Field(ge=0)] | None = None
    """Steps between measurements of format, skill and live groups, which end the warm start when it is
    enough; None is a fifth of the steps, 0 trains them all."""
    check_problems: Positive = 16
    """Problems of such a measurement, four completions each."""
    checkpoint_every: Annotated[int, Field(ge=0)] = 25
    """Steps between two checkpoints, which a run that was killed goes on from; 0: only when it is told to stop."""
    quantization: Literal["nf4", "none"] = "nf4"
    """``nf4``: the base in 4 bits, double quantisation; it works on CPU too."""
    gradient_checkpointing: bool = True
    """Less memory for a quarter more time."""
    trl: dict[str, Any] = {}
    """Any other field of TRL's ``SFTConfig``."""

    @field_validator("trl")
    @classmethod
    def _extra_fields_are_trls(cls, extra: dict[str, Any]) -> dict[str, Any]:
        return checked_extra("sft", extra)

    @model_validator(mode="after")
    def _rows_divide(self) -> SftConfig:
        check_plan(1, self.batch_size, micro_batch=self.micro_batch, name="sft.micro_batch")
        return self


class GrpoConfig(_Section):
    """Group Relative Policy Optimization (arXiv:2402.03300)."""

    steps: Positive
    """Optimizer steps, each on freshly generated completions. TRL: ``max_steps``."""
    problems_per_step: Positive
    """Problems per optimizer step, over all processes."""
    group_size: Annotated[int, Field(ge=2)] = 8
    """Completions per problem. TRL: ``num_generations``."""
    micro_batch: Positive | None = None
    """Completions per forward pass and device; None takes all. TRL: ``per_device_train_batch_size``."""
    learning_rate: Rate = 1e-5
    """LoRA wants about ten times full fine-tuning's 1e-6 (TRL, LoRA without regret)."""
    lr_schedule: Literal["constant", "constant_with_warmup", "linear", "cosine"] = "constant_with_warmup"
    """TRL: ``lr_scheduler_type``."""
    warmup_ratio: Share = 0.03
    """Share of the steps over which the rate rises."""
    beta: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the KL penalty to the starting policy, in nats per token; 0 loads no reference. TRL: ``beta``."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of sampling; 1 is the policy itself. TRL: ``temperature``."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus sampling; below 1 what is sampled is not what is trained. TRL: ``top_p``."""
    max_completion_tokens: Positive
    """The cap of a completion, in tokens. TRL: ``max_completion_length``."""
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"] = "dapo"
    """How token losses are averaged (arXiv:2503.14476 for dapo). TRL: ``loss_type``."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """What advantages are divided by. TRL: ``scale_rewards``."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 0.2
    """Gradient clipping; 0.1 to 0.2 was seen to be steadier than 1. TRL: ``max_grad_norm``."""
    stage: Literal["shape", "format", "solve"] = "solve"
    """The row of reward weights: `warmstart.rewards.functions.STAGE_WEIGHTS`; where the plan starts, if it moves."""
    plan: Literal["moves", "stays"] = "stays"
    """``moves``: the stage advances and falls back on the measured format; ``stays``: it is the one above."""
    problems: Literal["adaptive", "uniform"] = "adaptive"
    """``adaptive`` asks what the model sometimes solves: groups with right and wrong answers; ``uniform`` all alike."""
    rest: Annotated[int, Field(ge=0)] = 4
    """Steps an adaptively chosen problem rests after it was asked. The shorter, the more groups are mixed; the
    longer, the less a small model learns by heart."""
    check_every: Annotated[int, Field(ge=0)] | None = None
    """Steps between measurements on problems kept out of training, which collapse and hacking are told by;
    None is a fifth of the steps, 0 measures nothing."""
    check_problems: Positive = 32
    """Problems of such a measurement, four completions each."""
    checkpoint_every: Annotated[int, Field(ge=0)] = 10
    """Steps between two checkpoints, which a run that was killed goes on from; 0: only when it is told to stop."""
    rewards: list[str] = []
    """Rewards of your own beside the six, ``FILE.py:FUNCTION``; each runs in a process that can be killed."""
    reward_limit_s: Annotated[float, Field(gt=0)] = 60.0
    """Wall-clock seconds that one call of such a reward may take, for the completions of a step."""
    reward_weights: dict[str, float] | None = None
    """Weights that differ from the stage's, by reward name; 1 for your own. A plan that moves keeps those of your
    own alone. TRL: ``reward_weights``."""
    quantization: Literal["none", "nf4"] = "none"
    """``nf4`` trains on the 4-bit base too: less memory, slower generation."""
    gradient_checkpointing: bool = True
    """Less memory for a quarter more time. TRL: ``gradient_checkpointing``."""
    vllm: Literal["off", "colocate", "server"] = "off"
    """Generate with vLLM, in each process or on a server, whose address is in WARMSTART_VLLM_URL. TRL: ``use_vllm``, ``vllm_mode``."""
    trl: dict[str, Any] = {}
    """Any other field of TRL's ``GRPOConfig``."""

    @field_validator("rewards")
    @classmethod
    def _own_rewards_are_there(cls, rewards: list[str]) -> list[str]:
        refuse(reward_files.problems_of(rewards, STAGE_WEIGHTS["solve"]))
        return rewards

    @field_validator("reward_weights")
    @classmethod
    def _weights_are_known(
        cls, weights: dict[str, float] | None, info: ValidationInfo
    ) -> dict[str, float] | None:
        own = [text.rpartition(":")[2] for text in info.data.get("rewards", ())]
        known = [*STAGE_WEIGHTS["solve"], *own]
        refuse(
            f"grpo.reward_weights.{name} is no reward; there are {', '.join(known)}"
            for name in weights or {}
            if name not in known
        )
        return weights

    @field_validator("vllm")
    @classmethod
    def _four_bits_cannot_be_merged_for_vllm(cls, vllm: str, info: ValidationInfo) -> str:
        if vllm != "off" and info.data.get("quantization") == "nf4":
            raise ValueError(
                "grpo.vllm and grpo.quantization=nf4 do not go together: TRL merges the adapter into the base to hand it to "
                "vLLM, and merging into 4 bits rounds the update away; set grpo.quantization=none"
            )
        return vllm

    @field_validator("trl")
    @classmethod
    def _extra_fields_are_trls(cls, extra: dict[str, Any]) -> dict[str, Any]:
        return checked_extra("grpo", extra)

    @model_validator(mode="after")
    def _completions_divide(self) -> GrpoConfig:
        check_plan(self.problems_per_step, self.group_size, micro_batch=self.micro_batch)
        return self


class EvalConfig(_Section):
    """Measuring on held-out problems."""

    problems: Positive
    """How many held-out problems."""
    samples: Annotated[int, Field(ge=0)] = 4
    """Sampled completions per problem, beside the greedy one."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of the samples."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Of the samples."""
    max_completion_tokens: Positive | None = None
    """The cap of a completion, in tokens; None takes GRPO's."""
    batch_size: Positive = 64
    """Completions generated at once."""
    unseen_problems: Annotated[int, Field(ge=0)] = 0
    """synthetic: problems of families that are never trained on, reported beside."""


class Recipe(_Section):
    """Everything a run does."""

    name: str
    """What the run is called."""
    description: str = ""
    """One line for `warmstart recipes`."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of data, adapter, sampling and training."""
    trackers: list[Literal["tensorboard", "trackio", "wandb"]] = []
    """Where every training step is shown live. TRL: ``report_to``."""
    model: ModelConfig
    prompt: PromptConfig = PromptConfig()
    data: DataConfig
    lora: LoraConfig = LoraConfig()
    probe: ProbeConfig = ProbeConfig()
    sft: SftConfig
    grpo: GrpoConfig
    eval: EvalConfig


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return a packaged recipe or a YAML file with ``a.b=value`` overrides applied; later ones win.

    Raises:
        ConfigError: With everything that is wrong, each by its key as typed.
    """
    try:
        values = yaml_loader.load(recipe_text(name_or_path))
    except yaml_loader.NotYaml as error:
        raise ConfigError(f"{name_or_path} is not YAML: {error}", SHOW) from error
    if not isinstance(values, dict):
        raise ConfigError(f"{name_or_path} holds no recipe: it is a {type(values).__name__}", SHOW)
    refused = apply_overrides(values, overrides)
    problems, hint = [error.message for error in refused], refused[0].hint if refused else SHOW
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        problems += sentences(error, Recipe)
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise ConfigError(f"{name_or_path} has {count}:{lines}", hint)
    return recipe


def resolved(recipe: Recipe) -> dict[str, Any]:
    """Return every setting of the recipe as JSON can hold it."""
    return recipe.model_dump(mode="json")
