"""The served report: a real process, real requests, runs that are written meanwhile."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reports.__main__ import main
from reports.rundir import RunWriter
from tests.reports.make import QUESTION, describe, write_run

ROOT = Path(__file__).parents[2]
PATIENCE = 120  # seconds; a loaded machine is no reason to fail


class Served:
    """A process that serves, and what it answers."""

    def __init__(self, process: "subprocess.Popen[str]", address: str) -> None:
        self.process = process
        self.port = int(address.rstrip("/").rpartition(":")[2])

    def ask(self, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_host="Host" in headers)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            connection.close()

    def until(self, holds: Callable[[str], bool]) -> str:
        """The first page for which it holds."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            text = self.ask()[2]
            if holds(text):
                return text
            time.sleep(0.1)
        raise AssertionError(f"not within {PATIENCE} s; the last page began {text[:2000]}")


@contextmanager
def serving(*arguments: str) -> Iterator[Served]:
    command = [sys.executable, "-m", "reports", "serve", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Served(process, process.stdout.readline().strip())
    finally:
        process.kill()
        process.communicate()


def test_a_report_follows_the_runs_that_are_being_written(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    with serving(str(root), "--every", "0.2") as served:
        served.until(
            lambda text: "is not a folder" in text
        )  # training has not begun: one line, and it goes on
        write_run(root, "equal", 0, {"left": {"accuracy": 0.5}}, maps=False)
        text = served.until(lambda text: QUESTION in text)
        assert "50.0%" in text
        assert "In progress" not in text
        with RunWriter(
            root / "upgrad--s0", experiment={"name": "toy", "question": QUESTION}, variant="upgrad", seed=0,
            tasks=[describe("left")], config={}, command=[], data={}, selection="", tuning_budget="",
        ) as run:  # fmt: skip
            for step in range(1, 4):
                row = {"step": step, "epoch": 0, "split": "test", "task": "left", "metric": "accuracy"}
                run.log([{**row, "value": 0.6 + step / 100}])
                told = f"upgrad--s0 (step {step})"
                text = served.until(lambda text, told=told: told in text)  # type: ignore[misc]
                assert "63.0%" not in text
            with (root / "upgrad--s0" / "metrics.jsonl").open(
                "a"
            ) as file:  # half a line, as of a killed writer
                file.write('{"step": 4, "epo')
            run.finish({})
        text = served.until(lambda text: "63.0%" in text)
        assert "In progress" not in text
        (root / "equal--s0" / "run.json").write_text("{torn")
        served.until(lambda text: "run.json" in text and "63.0%" in text)


def test_what_is_served_is_the_page_with_a_header_that_asks_again(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "equal", 0, {"left": {"accuracy": 0.5}}, maps=False)
    with serving(str(tmp_path / "runs"), "--every", "0.2", "--language", "zh", "--title", "<b>") as served:
        text = served.until(lambda text: QUESTION in text)
        status, headers, text = served.ask()
        assert status == 200
        assert headers["Refresh"] == "60"  # nothing runs
        assert headers["Cache-Control"] == "no-cache"
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert 'http-equiv="Content-Security-Policy"' in text  # the page's own policy stands
        assert "让本页保持不动" in text
        assert "&lt;b&gt;" in text
        assert served.ask(If_None_Match=headers["ETag"])[0] == 304
        status, held, text = served.ask("/?hold")
        assert status == 200
        assert "Refresh" not in held
        assert "自动刷新本页" in text
        status, headers, text = served.ask(method="HEAD")
        assert (status, text) == (200, "")
        assert int(headers["Content-Length"]) > 1000
        for path in ("/x", "/../../etc/passwd", "/runs/run.json"):
            assert served.ask(path)[0] == 404
        assert served.ask(method="POST")[0] == 501


def test_only_this_machine_under_its_own_name_is_answered(tmp_path: Path) -> None:
    """A name of another site that resolves to this machine must not read the report."""
    with serving(str(tmp_path)) as served:
        for name in ("127.0.0.1", "localhost", "[::1]"):
            assert served.ask(Host=f"{name}:{served.port}")[0] == 200
        for name in (
            f"evil.example:{served.port}",
            "localhost",
            f"127.0.0.1:{served.port + 1}",
            "",
            "127.0.0.1.nip.io",
        ):
            status, _, text = served.ask(Host=name)
            assert status == 403
            assert 'role="group"' not in text
        listening = [
            line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
            if line.split()[3] == "0A"
        ]  # fmt: skip
        assert f"0100007F:{served.port:04X}" in listening
        assert f"00000000:{served.port:04X}" not in listening


def test_it_rebuilds_only_when_a_file_has_changed(tmp_path: Path) -> None:
    from reports.serving import Watch

    folder = write_run(tmp_path / "runs", "equal", 0, {"left": {"accuracy": 0.5}}, maps=False)
    (folder / "checkpoints").mkdir()
    choice = {
        "where": [],
        "baseline": None,
        "reference": None,
        "title": None,
        "language": "en",
        "max_maps": None,
    }
    watch = Watch([str(tmp_path / "runs")], choice)
    watch.look()
    first = watch.view
    assert QUESTION in first.page
    (folder / "checkpoints" / "big.json").write_text("1")
    (tmp_path / "runs" / "report.html").write_text("1")
    watch.look()
    assert watch.view is first
    info = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**info, "status": "failed", "error": "boom!"}))
    watch.look()
    assert "boom!" in watch.view.page


def test_a_build_that_fails_keeps_the_last_page_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reports import serving as module

    write_run(tmp_path / "runs", "equal", 0, {"left": {"accuracy": 0.5}}, maps=False)
    choice = {
        "where": [],
        "baseline": None,
        "reference": None,
        "title": None,
        "language": "en",
        "max_maps": None,
    }
    watch = module.Watch([str(tmp_path / "runs")], choice)
    watch.look()
    page = watch.view.page

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("first line\nsecond <line>")

    with monkeypatch.context() as patch:
        patch.setattr(module, "compare", broken)
        write_run(tmp_path / "runs", "equal", 1, {"left": {"accuracy": 0.5}}, maps=False)
        watch.look()
        assert watch.view.page == page
        assert watch.view.told == (
            "The report could not be built and will be tried again: first line second <line>",
        )
        shown = module._shown(watch.view, False, "en")
        assert "second &lt;line&gt;" in shown
        assert shown.index("second &lt;line&gt;") < shown.index(QUESTION)
    watch.look()  # nothing changed since, and yet it is tried again
    assert watch.view.told == ()
    assert "2 seeds" in watch.view.page


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_ends_it_cleanly(tmp_path: Path) -> None:
    with serving(str(tmp_path)) as served:
        served.ask()
        served.process.send_signal(signal.SIGINT)
        out, err = served.process.communicate(timeout=PATIENCE)
        assert served.process.returncode == 130
        assert "Traceback" not in out + err
        assert err == "reports: interrupted\n"


@pytest.mark.parametrize(("options", "told"), [
    (["--port", "70000"], "--port must be 0 to 65535, got 70000"),
    (["--every", "0"], "--every must be 0.1 to 3600 seconds, got 0"),
    (["--every", "nan"], "--every must be 0.1 to 3600 seconds, got nan"),
    (["--language", "fr"], "no texts in the language 'fr'"),
    (["--where", "seed"], "is no condition"),
])  # fmt: skip
def test_a_mistake_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    assert main(["serve", str(tmp_path), *options]) == 2
    printed = capsys.readouterr()
    assert told in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_a_port_that_is_taken_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", str(tmp_path), "--port", str(port)]) == 2
    told = capsys.readouterr().err
    assert (
        told == f"reports: cannot listen on 127.0.0.1:{port}: Address already in use; choose another --port\n"
    )
