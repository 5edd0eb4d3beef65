"""The arguments of TRL's configs that no recipe decides, the same for SFT and GRPO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def fixed_arguments(folder: Path) -> dict[str, Any]:
    """Return them for a stage whose adapter goes to ``folder``: every step logged to us, and nothing else kept."""
    return {
        "output_dir": str(folder.parent / "trainer"),
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
