"""Small JSON files that several processes may write and read at the same moment."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any


def write_json(file: Path, content: Any) -> None:
    """Write it whole or not at all; of several writers the last one wins.

    Raises:
        OSError: no room, no permission.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.json"
    >>> write_json(file, {"lr": 0.1})
    >>> file.read_text(), [found.name for found in file.parent.iterdir()]
    ('{\\n "lr": 0.1\\n}\\n', ['a.json'])
    """
    temporary = file.with_name(f"{file.name}.{uuid.uuid4().hex[:8]}.tmp")
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(file)
