"""The step before the first: what does not fit is cut smaller, and the run stays the one that was asked for."""

from __future__ import annotations

import pytest
import torch
from trl.extras.profiling import ProfilingContext

from warmstart.batching import BatchPlan, plan_batches
from warmstart.data.synthetic import generate
from warmstart.errors import TrainingError
from warmstart.models import add_adapter, load_base, load_tokenizer, train_in_float32
from warmstart.progress import Quiet
from warmstart.tags import DEFAULT_TAGS
from warmstart.templates.prompter import make_prompter
from warmstart.training.dry_step import halved
from warmstart.training.grpo import longest_prompt, train_grpo
from warmstart.training.sft import supervise, train_sft


class Heard(Quiet):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def prompter():
    return make_prompter(load_tokenizer("tiny"), tags=DEFAULT_TAGS)


def _model(room: int | None = None):
    """Tiny with an adapter, on a machine with room for so many rows of gradient at once."""
    base = load_base("tiny")

    def refuse(module, arguments, named):
        rows = named["input_ids"].shape[0]
        if torch.is_grad_enabled() and room is not None and rows > room:
            raise torch.OutOfMemoryError(f"CUDA out of memory. {rows} rows")

    base.register_forward_pre_hook(refuse, with_kwargs=True)
    return add_adapter(base, rank=4, alpha=8, dropout=0.0, target_modules="all-linear", seed=0)


def _sft(prompter, folder, *, micro_batch, room=None, checkpointing=False):
    heard, model = Heard(), _model(room)
    train_sft(
        model, prompter, supervise(prompter, generate(4, seed=0, split="train"), max_tokens=500).rows, folder=folder,
        steps=2, batch_size=4, micro_batch=micro_batch, learning_rate=1e-3, warmup_ratio=0.0,
        gradient_checkpointing=checkpointing, seed=0, trl={}, progress=heard, sink=lambda line: None,
    )  # fmt: skip
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}, heard.said


def test_a_micro_batch_that_does_not_fit_is_halved_and_the_training_is_the_same(prompter, tmp_path) -> None:
    cut, said = _sft(prompter, tmp_path / "cut", micro_batch=4, room=1)
    asked, nothing = _sft(prompter, tmp_path / "asked", micro_batch=1)
    assert said == [
        "sft.micro_batch: 4 rows at once do not fit into memory; now 2 with 2 accumulated, 4 to a step as before",
        "sft.micro_batch: 2 rows at once do not fit into memory; now 1 with 4 accumulated, 4 to a step as before",
    ]
    assert nothing == []
    assert all(torch.equal(cut[name], p) for name, p in asked.items())


def test_a_row_that_does_not_fit_by_itself_ends_the_run_before_it_begins(prompter, tmp_path) -> None:
    with pytest.raises(TrainingError, match="one row does not fit into memory"):
        _sft(prompter, tmp_path / "out", micro_batch=1, room=0)


def test_any_other_fault_of_the_step_is_not_taken_for_memory(prompter, tmp_path) -> None:
    model = _model()
    model.get_base_model().register_forward_pre_hook(
        lambda *_: (_ for _ in ()).throw(RuntimeError("shapes differ"))
    )
    with pytest.raises(RuntimeError, match="shapes differ"):
        train_sft(
            model, prompter, supervise(prompter, generate(2, seed=0, split="train"), max_tokens=500).rows,
            folder=tmp_path / "out", steps=1, batch_size=2, micro_batch=2, learning_rate=1e-3, warmup_ratio=0.0,
            gradient_checkpointing=True, seed=0, trl={}, progress=Quiet(), sink=lambda line: None,
        )  # fmt: skip


@pytest.mark.parametrize("arguments", [{}, {"beta": 0.1}], ids=["plain", "with a reference"])
def test_grpo_is_cut_too_and_every_group_stays_whole(prompter, tmp_path, arguments) -> None:
    heard, lines, rows = Heard(), [], []
    problems = generate(8, seed=0, split="train")

    def reward(prompts, completions, **columns):
        # Half of every group is right, and so is the perfect target that the trainer tries first.
        return [float(n % 2 == 1 or "<answer>" in str(text)) for n, text in enumerate(completions)]

    train_grpo(
        _model(room=4), prompter, problems, {"reward": (reward, 1.0)}, outcome="reward",
        folder=tmp_path / "out", steps=1, group_size=4, batches=plan_batches(2, 4, micro_batch=8),
        arguments={"learning_rate": 1e-3, "max_completion_length": 8, "bf16": False, "gradient_checkpointing": False,
                   **arguments},
        handover=None, progress=heard, sink=lines.append, on_rollouts=lambda step, found: rows.extend(found),
    )  # fmt: skip
    assert heard.said[0].startswith(
        "grpo.micro_batch: 8 rows at once do not fit into memory; now 4 with 2 accumulated"
    )
    assert len(rows) == 8
    assert lines[0]["grad_norm"] > 0


def test_what_is_tried_before_training_is_kept_from_the_trackers(prompter, tmp_path, monkeypatch) -> None:
    told: list[tuple[str, tuple[str, ...]]] = []

    def note(timed: ProfilingContext, duration: float) -> None:
        told.append((timed.name.rpartition(".")[2], tuple(timed.report_to)))

    monkeypatch.setattr(ProfilingContext, "_log_metrics", note)

    def reward(prompts, completions, **columns):
        return [float("<answer>" in str(text)) for text in completions]

    train_grpo(
        _model(), prompter, generate(2, seed=0, split="train"), {"reward": (reward, 1.0)}, outcome="reward",
        folder=tmp_path / "out", steps=1, group_size=2, batches=plan_batches(2, 2, micro_batch=4),
        arguments={"learning_rate": 1e-3, "max_completion_length": 8, "bf16": False, "gradient_checkpointing": False,
                   "report_to": ["tensorboard"]},
        handover=None, progress=Quiet(), sink=lambda line: None, on_rollouts=lambda step, found: None,
    )  # fmt: skip
    assert told[:2] == [("compute_loss", ()), ("compute_loss", ())], "the worst step, and the synthetic one"
    assert {trackers for _, trackers in told[2:]} == {("tensorboard",)}


def test_an_odd_number_of_rows_is_cut_into_parts_that_divide_it() -> None:
    assert halved(BatchPlan(8, 1, 8)) == BatchPlan(4, 2, 8)
    assert halved(BatchPlan(9, 2, 18)) == BatchPlan(3, 6, 18)
    assert halved(BatchPlan(5, 1, 5)) == BatchPlan(1, 5, 5)


def test_the_longest_prompt_is_the_longest_in_tokens(prompter) -> None:
    problems = generate(64, seed=0, split="train")
    lengths = [len(prompter.prompt_ids(problem.question)) for problem in problems]
    assert len(longest_prompt(prompter, problems)) == max(lengths)


def test_the_adapter_on_a_four_bit_base_can_be_made_float32_again() -> None:
    model = add_adapter(
        load_base("tiny", quantization="nf4"),
        rank=4,
        alpha=8,
        dropout=0.0,
        target_modules="all-linear",
        seed=0,
    )
    for p in model.parameters():
        if p.requires_grad:
            p.data = p.data.bfloat16()  # as TRL does
    train_in_float32(model)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert any(p.dtype == torch.uint8 for p in model.parameters()), "the base stays in four bits"
