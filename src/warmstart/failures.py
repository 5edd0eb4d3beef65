"""What a machine can refuse in the middle of a run, as an error with what to do about it.

A full disk, a directory that turned read-only and memory that ran out are met inside a dozen libraries,
each of which raises its own exception. `explained` reads them all.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from warmstart.errors import TrainingError, WarmstartError

_GO_ON = "the same command then goes on from what is finished"
_WORDS = {
    errno.ENOSPC: ("the disk is full", f"free some space; {_GO_ON}"),
    errno.EDQUOT: ("the disk quota is used up", f"free some space; {_GO_ON}"),
    errno.EFBIG: ("a file grew over the size that is allowed", f"raise the limit (ulimit -f); {_GO_ON}"),
    errno.EROFS: ("the file system is read-only", f"mount it to be written; {_GO_ON}"),
    errno.EACCES: ("the directory cannot be written", f"make it yours; {_GO_ON}"),
    errno.EPERM: ("the directory cannot be written", f"make it yours; {_GO_ON}"),
    errno.EIO: ("the disk fails", f"look into the system's log, and copy the run to another disk; {_GO_ON}"),
    errno.EMFILE: ("too many files are open", f"raise the limit (ulimit -n); {_GO_ON}"),
    errno.ENOMEM: ("the machine is out of memory", ""),
}
# safetensors and tokenizers, written in Rust, name the system's error in their text alone.
_RUST = re.compile(r"\(os error (\d+)\)")
_TORCH_WRITE = ("PytorchStreamWriter failed writing", "iostream error", "unexpected pos ")
_TORCH_MEMORY = ("can't allocate memory", "CUDA out of memory", "CUDA error: out of memory")
_SMALLER = {
    "probe": "eval.batch_size",
    "eval": "eval.batch_size",
    "sft": "sft.micro_batch or eval.batch_size",
    "grpo": "grpo.micro_batch or grpo.max_completion_tokens",
}


@contextmanager
def named(stage: str = "") -> Iterator[None]:
    """Turn what a machine refuses inside the ``with`` block into one sentence; all else passes as it is.

    Raises:
        TrainingError: With what is full or used up, and the stage it happened in.
    """
    try:
        yield
    except Exception as error:
        refused = explained(error, stage)
        if refused is None:
            raise
        raise refused from error


def explained(error: BaseException, stage: str = "") -> WarmstartError | None:
    """Return the error of a machine that refused, in our words; None for any other error.

    Args:
        error: What a library raised.
        stage: What was being done; it decides what a run without memory should do less of.
    """
    if isinstance(error, WarmstartError):
        return None
    text = str(error)
    if is_out_of_memory(error):
        return _out_of_memory(error, text, stage)
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := _RUST.search(text)):
        number = int(found[1])
    if number is None and isinstance(error, RuntimeError) and any(words in text for words in _TORCH_WRITE):
        number = errno.ENOSPC
    if number not in _WORDS:
        return None
    what, hint = _WORDS[number]
    named = getattr(error, "filename", None)
    return TrainingError(f"{what}{_during(stage)}{f': {named}' if named else ''}", hint)


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether a library raised because memory ran out, on the GPU or on the machine."""
    text = str(error)
    if isinstance(error, MemoryError) or type(error).__name__ in ("OutOfMemoryError", "ArrowMemoryError"):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(words in text for words in _TORCH_MEMORY)


def _out_of_memory(error: BaseException, text: str, stage: str) -> TrainingError:
    device = "the GPU" if "CUDA" in text or type(error).__name__ == "OutOfMemoryError" else "the machine"
    smaller = _SMALLER.get(stage.partition("-")[0], "grpo.micro_batch, sft.micro_batch or eval.batch_size")
    return TrainingError(
        f"{device} is out of memory{_during(stage)}", f"lower {smaller}, or take a smaller model; {_GO_ON}"
    )


def _during(stage: str) -> str:
    return f" (during {stage})" if stage else ""
