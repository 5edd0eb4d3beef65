from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A loaded machine must not fail a test by the clock, nor chance by its seed.
settings.register_profile("warmstart", deadline=None, derandomize=True)
settings.load_profile("warmstart")


@pytest.fixture(autouse=True)
def _no_terminal_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that run side by side are told the width of the terminal; output into a pipe must not depend on it."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real test data; named by WARMSTART_TEST_DATA it must be there, else tests skip."""
    named = os.environ.get("WARMSTART_TEST_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        if named:
            pytest.fail(f"WARMSTART_TEST_DATA={named} is not a folder")
        pytest.skip("real test data not found beside the checkout; set WARMSTART_TEST_DATA")
    return folder.resolve()
