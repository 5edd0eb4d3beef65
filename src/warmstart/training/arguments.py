"""The arguments of TRL's configs that no recipe decides, the same for SFT and GRPO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def fixed_arguments(folder: Path) -> dict[str, Any]:
    """Return them for a training whose checkpoints go to ``folder``: `Checkpoints` says when, every step is logged."""
    return {
        "output_dir": str(folder),
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        # Transformers must be told: several processes would look for one accelerator each, and an Apple GPU is
        # where neither probe nor evaluation run.
        "use_cpu": not torch.cuda.is_available(),
        # Every adapted layer is used in every forward pass; looking for others costs a pass over the graph.
        "ddp_find_unused_parameters": False,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
