"""One run at a time in a directory: a lock that the operating system gives back when its holder dies.

The lock is `flock` on a file of the directory; what is written in the file only says who holds it. So a
lock is never stale: after a kill the file is still there, the lock is not, and the next run takes it over.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from warmstart.errors import RunDirError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".warmstart.lock"
"""The file of the lock; it is gone when a run has ended by itself."""

_HELD = (errno.EWOULDBLOCK, errno.EACCES)
_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class Holder(NamedTuple):
    """Who holds, or held, the lock of a directory."""

    pid: int
    host: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


@contextmanager
def held(folder: Path) -> Iterator[Holder | None]:
    """Hold the directory inside the ``with`` block; it is made if it is not there.

    Yields the run that held it and was killed, if there was one. Of several processes of one run only the
    first takes the lock. On a file system without locks the block runs without one.

    Raises:
        RunDirError: If another run holds the directory, with its process; or if it cannot be written.
    """
    if int(os.environ.get("RANK", "0")) > 0:
        yield None
        return
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _lock(path)
        before = _holder(descriptor)
        _write(descriptor)
    except OSError as error:
        raise RunDirError(
            f"{folder} cannot be a run directory: {error.strerror}", "choose another --out"
        ) from error
    try:
        yield before
    finally:
        # While it is still locked: nobody else can hold a file that has just lost its name.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _lock(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                holder = _holder(descriptor)
                os.close(descriptor)
                raise _in_use(path.parent, holder) from error
            if error.errno not in _UNSUPPORTED:
                os.close(descriptor)
                raise
        if _is_at(path, descriptor):
            return descriptor
        # The holder let go between our opening and locking: this file has no name any more.
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _write(descriptor: int) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since})
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, line.encode("ascii"), 0)


def _holder(descriptor: int) -> Holder | None:
    try:
        found = json.loads(os.pread(descriptor, 4096, 0))
        return Holder(int(found["pid"]), str(found["host"]), str(found["since"]))
    except (ValueError, KeyError, TypeError):
        return None


def _in_use(folder: Path, holder: Holder | None) -> RunDirError:
    who = "another run" if holder is None else str(holder)
    stop = "" if holder is None else f", stop it (kill {holder.pid})"
    return RunDirError(f"{folder} is in use by {who}", f"wait for it{stop}, or choose another --out")
