"""Uploading a model folder to the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from warmstart.errors import HubError, RunDirError

CARD = "README.md"
_LEFT_OUT = ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "export.json")


def files_to_push(folder: Path) -> list[Path]:
    """Return the files of a model folder that belong on the Hub, the card among them.

    Raises:
        RunDirError: If it holds no weights or no model card.
    """
    files = sorted(
        f for f in folder.iterdir() if f.is_file() and f.name not in _LEFT_OUT and f.name[0] != "."
    )
    if not any(file.suffix == ".safetensors" for file in files):
        raise RunDirError(f"{folder} holds no weights (.safetensors)", "name what `warmstart export` wrote")
    if not any(file.name == CARD for file in files):
        raise RunDirError(
            f"{folder} has no model card ({CARD})",
            "write one: without it nobody can tell what the model was trained on",
        )
    return files


def push(folder: Path, files: Sequence[Path], repository: str, *, private: bool) -> str:
    """Upload the files into ``repository``, made if it is not there, and return its address.

    Raises:
        HubError: If the Hub cannot be reached, or the token may not write there.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    api = HfApi()
    try:
        made = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=made.repo_id,
            folder_path=folder,
            allow_patterns=[file.name for file in files],
            commit_message="Trained with warmstart",
        )
    except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, OSError) as error:
        first = str(error).strip().split("\n")[0]
        raise HubError(
            f"{repository} could not be written: {first}",
            "log in with `hf auth login` and a token that may write, with the network on (HF_HUB_OFFLINE unset)",
        ) from error
    return str(made)
