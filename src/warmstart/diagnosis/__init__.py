"""From facts to findings: what keeps a run from learning, by cause, with evidence and advice."""

from __future__ import annotations

from warmstart.diagnosis.cause import Cause, Severity
from warmstart.diagnosis.causes import CAUSES, FOUND_BY
from warmstart.diagnosis.facts import EndToken, PlainRates, ProbeFacts, RewardFault, live_chances
from warmstart.diagnosis.findings import (
    Finding,
    explaining,
    finding,
    in_order,
)
from warmstart.diagnosis.plumbing_facts import DataFacts, SmokeFacts, Targets, UnparsableGold, told_twice
from warmstart.diagnosis.rules_plumbing import diagnose_data, diagnose_faults, diagnose_smoke
from warmstart.diagnosis.rules_probe import diagnose_probe
from warmstart.diagnosis.rules_training import diagnose_training
from warmstart.diagnosis.rules_writing import UNFINISHED_WARN
from warmstart.diagnosis.verdict import Decision, Diagnosis, decide, diagnosis_of
from warmstart.diagnosis.window import Evaluation, RolloutStats, TrainingWindow, usual_rate

__all__ = [
    "CAUSES",
    "FOUND_BY",
    "UNFINISHED_WARN",
    "Cause",
    "DataFacts",
    "Decision",
    "Diagnosis",
    "EndToken",
    "Evaluation",
    "Finding",
    "PlainRates",
    "ProbeFacts",
    "RewardFault",
    "RolloutStats",
    "Severity",
    "SmokeFacts",
    "Targets",
    "TrainingWindow",
    "UnparsableGold",
    "decide",
    "diagnose_data",
    "diagnose_faults",
    "diagnose_probe",
    "diagnose_smoke",
    "diagnose_training",
    "diagnosis_of",
    "explaining",
    "finding",
    "in_order",
    "live_chances",
    "told_twice",
    "usual_rate",
]
