"""Files that are there whole or not at all, whenever a process ends or a disk is full."""

from __future__ import annotations

from pathlib import Path


def write_whole(file: Path, content: bytes) -> None:
    """Write under a temporary name, then in place of ``file``; its folder must be there.

    Raises:
        OSError: no room, no permission; an older file is as it was.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.txt"
    >>> write_whole(file, b"whole")
    >>> file.read_bytes(), len(list(file.parent.iterdir()))
    (b'whole', 1)
    """
    temporary = file.with_name(file.name + ".tmp")
    temporary.write_bytes(content)
    temporary.replace(file)
