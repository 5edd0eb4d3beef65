"""One GRPO step on one GPU: stock TRL and warmstart, on models of Qwen2.5's shapes with random weights.

    python benchmarks/gpu/step.py [--shape 0.5b 1.5b] [--prompt 256] [--completion 512] [--steps 3] [--json FILE]

Speed and memory do not depend on the weights, so none are downloaded: the model is made on the GPU in
bfloat16 with LoRA of rank 16 on all linear layers. No completion ends before its cap, and every second
group is live. The arms take turns; each has a model of its own, freed before the next. Printed are the
seconds of a step, generated tokens per second, and the peak of the memory that torch allocated. Without a
GPU, ``--shape tiny`` runs the same on the CPU, to see that it runs.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import trl
from datasets import Dataset
from peft import LoraConfig
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM, TrainerCallback

from warmstart.models import load_tokenizer
from warmstart.training.callbacks import quieten
from warmstart.training.signal_config import SignalConfig
from warmstart.training.trainer import GRPOTrainer

SHAPES: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 64, "intermediate_size": 192, "layers": 2, "heads": 4, "kv_heads": 2},
    "0.5b": {"hidden_size": 896, "intermediate_size": 4864, "layers": 24, "heads": 14, "kv_heads": 2},
    "1.5b": {"hidden_size": 1536, "intermediate_size": 8960, "layers": 28, "heads": 12, "kv_heads": 2},
    "3b": {"hidden_size": 2048, "intermediate_size": 11008, "layers": 36, "heads": 16, "kv_heads": 2},
}
VOCABULARY = 151_936


@dataclass(frozen=True)
class Measured:
    """One arm on one shape."""

    shape: str
    arm: str
    step_s: float
    generate_s: float | None
    tokens_per_s: float
    peak_gib: float


def model_of(shape: str, device: str) -> PreTrainedModel:
    """Return the model with random weights, in bfloat16 on a GPU."""
    size = SHAPES[shape]
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY if device == "cuda" else 1024,
        hidden_size=size["hidden_size"],
        intermediate_size=size["intermediate_size"],
        num_hidden_layers=size["layers"],
        num_attention_heads=size["heads"],
        num_key_value_heads=size["kv_heads"],
        tie_word_embeddings=True,
    )
    with torch.device(device):
        model = Qwen2ForCausalLM(config)
    return model.to(torch.bfloat16 if device == "cuda" else torch.float32)


def every_second_group(group_size: int) -> Any:  # noqa: ANN401
    """Return a reward under which groups 0, 2, 4 … are live and the others all fail."""

    def outcome(completions: Sequence[Any], **columns: Any) -> list[float | None]:  # noqa: ANN401
        return [float((at // group_size) % 2 == 0 and at % 2 == 0) for at in range(len(completions))]

    return outcome


class Times(TrainerCallback):  # type: ignore[misc]
    """Seconds of each step, with the GPU's queue emptied at both ends, and the logs."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.logs: list[dict[str, Any]] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: object) -> None:  # noqa: ANN401
        """Note the time."""
        self._began = _now()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: object) -> None:  # noqa: ANN401
        """Keep how long the step took."""
        self.steps.append(_now() - self._began)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: object) -> None:  # noqa: ANN401
        """Keep the line of a step."""
        if logs and "reward" in logs:
            self.logs.append(dict(logs))


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def measure(shape: str, arm: str, options: argparse.Namespace, device: str) -> Measured:
    """Return the medians of an arm's steps after a first one that warms up."""
    tokenizer = load_tokenizer("tiny")
    model = model_of(shape, device)
    model.generation_config.eos_token_id = None
    prompt = tokenizer.decode(tokenizer("apples and pears " * options.prompt)["input_ids"][: options.prompt])
    rows = [{"prompt": f"{number} {prompt}"} for number in range(4 * options.problems)]
    completions = options.problems * options.group_size
    times = Times()
    made: dict[str, Any] = {
        "model": model,
        "reward_funcs": every_second_group(options.group_size),
        "args": trl.GRPOConfig(
            output_dir=tempfile.mkdtemp(),
            max_steps=options.steps + 1,
            per_device_train_batch_size=options.micro_batch,
            gradient_accumulation_steps=completions // options.micro_batch,
            num_generations=options.group_size,
            max_completion_length=options.completion,
            generation_kwargs={"min_new_tokens": options.completion} if arm == "stock" else None,
            learning_rate=0.0,
            gradient_checkpointing=options.checkpointing,
            bf16=device == "cuda",
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        "train_dataset": Dataset.from_list(rows),
        "processing_class": tokenizer,
        "peft_config": LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
        "callbacks": [times],
    }
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    if arm == "stock":
        trainer = trl.GRPOTrainer(**made)
    else:
        trainer = GRPOTrainer(**made, signal=SignalConfig(outcome="outcome", sampling=None))
        trainer.eos_token_ids = [-1]
    quieten(trainer)
    trainer.train()
    step_s = statistics.median(times.steps[1:])
    generated = [log.get("time/generate_s") for log in times.logs[1:]]
    found = Measured(
        shape,
        arm,
        step_s,
        None if None in generated else statistics.median(generated),
        statistics.median(log["completions/mean_length"] for log in times.logs[1:]) * completions / step_s,
        torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0,
    )
    del trainer, model, made
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    return found


def main() -> int:
    """Measure every shape with both arms and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", nargs="+", choices=list(SHAPES), default=["0.5b", "1.5b"])
    parser.add_argument("--problems", type=int, default=8, help="problems per step")
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--micro-batch", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=256, help="tokens")
    parser.add_argument("--completion", type=int, default=512, help="tokens")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--checkpointing", action="store_true", help="with gradient checkpointing")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and options.shape != ["tiny"]:
        print("error: no GPU\nhint: --shape tiny --completion 8 runs on the CPU", file=sys.stderr)
        return 2
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, TRL {trl.__version__}\n")
    print("| shape | arm | step s | generation s | tokens/s | peak GiB |\n|---|---|---|---|---|---|")
    found = []
    for shape in options.shape:
        for arm in ("stock", "warmstart"):
            found.append(measure(shape, arm, options, device))
            one = found[-1]
            generate = "" if one.generate_s is None else f"{one.generate_s:.2f}"
            print(
                f"| {shape} | {arm} | {one.step_s:.2f} | {generate} | {one.tokens_per_s:,.0f} | {one.peak_gib:.1f} |",
                flush=True,
            )
    if options.json is not None:
        options.json.write_text(json.dumps({"device": name, "measured": [asdict(one) for one in found]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
