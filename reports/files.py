"""Files that are there whole or not at all, whenever a process ends or a disk is full."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any


def write_whole(file: Path, content: bytes) -> None:
    """Write under a temporary name, then in place of ``file``; its folder must be there.

    Of several processes that write it at the same moment the last one wins.

    Raises:
        OSError: no room, no permission; an older file is as it was.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.txt"
    >>> write_whole(file, b"whole")
    >>> file.read_bytes(), len(list(file.parent.iterdir()))
    (b'whole', 1)
    """
    temporary = file.with_name(f"{file.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(file: Path, content: Any) -> None:
    """Write it as JSON, as `write_whole` does.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.json"
    >>> write_json(file, {"lr": 0.1})
    >>> file.read_text()
    '{\\n "lr": 0.1\\n}\\n'
    """
    write_whole(file, as_json(content).encode())


def as_json(content: Any) -> str:
    """JSON that people can read.

    >>> as_json(["é"])
    '[\\n "é"\\n]\\n'
    """
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
