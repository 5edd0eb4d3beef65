"""QLoRA supervised fine-tuning with TRL's `SFTTrainer`: it teaches the answer format.

Rows are tokenised here and not by TRL, with the prompter that GRPO and evaluation use: the loss falls
on the target and its end-of-turn token alone, and a chat template cannot drop or add a byte of it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from warmstart import ranks
from warmstart.batching import BatchPlan, plan_batches
from warmstart.errors import DataError, TrainingError
from warmstart.grading.verdicts import grade
from warmstart.models import evaluating, train_in_float32, trainable_parameters
from warmstart.records import Problem, Verdict
from warmstart.templates.prompter import Prompter
from warmstart.training.arguments import fixed_arguments
from warmstart.training.callbacks import Metrics, quieten
from warmstart.training.checkpoints import Checkpoints
from warmstart.training.dry_step import fitting, worst_sft
from warmstart.training.finite import FiniteOnly
from warmstart.training.saving import save_adapter
from warmstart.training.stop_rule import StopRule
from warmstart.training.trackers import tracked

if TYPE_CHECKING:
    from peft import PeftModel

    from warmstart.progress import Progress
    from warmstart.training.callbacks import Sink

_IGNORED = -100
"""The label that the loss leaves out."""
_CUT_LIMIT = 0.01
"""Rows whose target would be cut may be left out up to this share."""


@dataclass(frozen=True, slots=True)
class Supervised:
    """Rows ready for the trainer, and how many were left out because their target would be cut."""

    rows: list[dict[str, list[int]]]
    cut: int


def supervise(prompter: Prompter, problems: Sequence[Problem], *, max_tokens: int) -> Supervised:
    """Return the training rows: prompt tokens without loss, then target and end of turn with loss.

    Args:
        prompter: Renders prompt and target.
        problems: With a rationale each.
        max_tokens: Rows longer than this are left out, never cut: a target without its end teaches the
            model not to stop.

    Raises:
        DataError: If a problem has no rationale, if a target is not a right answer in the exact format,
            or if more than 1 % of the rows would be cut.
    """
    rows, cut = [], 0
    for problem in problems:
        target = _target(prompter, problem)
        prompt, answer = prompter.prompt_ids(problem.question), prompter.target_ids(target)
        if len(prompt) + len(answer) > max_tokens:
            cut += 1
            continue
        rows.append({"input_ids": prompt + answer, "labels": [_IGNORED] * len(prompt) + answer})
    if cut > _CUT_LIMIT * len(problems):
        raise DataError(
            f"{cut} of {len(problems)} SFT targets are longer than {max_tokens} tokens and would be cut",
            "raise grpo.max_completion_tokens, or use shorter rationales",
        )
    return Supervised(rows, cut)


def _target(prompter: Prompter, problem: Problem) -> str:
    if problem.rationale is None:
        raise DataError(
            f"problem {problem.id!r} has no rationale to learn the format from",
            "name the column with data.columns.rationale, or set sft.enabled=false",
        )
    try:
        target = prompter.target(problem.rationale, problem.gold)
    except DataError as error:
        raise DataError(f"the SFT target of problem {problem.id!r}: {error.message}", error.hint) from error
    graded = grade(target, problem.gold, tags=prompter.tags)
    if graded.verdict is not Verdict.CORRECT:
        raise DataError(
            f"the SFT target of problem {problem.id!r} would not earn full marks: {graded.reason}",
            "repair the row, or leave it out of the training file",
        )
    return target


def show_example(prompter: Prompter, row: dict[str, list[int]]) -> str:
    """Return one row as text with the supervised part between ⟦ and ⟧."""
    start = row["labels"].count(_IGNORED)
    prompt = prompter.tokenizer.decode(row["input_ids"][:start], skip_special_tokens=False)
    target = prompter.tokenizer.decode(row["input_ids"][start:], skip_special_tokens=False)
    return f"{prompt}⟦{target}⟧"


class _Trainer(SFTTrainer):  # type: ignore[misc]
    """TRL's trainer, which goes on in the precision it was stopped in.

    TRL trains the adapter of a 4-bit base in bfloat16; PEFT makes every adapter that it loads float32, and the
    optimizer would follow.
    """

    def _load_from_checkpoint(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        # By name: what PEFT loads are other parameters.
        types = {name: p.dtype for name, p in self.model.named_parameters() if p.requires_grad}
        super()._load_from_checkpoint(*args, **kwargs)
        for name, parameter in self.model.named_parameters():
            if name in types:
                parameter.data = parameter.data.to(types[name])


def _trainer(
    model: PeftModel,
    prompter: Prompter,
    rows: list[dict[str, list[int]]],
    arguments: Mapping[str, Any],
    callbacks: Sequence[TrainerCallback],
    say: Callable[[str], None],
    cut: BatchPlan,
) -> _Trainer:
    """Return a trainer with this micro-batch and accumulation."""
    sizes = {
        "per_device_train_batch_size": cut.per_device,
        "gradient_accumulation_steps": cut.accumulation,
    }
    made = _Trainer(
        model=model,
        args=SFTConfig(**{**sizes, **arguments}),
        train_dataset=Dataset.from_list(rows),
        processing_class=prompter.tokenizer,
        callbacks=[FiniteOnly("sft", say), *callbacks],
    )
    if made.args.fp16:
        train_in_float32(model)
    return made


def _precision(model: PeftModel) -> dict[str, bool]:
    on_gpu = torch.cuda.is_available()
    return {
        "bf16": on_gpu and model.dtype == torch.bfloat16,
        "fp16": on_gpu and model.dtype == torch.float16,
    }


def train_sft(
    model: PeftModel,
    prompter: Prompter,
    rows: list[dict[str, list[int]]],
    *,
    folder: Path,
    steps: int,
    batch_size: int,
    micro_batch: int | None,
    learning_rate: float,
    warmup_ratio: float,
    gradient_checkpointing: bool,
    seed: int,
    trl: dict[str, Any],
    progress: Progress,
    sink: Sink,
    stop: StopRule | None = None,
    checkpoints: Checkpoints | None = None,
) -> dict[str, Any]:
    """Train the adapter in place, save it with its tokenizer into ``folder``, return the facts.

    With a stop rule, training may end before ``steps``, and the best adapter it measured is the one saved.
    With checkpoints, it goes on from the newest one.

    Raises:
        ConfigError: If the micro-batch does not divide the batch.
        TrainingError: If nothing would be trained, or if the loss is not a number at the end.
    """
    if trainable_parameters(model) == 0:
        raise TrainingError(
            "SFT has no trainable parameters", "check lora.target_modules against the model's layers"
        )
    check_rows(prompter, rows)
    batches = plan_batches(
        1, batch_size, micro_batch=micro_batch, processes=ranks.count(), name="sft.micro_batch"
    )
    kept_in = folder.parent / "trainer" if checkpoints is None else checkpoints.folder
    arguments = {
        **fixed_arguments(kept_in),
        **_precision(model),
        "max_steps": steps,
        "learning_rate": learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": round(warmup_ratio * steps),
        "max_length": None,
        "gradient_checkpointing": gradient_checkpointing,
        "seed": seed,
        **trl,
    }
    longest = max((row["input_ids"] for row in rows), key=len)
    with progress.task("SFT", steps, "steps") as task:
        metrics = Metrics("sft", task, sink)
        callbacks = [one for one in (metrics, stop, checkpoints) if one is not None]
        make = functools.partial(_trainer, model, prompter, rows, arguments, callbacks, progress.say)
        trainer = fitting(
            make,
            batches,
            lambda made, count: worst_sft(made, longest, count),
            name="sft.micro_batch",
            say=progress.say,
        )
        quieten(trainer)
        with tracked(trainer, folder.parent / "tensorboard"):
            trainer.train(resume_from_checkpoint=None if checkpoints is None else checkpoints.newest)
        if checkpoints is not None:
            checkpoints.leave_if_stopped()
    if stop is not None:
        stop.restore_best(model)
    # The trainer's own mean leaves out the steps before a checkpoint.
    loss = ranks.from_main(lambda: metrics.loss / max(1, metrics.steps))
    if not math.isfinite(loss):
        raise TrainingError(
            "the SFT loss is not a number", "lower sft.learning_rate, or set model.dtype=float32"
        )
    save_adapter(trainer, prompter.tokenizer, folder)
    done = trainer.state.global_step
    supervised = sum(len(row["labels"]) - row["labels"].count(_IGNORED) for row in rows)
    return {
        "rows": len(rows),
        "steps": done,
        "loss": loss,
        "trained_tokens": round(supervised / len(rows) * done * batch_size),
        "checks": [] if stop is None else [asdict(check) for check in stop.checks],
    }


@torch.no_grad()
def supervised_log_probs(model: Any, rows: Sequence[dict[str, list[int]]]) -> torch.Tensor:  # noqa: ANN401
    """Return the log-probability of every supervised token of the rows, one after the other, in nats."""
    found = []
    with evaluating(model):
        for row in rows:
            start = row["labels"].count(_IGNORED)
            ids = torch.tensor([row["input_ids"]], device=model.device)
            log_probs = torch.log_softmax(model(input_ids=ids).logits[0, start - 1 : -1].float(), dim=-1)
            found.append(log_probs.gather(1, ids[0, start:, None]).squeeze(1).cpu())
    return torch.cat(found)


def check_rows(prompter: Prompter, rows: Sequence[dict[str, list[int]]]) -> None:
    """Pass if every row ends in a supervised end-of-turn token that is not the padding token.

    Raises:
        TrainingError: Otherwise: the model would not learn to stop.
    """
    end, pad = prompter.end_id, prompter.tokenizer.pad_token_id
    if end == pad:
        raise TrainingError(
            "the padding token is the end-of-turn token: the model would not learn to stop",
            "set another pad_token",
        )
    if any(row["labels"][-1] != end for row in rows):
        raise TrainingError(
            "an SFT row does not end in the end-of-turn token", "make the rows with training.sft.supervise"
        )
