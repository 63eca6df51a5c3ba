"""Optuna's storages behind one door, and who is alive of those that work on one."""

from __future__ import annotations

import os
import platform
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recipes.config import UsageError

BEAT_S = 10.0  # a worker's sign of life, written to the storage


def need_optuna() -> None:
    """Raise UsageError where Optuna is not installed."""
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise UsageError("sweeps need Optuna: pip install 'candelabra[sweep]'") from error


def connect(url: str) -> Any:
    """An Optuna storage: of a journal file (``FILE.journal``), or of a database URL that SQLAlchemy knows.

    Raises:
        UsageError: no Optuna, or a storage that cannot be reached.
    """
    need_optuna()
    import optuna
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with reachable(url):
        if "://" in url:
            return _database(RDBStorage, url)
        if not url.endswith(".journal"):
            raise UsageError(
                f"--storage must be FILE.journal or a database URL (sqlite:///FILE), got '{url}'"
            )
        file = Path(url)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"the storage {url} cannot be reached: {error.strerror}") from error
        backend = JournalFileBackend(str(file))
        _mend(file, backend)
        return JournalStorage(backend)


@contextmanager
def reachable(url: str) -> Iterator[None]:
    """Failures of the storage, and of the libraries below it, as one line.

    Raises:
        UsageError: for every error of the operating system, of SQLAlchemy or of Optuna's storages within.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except OSError as error:
        if error.filename and not str(error.filename).startswith(url):
            raise UsageError(
                f"cannot use {error.filename}: {error.strerror}; what was done is kept"
            ) from error
        raise UsageError(
            f"the storage {_hidden(url)} cannot be reached: {error.strerror or error}"
        ) from error
    except (SQLAlchemyError, StorageInternalError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise UsageError(f"the storage {_hidden(url)} cannot be reached: {reason}") from error
    except (ValueError, KeyError, AssertionError) as error:
        if "://" in url or not _traced_to_journal(error):
            raise
        raise UsageError(
            f"{url} is not a journal of a sweep, or was damaged; choose another --storage"
        ) from error


def _database(kind: Any, url: str) -> Any:
    # many workers may write at a time: SQLite then waits for its lock, a minute at most
    how = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    try:
        return kind(url, engine_kwargs=how)
    except ImportError as error:
        driver = "psycopg2-binary" if url.startswith("postgresql") else "the database's driver"
        raise UsageError(f"the storage {_hidden(url)} needs a driver: pip install {driver}") from error


class Pulse:
    """Signs of life of the workers on one study: this one's own, and which of the others are gone.

    A worker of this machine is gone when its process is. One of another machine is gone when its count of beats
    stood still for ``lost_after`` seconds of this machine's clock, so that the clocks need not agree.

    Args:
        study: an Optuna study, whose user attributes hold the beats.
        lost_after: seconds.
    """

    def __init__(self, study: Any, lost_after: float) -> None:
        self.me = f"{machine()}:{os.getpid()}:{_started(os.getpid())}:{uuid.uuid4().hex[:8]}"
        self._study, self._lost_after = study, lost_after
        self._count, self._last = 0, float("-inf")
        self._seen: dict[str, tuple[Any, float]] = {}

    def beat(self) -> None:
        """Write a sign of life, every ten seconds (or a quarter of ``lost_after``) at most."""
        if time.monotonic() - self._last < min(BEAT_S, self._lost_after / 4):
            return
        self._count, self._last = self._count + 1, time.monotonic()
        self._study.set_user_attr(f"beat {self.me}", self._count)

    def beats(self) -> dict[str, Any]:
        """The workers' signs of life, for `gone`."""
        return dict(self._study.user_attrs)

    def gone(self, worker: str, beats: dict[str, Any]) -> bool:
        """Whether ``worker`` works no more; ``beats`` are the study's user attributes.

        An empty name (it died before it could sign) is judged by time alone.
        """
        if worker == self.me:
            return False
        if here(worker):
            pid, start = worker.split(":")[-3:-1]
            return _started(int(pid)) != start
        beat, now = beats.get(f"beat {worker}"), time.monotonic()
        if worker not in self._seen or self._seen[worker][0] != beat:
            self._seen[worker] = (beat, now)
        return now - self._seen[worker][1] > self._lost_after


def here(worker: str) -> bool:
    """Whether a worker, by the name that its `Pulse` gave it, is or was on this machine."""
    return bool(worker) and worker.rpartition(":")[0].rsplit(":", 2)[0] == machine()


def machine() -> str:
    """A name for this machine since it was started; two containers with the same host name differ."""
    parts = [platform.node()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8")[:8])
        parts.append(str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]"))
    except OSError:  # not Linux
        pass
    return "/".join(parts)


def _started(pid: int) -> str:
    """When a process of this machine was started, in the kernel's ticks; empty where none lives."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]  # a zombie works no more
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass  # somebody else's, alive
    return "alive"


def _mend(file: Path, backend: Any) -> None:
    """Cut off a last line that was torn when its writer was killed or the disk was full; else no one could go on."""
    with file.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - 1))
        if stream.read(1) in (b"", b"\n"):
            return
    from optuna.storages.journal._file import get_lock_file

    with get_lock_file(backend._lock), file.open("rb+") as stream:
        whole = stream.read()
        if not whole.endswith(b"\n"):
            stream.truncate(whole.rfind(b"\n") + 1)


def _traced_to_journal(error: BaseException) -> bool:
    """Whether an error comes from reading the journal's lines, and not from this code."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.endswith(("journal/_file.py", "journal/_storage.py")):
            return True
        trace = trace.tb_next
    return False


def _hidden(url: str) -> str:
    """The URL without its password."""
    scheme, mark, rest = url.partition("://")
    user, at, place = rest.rpartition("@")
    return f"{scheme}{mark}{user.partition(':')[0]}{at}{place}" if mark else url
