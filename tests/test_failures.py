"""A machine that refuses: real errors of the real libraries, told in one sentence."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from warmstart.errors import ModelError, RunDirError, TrainingError
from warmstart.failures import explained, named
from warmstart.runs.directory import RunDir
from warmstart.runs.durable import append_line, read_lines, replace
from warmstart.runs.lock import held

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_told_with_what_to_do() -> None:
    with (
        pytest.raises(TrainingError, match=r"the disk is full \(during grpo\)") as told,
        named("grpo"),
        FULL.open("w") as file,
    ):
        file.write("x")
    assert told.value.exit_code == 1
    assert "the same command then goes on" in told.value.hint


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte; without the right to mount, files of at most a megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True, check=False
        ).returncode
        == 0
    )
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if not mounted:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
    yield folder
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    if mounted:
        # Lazily: torch still has open what it failed to write.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


TOO_MUCH = 2**22


def _write_torch(folder: Path) -> None:
    torch.save(torch.zeros(TOO_MUCH // 4), folder / "x.pt")


def _write_safetensors(folder: Path) -> None:
    save_file({"x": torch.zeros(TOO_MUCH // 4)}, folder / "x.safetensors")


def _write_whole(folder: Path) -> None:
    replace(folder / "x.json", b"x" * TOO_MUCH)


def _write_arrow(folder: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"x": os.urandom(TOO_MUCH).hex().split("0")}), folder / "x.parquet")


@pytest.mark.parametrize("write", [_write_torch, _write_safetensors, _write_whole, _write_arrow])
def test_a_disk_that_fills_up_is_told_whichever_library_meets_it(small_disk, write) -> None:
    with pytest.raises(TrainingError, match=r"the disk is full|over the size that is allowed"), named("sft"):
        write(small_disk)


def test_what_was_finished_outlives_a_disk_that_fills_up(small_disk) -> None:
    run = RunDir.create_or_resume(small_disk / "run", {"seed": 1}, "seed: 1")
    run.finish_stage("data", {"train": 4})
    before = run.resolved_path.read_bytes()
    with pytest.raises(OSError, match=r"No space left|too large"):
        replace(run.resolved_path, b"x" * TOO_MUCH)
    assert run.resolved_path.read_bytes() == before
    assert run.is_finished("data")
    assert not [path for path in run.path.iterdir() if path.name.endswith(".tmp")]


def test_a_line_that_no_longer_fits_costs_no_line_before_it(small_disk) -> None:
    log = small_disk / "metrics.jsonl"
    whole = []
    with contextlib.suppress(OSError):
        for step in range(100):
            append_line(log, {"stage": "grpo", "text": "x" * 50_000, "step": step})
            whole.append(step)
    assert 10 < len(whole) < 30
    assert [row["step"] for row in read_lines(log)] == whole


def test_a_directory_that_cannot_be_written_is_refused_before_anything_runs() -> None:
    # /proc takes no files, from root either.
    with pytest.raises(RunDirError, match="/proc/warmstart cannot be a run directory: ") as refused:
        held(Path("/proc/warmstart")).__enter__()
    assert (refused.value.hint, refused.value.exit_code) == ("choose another --out", 2)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EROFS, "the file system is read-only"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "cannot be written"),
        (errno.EMFILE, "too many files"),
    ],
)
def test_other_refusals_of_the_system_have_their_words(number, words) -> None:
    told = explained(OSError(number, os.strerror(number), "run/metrics.jsonl"))
    assert told is not None
    assert words in told.message
    assert "run/metrics.jsonl" in told.message


def test_memory_that_ran_out_names_what_to_lower_at_that_stage() -> None:
    with (
        pytest.raises(TrainingError, match=r"the machine is out of memory \(during grpo\)") as told,
        named("grpo"),
    ):
        torch.empty(2**50, dtype=torch.uint8)
    assert "grpo.micro_batch" in told.value.hint
    with (
        pytest.raises(TrainingError, match=r"out of memory \(during eval-base\)") as told,
        named("eval-base"),
    ):
        raise MemoryError
    assert "eval.batch_size" in told.value.hint


def test_a_gpu_without_memory_is_told_from_a_machine_without() -> None:
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    told = explained(error, "sft")
    assert told is not None
    assert told.message == "the GPU is out of memory (during sft)"
    assert "sft.micro_batch" in told.hint


def test_errors_of_ours_and_bugs_pass_as_they_are() -> None:
    assert explained(ModelError("model.name 'x': No space left on device (os error 28)")) is None
    assert explained(KeyError("x")) is None
    assert explained(RuntimeError("shapes do not match")) is None
    with pytest.raises(ZeroDivisionError), named("grpo"):
        _ = 1 / 0


LIMITED = """
import resource, sys
from warmstart.failures import named
from warmstart.errors import TrainingError
resource.setrlimit(resource.RLIMIT_AS, (300 * 2**20,) * 2)
try:
    with named("data"):
        x = bytearray(2**30)
except TrainingError as error:
    print(error.message)
"""


def test_a_process_that_is_given_little_memory_ends_in_a_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "the machine is out of memory (during data)\n"
