"""Reinforcement fine-tuning that knows whether it is learning.

The names below are the public interface; each is loaded when it is first used, so that importing
warmstart costs nothing and never imports torch by itself.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from warmstart.config.schema import Recipe as Recipe
    from warmstart.config.schema import load_recipe as load_recipe
    from warmstart.grading.verdicts import Grade as Grade
    from warmstart.grading.verdicts import grade as grade
    from warmstart.grading.verdicts import grade_lenient as grade_lenient
    from warmstart.pipeline import run as run
    from warmstart.probing.probe import Probe as Probe
    from warmstart.probing.probe import probe as probe
    from warmstart.probing.settings import ProbeSettings as ProbeSettings
    from warmstart.records import Problem as Problem
    from warmstart.records import Verdict as Verdict
    from warmstart.report import build_report as build_report
    from warmstart.rewards.functions import correctness_reward_func as correctness_reward_func
    from warmstart.rewards.functions import easy_reward_func as easy_reward_func
    from warmstart.rewards.functions import int_reward_func as int_reward_func
    from warmstart.rewards.functions import reward_functions as reward_functions
    from warmstart.rewards.functions import soft_format_reward_func as soft_format_reward_func
    from warmstart.rewards.functions import strict_format_reward_func as strict_format_reward_func
    from warmstart.rewards.functions import xmlcount_reward_func as xmlcount_reward_func
    from warmstart.tags import Parsed as Parsed
    from warmstart.tags import Tags as Tags
    from warmstart.tags import parse as parse
    from warmstart.training.adaptive_sampler import ProblemSampling as ProblemSampling
    from warmstart.training.signal_config import SignalConfig as SignalConfig
    from warmstart.training.trainer import GRPOTrainer as GRPOTrainer
    from warmstart.training.watch import SignalWatch as SignalWatch

__version__ = "0.1.0"

_HOMES = {
    "config.schema": ("Recipe", "load_recipe"),
    "grading.verdicts": ("Grade", "grade", "grade_lenient"),
    "pipeline": ("run",),
    "probing.probe": ("Probe", "probe"),
    "probing.settings": ("ProbeSettings",),
    "records": ("Problem", "Verdict"),
    "report": ("build_report",),
    "rewards.functions": (
        "correctness_reward_func",
        "easy_reward_func",
        "int_reward_func",
        "reward_functions",
        "soft_format_reward_func",
        "strict_format_reward_func",
        "xmlcount_reward_func",
    ),
    "tags": ("Parsed", "Tags", "parse"),
    "training.adaptive_sampler": ("ProblemSampling",),
    "training.signal_config": ("SignalConfig",),
    "training.trainer": ("GRPOTrainer",),
    "training.watch": ("SignalWatch",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME_OF)]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOME_OF:
        raise AttributeError(f"module 'warmstart' has no attribute {name!r}")
    return getattr(import_module(f"warmstart.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
