"""``python -m reports RUNS --out FILE``: the comparison report of a folder of runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status (0; 2 usage)."""
    parser = argparse.ArgumentParser(
        prog="python -m reports",
        description="Write one HTML report that compares all runs in a folder; needs no torch.",
    )
    parser.add_argument("runs", help="folder that holds run directories, at any depth")
    parser.add_argument("--out", default="report.html", help="the HTML file (default: report.html)")
    parser.add_argument("--title", help="of the page (default: the experiment's name)")
    options = parser.parse_args(arguments)
    from reports.page import build

    try:
        print(build(options.runs, options.out, title=options.title))
    except ValueError as error:
        sys.stderr.write(f"reports: {' '.join(str(error).split())}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
