"""``python -m reports RUNS``: the comparison report of any runs; ``python -m reports serve RUNS`` keeps it fresh."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EXAMPLES = """\
examples:
  python -m reports runs/multimnist --out report.html
  python -m reports runs/a runs/b --where variant=equal,upgrad --where 'seed<3' --baseline a/single
  python -m reports runs --where experiment=multimnist --where 'config.lr<0.01' --against old.html
  python -m reports old.html --export tables
  python -m reports serve runs/multimnist
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 0, 2 for a mistake in what was typed or read, 130 after Ctrl-C."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["serve"]:
            return _serve(_serve_parser().parse_args(given[1:]))
        return _build(_parser().parse_args(given))
    except ValueError as error:
        sys.stderr.write(f"reports: {' '.join(str(error).split())}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("reports: interrupted\n")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m reports",
        description="Write one HTML report that compares runs; needs no torch.\n"
        "'python -m reports serve RUNS' keeps one fresh while training runs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_choice(parser)
    parser.add_argument("--out", default="report.html", help="the HTML file (default: report.html)")
    parser.add_argument(
        "--against", metavar="OLD", help="an older report, or a folder of runs: say what changed since"
    )
    parser.add_argument(
        "--export",
        metavar="FOLDER",
        help="also write all tables (CSV, JSON, Markdown, LaTeX) and charts (SVG, PDF)",
    )
    return parser


def _serve_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m reports serve",
        description="Show the report in a browser on this machine, and keep it fresh while training runs.",
    )
    _add_choice(parser)
    parser.add_argument("--port", type=int, default=0, help="of http://127.0.0.1 (default: a free one)")
    parser.add_argument(
        "--every", type=float, default=5.0, help="seconds between two looks at the runs (default: 5)"
    )
    return parser


def _add_choice(parser: argparse.ArgumentParser) -> None:
    """What both commands take: which runs, and how they are told."""
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUNS",
        help="folders that hold run directories, at any depth; or one report.html",
    )
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="CONDITION",
        help="only runs for which it holds, e.g. variant=equal,upgrad, 'seed<3', status=done, config.lr=0.1; may be "
        "given several times, and then all must hold",
    )
    parser.add_argument("--baseline", metavar="NAME", help="the variant that Δm is measured against")
    parser.add_argument("--reference", metavar="NAME", help="the variant that is the plain sum")
    parser.add_argument("--title", help="of the page (default: the experiment's name)")
    parser.add_argument("--language", default="en", help="of the page: en or zh (default: en)")
    parser.add_argument("--max-maps", type=int, metavar="N", help="in the gallery at most (default: 1000)")


def _build(options: argparse.Namespace) -> int:
    from reports import building, loading

    building.refuse_foreign(Path(options.out))
    pages = [run for run in options.runs if Path(run).is_file()]
    if pages:
        if options.runs != pages[:1] or _choice(options) != _choice(_parser().parse_args(pages[:1])):
            raise ValueError(
                f"{pages[0]} is a file: a report is given alone, and only --against, --export, --out with it"
            )
        report = loading.load(pages[0])
        if options.against is not None:
            report = building.since(report, options.against)
    else:
        report = building.compare(options.runs, **_choice(options), against=options.against)
    print(report.save(options.out))
    if options.export is not None:
        print(report.export(options.export))
    return 0


def _serve(options: argparse.Namespace) -> int:
    from reports.serving import serve

    def tell(line: str) -> None:
        print(line, flush=True)

    serve(options.runs, tell=tell, port=options.port, every=options.every, **_choice(options))
    return 0


def _choice(options: argparse.Namespace) -> dict[str, Any]:
    names = ("where", "baseline", "reference", "title", "language", "max_maps")
    return {name: getattr(options, name) for name in names}


if __name__ == "__main__":
    sys.exit(main())
