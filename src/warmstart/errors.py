"""The exceptions a user can meet.

WarmstartError            one line of what is wrong, one ``hint:`` of what to do
├── ConfigError           a recipe or an option is not usable
├── DataError             a row, a column or a gold answer is not usable
├── ModelError            a model, tokenizer or template is not usable
├── RunDirError           a run directory is missing, foreign or incomplete
├── HubError              the Hugging Face Hub cannot be reached or refuses
├── GraderError           the grader itself failed (never "the answer is wrong")
├── TrainingError         training cannot start or cannot go on
└── HopelessError         the diagnosis is STOP: training would learn nothing

A user error ends the program with exit code 2 and no traceback; `TrainingError` and
`GraderError` are failed runs and end it with 1; `HopelessError` ends it with 4. A bug keeps its traceback.
"""

from __future__ import annotations


class WarmstartError(Exception):
    """Base class: ``message`` says what is wrong, ``hint`` what to do about it.

    Both are plain strings, so that an error survives a process boundary.
    """

    exit_code = 2
    is_said = False
    """Another process of the run says it: this one need not."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class ConfigError(WarmstartError):
    """Raised when a recipe, an override or a command-line option is not usable."""


class DataError(WarmstartError):
    """Raised when a data set, a column, a row or a gold answer is not usable."""


class ModelError(WarmstartError):
    """Raised when a model, a tokenizer or a chat template is not usable."""


class RunDirError(WarmstartError):
    """Raised when a run directory is missing, belongs to another run or is incomplete."""


class HubError(WarmstartError):
    """Raised when the Hugging Face Hub cannot be reached, or refuses."""


class GraderError(WarmstartError):
    """Raised when grading itself failed too often to go on."""

    exit_code = 1


class TrainingError(WarmstartError):
    """Raised when training cannot start or cannot go on."""

    exit_code = 1


class HopelessError(WarmstartError):
    """Raised when the diagnosis is STOP: nothing was trained, because nothing would be learnt."""

    exit_code = 4
