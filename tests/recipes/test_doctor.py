"""The doctor: every line has a verdict, a fault ends with 1, and nothing ends in a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from recipes import doctor
from recipes.__main__ import main

ROOT = Path(__file__).parents[2]


def test_this_machine_is_healthy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(tmp_path / "runs")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines[:-1]} <= {"ok", "missing"}
    told = {line.split()[1] for line in lines[:-1]}
    assert {
        "python",
        "names",
        "packages",
        "cpu",
        "gloo",
        "bf16",
        "fp16",
        "compiler",
        "folder",
        "sweep",
    } <= told
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_cannot_be_written_to_is_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "/proc/runs"]) == 1
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAULT")]
    assert "/proc/runs cannot be written to" in line


def test_missing_packages_are_named_with_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name in ("captum", "wandb") else found(name))
    assert main(["doctor"]) == 1
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "FAULT captum pip install captum" in lines
    assert "missing wandb pip install 'candelabra[wandb]'" in lines


def test_a_check_that_breaks_is_a_finding(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A torch that cannot be imported, say: no traceback, and the other checks are made."""
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["doctor"]) == 1
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert any(line.startswith("FAULT device ModuleNotFoundError") for line in lines)
    assert any(line.startswith("ok folder") for line in lines)


def test_a_name_clash_is_a_fault(tmp_path: Path) -> None:
    """A folder `reports` of the user's, found before Candelabra's."""
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "__init__.py").write_text("")
    code = (
        f"import sys\nsys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n"
        "from recipes.__main__ import main\nsys.exit(main(['doctor']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "the package 'reports' that Python finds is not Candelabra's" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr
