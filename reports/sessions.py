"""The sessions of a run: from its first start to an end, and each time it is resumed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class DoneError(ValueError):
    """A run that needs no other session."""


def started(command: list[str]) -> dict[str, Any]:
    """A new session of this process.

    >>> started(["python"])["status"]
    'running'
    """
    return {
        "start": now(),
        "end": None,
        "status": "running",
        "wall_s": None,
        "pid": os.getpid(),
        "command": command,
    }


def earlier(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The sessions that ``run.json`` tells of; one that never told its end was killed."""
    found = info.get("sessions")
    if not isinstance(found, list) or not found:  # written before there were sessions
        known = ("start", "end", "status", "wall_s", "pid", "command")
        found = [{name: info.get(name) for name in known}]
    sessions = [dict(session) for session in found if isinstance(session, Mapping)]
    return [
        session | {"status": "killed"} if session.get("status") == "running" else session
        for session in sessions
    ]


def unfinished(folder: Path) -> dict[str, Any]:
    """``run.json`` of a run that may be resumed; empty where none was begun.

    Raises:
        ValueError: the run is done or runs still, or its ``run.json`` is damaged.
    """
    file = folder / "run.json"
    if not file.is_file():
        return {}
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(info, dict):
            raise ValueError(f"it holds a {type(info).__name__}")
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}); remove the folder to run it anew") from error
    if info.get("status") == "done":
        raise DoneError(f"the run in {folder} is done; there is nothing to resume")
    if is_alive(info) and info.get("pid") != os.getpid():
        raise ValueError(f"the run in {folder} is still running, as process {info['pid']}")
    return info


def is_alive(info: Mapping[str, Any]) -> bool:
    """Whether the process that ``run.json`` names as running is there, on this machine.

    A process of that number that was started later than the run's session is another one. On another machine a
    process is taken for dead.

    >>> is_alive({"status": "running", "pid": os.getpid(), "start": now(), "host": host()})
    True
    >>> is_alive({"status": "interrupted", "pid": os.getpid(), "start": now()})
    False
    """
    pid, where = info.get("pid"), info.get("host")
    if info.get("status") != "running" or not isinstance(pid, int) or where not in (None, host()):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is there, and someone else's
        pass
    since, began = _started_at(pid), _session_start(info)
    return since is None or began is None or since <= began + 2


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def host() -> str:
    """This machine's name, to know where a process number means something."""
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")


def _session_start(info: Mapping[str, Any]) -> float | None:
    sessions = info.get("sessions") or [info]
    try:
        return datetime.fromisoformat(sessions[-1]["start"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return None


def _started_at(pid: int) -> float | None:
    """When a process was started, in seconds of the clock; None where the system does not tell."""
    try:
        ticks = float(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
