"""The report in a browser on this machine, fresh while training runs."""

from __future__ import annotations

import html
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

from reports import sessions
from reports.building import compare
from reports.filters import condition, selected
from reports.joining import gathered
from reports.page import render
from reports.wording import Say

HOST = "127.0.0.1"
NAMES = (
    HOST,
    "localhost",
    "[::1]",
)  # by which a browser may call us; any other is a page that tries to read ours
QUIET = 60.0  # seconds between two refreshes of a page that no run is going to change
SKIPPED = ("checkpoints",)  # folders that no report reads
READ = (".json", ".jsonl", ".npz", ".yaml", ".csv")


@dataclass(frozen=True)
class View:
    """What a browser gets.

    Attributes:
        page: the last report that could be built; empty before the first.
        told: what goes on, one line each: runs in progress, or why there is no newer report.
        live: whether it is worth a look again soon.
    """

    page: str = ""
    told: tuple[str, ...] = ()
    live: bool = True


class Watch:
    """Looks at folders of runs and builds their report anew when a file of theirs has changed.

    Args:
        runs: folders; they may be made later.
        choice: what `compare` takes beside the runs.
    """

    def __init__(self, runs: Sequence[str], choice: dict[str, Any]) -> None:
        self.view = View()
        self._runs = list(runs)
        self._choice = choice
        self._seen: object = None

    def look(self) -> None:
        """Build the report if anything changed, or if it could not be built the last time."""
        seen = sorted(_marks(self._runs))
        if seen == self._seen:
            return
        say = Say(self._choice["language"])
        try:
            page = render(compare(self._runs, **self._choice))
            told = _progress(self._runs, self._choice["where"], say)
            self.view = View(page, tuple(told), bool(told))
            self._seen = seen
        except (
            Exception
        ) as error:  # a run that is being written may be in any state; the next look may fare better
            line = " ".join(str(error).split()) or type(error).__name__
            self.view = View(self.view.page, (say("serve.failed", error=line),))
            self._seen = None

    def keep_looking(self, every: float, stop: threading.Event) -> None:
        """Look until ``stop`` is set."""
        while not stop.wait(every):
            self.look()


def serve(
    runs: Sequence[str], *, tell: Callable[[str], object], port: int = 0, every: float = 5.0, **choice: Any
) -> None:
    """Serve the report of folders of runs on http://127.0.0.1 until Ctrl-C.

    Nobody but this machine can reach it, and no page of another site can read it. The page asks for itself anew every
    few seconds while runs are in progress, by a header, so that it needs no script; ``/?hold`` does not.

    Args:
        runs: folders; they may be empty still.
        tell: called with the address.
        port: 0 for a free one.
        every: seconds between two looks at the runs; the report is built anew only when a file has changed.
        choice: where, baseline, reference, title, language and max_maps of `compare`.

    Raises:
        ValueError: a port that is taken or none, an unknown language or a condition that is none.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"--port must be 0 to 65535, got {port}")
    if not 0.1 <= every <= 3600:
        raise ValueError(f"--every must be 0.1 to 3600 seconds, got {every:g}")
    Say(choice["language"])
    for text in choice["where"]:
        condition(text)
    watch, stop = Watch(runs, choice), threading.Event()
    try:
        server = ThreadingHTTPServer((HOST, port), _handler(watch, every, choice["language"]))
    except OSError as error:
        raise ValueError(
            f"cannot listen on {HOST}:{port}: {error.strerror}; choose another --port"
        ) from error
    with server:
        tell(f"http://{HOST}:{server.server_port}/")
        threading.Thread(target=_first_and_then, args=(watch, every, stop), daemon=True).start()
        try:
            server.serve_forever(poll_interval=0.2)
        finally:
            stop.set()


def _first_and_then(watch: Watch, every: float, stop: threading.Event) -> None:
    watch.look()
    watch.keep_looking(every, stop)


def _handler(watch: Watch, every: float, language: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "candelabra", ""
        timeout = 30

        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, body: bool) -> None:
            port = cast(ThreadingHTTPServer, self.server).server_port
            if self.headers.get("Host", "") not in [f"{name}:{port}" for name in NAMES]:
                self.send_error(403, "this report is for this machine alone")
                return
            path, _, query = self.path.partition("?")
            if path != "/":
                self.send_error(404)
                return
            hold, view = query == "hold", watch.view
            content = _shown(view, hold, language).encode()
            tag = f'"{sha256(content).hexdigest()[:32]}"'
            known = self.headers.get("If-None-Match") == tag
            self.send_response(304 if known else 200)
            self.send_header("ETag", tag)
            self.send_header("Cache-Control", "no-cache")
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", "0" if known else str(len(content)))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Cross-Origin-Resource-Policy", "same-origin")
            self.send_header("Content-Security-Policy", "frame-ancestors 'none'")
            self.send_header("Referrer-Policy", "no-referrer")
            if not hold:
                self.send_header("Refresh", f"{max(every, 1.0 if view.live else QUIET):g}")
            self.end_headers()
            if body and not known:
                self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: a page that refreshes itself would fill the terminal."""

    return Handler


def _shown(view: View, hold: bool, language: str) -> str:
    """The page with what goes on at its top, and a way to keep it still."""
    say = Say(language)
    lines = view.told or (() if view.page else (say("serve.first"),))
    link = f'<a href="/">{html.escape(say("serve.go_on"))}</a>' if hold else (
        f'<a href="/?hold">{html.escape(say("serve.hold"))}</a>'
    )  # fmt: skip
    told = "".join(f'<p class="note">{html.escape(line)}</p>' for line in lines)
    bar = f'<div role="group" aria-label="{html.escape(say("serve.state"))}">{told}<p class="note">{link}</p></div>'
    page = view.page or (
        f'<!doctype html><html lang="{language}"><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        f"<title>{html.escape(say('page.kind'))}</title><body><header></header></body></html>"
    )
    return page.replace("<header>", f"<header>{bar}", 1)


def _progress(runs: Sequence[str], where: Sequence[str], say: Say) -> list[str]:
    """A line for the runs that are not at their end, with the last step that each has logged."""
    open_runs = [run for run in selected(gathered(runs), where) if _runs_still(run.info)]
    if not open_runs:
        return []
    steps = [run.metrics["step"].max() if len(run.metrics) else 0 for run in open_runs]
    named = [
        say("serve.at", run=run.name, step=int(step)) for run, step in zip(open_runs, steps, strict=True)
    ]
    return [say("serve.progress", which=say.joined(named))]


def _runs_still(info: Mapping[str, Any]) -> bool:
    """Whether a run is in progress, as far as can be told: of another machine's processes nothing is known."""
    elsewhere = info.get("host") not in (None, sessions.host())
    return info["status"] == "running" and (elsewhere or sessions.is_alive(info))


def _marks(runs: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Path, time of change and size of every file that a report reads."""
    for folder in runs:
        for place, inside, files in os.walk(folder):
            inside[:] = [name for name in inside if name not in SKIPPED]
            for name in files:
                if name.endswith(READ):
                    file = Path(place) / name
                    try:
                        state = file.stat()
                    except OSError:  # moved away just now
                        continue
                    yield str(file), state.st_mtime_ns, state.st_size
