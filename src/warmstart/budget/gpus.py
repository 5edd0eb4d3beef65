"""The GPUs people have: memory, speed and capability, from their data sheets."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from shutil import which

from warmstart.errors import ConfigError
from warmstart.trl_fields import did_you_mean


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU.

    Attributes:
        name: As its maker writes it.
        memory_gb: In GB (10⁹ bytes) that a program can have.
        tflops: Dense 16-bit matrix products with float32 sums, 10¹² operations per second.
        bandwidth_gbs: Of its memory, GB per second.
        capability: CUDA compute capability; bfloat16 from 8.0 on.
    """

    name: str
    memory_gb: float
    tflops: float
    bandwidth_gbs: float
    capability: tuple[int, int]

    @property
    def dtype(self) -> str:
        """What ``model.dtype=auto`` takes on it."""
        return "bfloat16" if self.capability >= (8, 0) else "float16"


GPUS = {
    "t4": Gpu("T4", 15.6, 65, 320, (7, 5)),
    "v100": Gpu("V100 32 GB", 34.0, 125, 900, (7, 0)),
    "rtx3090": Gpu("RTX 3090", 25.3, 71, 936, (8, 6)),
    "a10g": Gpu("A10G", 23.9, 70, 600, (8, 6)),
    "l4": Gpu("L4", 23.6, 121, 300, (8, 9)),
    "rtx4090": Gpu("RTX 4090", 25.3, 165, 1008, (8, 9)),
    "rtx5090": Gpu("RTX 5090", 33.7, 210, 1792, (12, 0)),
    "l40s": Gpu("L40S", 47.7, 362, 864, (8, 9)),
    "a100-40": Gpu("A100 40 GB", 42.3, 312, 1555, (8, 0)),
    "a100-80": Gpu("A100 80 GB", 85.1, 312, 2039, (8, 0)),
    "h100": Gpu("H100 SXM", 85.0, 989, 3350, (9, 0)),
    "h200": Gpu("H200", 150.7, 989, 4800, (9, 0)),
    "b200": Gpu("B200", 191.5, 2250, 8000, (10, 0)),
}


def gpu_named(name: str) -> Gpu:
    """Return the GPU of a short name; case, spaces and the maker's do not matter.

    Raises:
        ConfigError: If it is not in the table.
    """
    plain = _plain(name)
    found = [gpu for key, gpu in GPUS.items() if plain in (_plain(key), _plain(gpu.name))]
    if not found:
        raise ConfigError(
            f"--gpu {name!r} is not known{did_you_mean(plain, GPUS)}", f"known: {', '.join(GPUS)}"
        )
    return found[0]


def gpu_here() -> Gpu | None:
    """Return this machine's first GPU if nvidia-smi names one of the table; None otherwise."""
    if which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    first = _plain(said.splitlines()[0] if said else "")
    # The longest key first: an A100-80 is named "A100-SXM4-80GB".
    for key in sorted(GPUS, key=len, reverse=True):
        if all(part in first for part in key.split("-")):
            return GPUS[key]
    return None


def _plain(name: str) -> str:
    kept = "".join(letter for letter in name.lower() if letter.isalnum())
    return kept.replace("nvidia", "").replace("geforce", "").replace("tesla", "")
