"""Writing an adapter from a trainer of one process or of many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from warmstart import ranks


def save_adapter(trainer: Any, tokenizer: Any, folder: Path) -> None:  # noqa: ANN401
    """Write the trainer's adapter and its tokenizer into ``folder``; all processes go on when it is there.

    Weights that FSDP or ZeRO-3 has split are gathered first, which every process takes part in.
    """
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped) if ranks.sharded() else None
    if ranks.is_main():
        model = trainer.accelerator.unwrap_model(trainer.model)
        model.save_pretrained(str(folder), state_dict=state)
        tokenizer.save_pretrained(str(folder))
    ranks.wait()
