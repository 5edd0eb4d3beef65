"""The arguments of TRL's configs that no recipe decides, the same for SFT and GRPO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from warmstart import ranks


def fixed_arguments(folder: Path) -> dict[str, Any]:
    """Return them for a training whose checkpoints go to ``folder``: `Checkpoints` says when, every step is logged."""
    return {
        "output_dir": str(folder),
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        # Several processes without a GPU: transformers must be told, as accelerate is in `ranks.join`.
        "use_cpu": ranks.count() > 1 and not torch.cuda.is_available(),
        # Every adapted layer is used in every forward pass; looking for others costs a pass over the graph.
        "ddp_find_unused_parameters": False,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
