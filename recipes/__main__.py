"""``python -m recipes``: list the recipes, or run one with its options."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from recipes import RECIPES
from recipes.config import UsageError, dump_yaml, load_yaml, nearest

USAGE = """usage: python -m recipes RECIPE [options]    (python -m recipes RECIPE --help lists them)

Each recipe trains its variants with every seed and writes run directories and report.html to --out.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status (0; 1 a run failed; 2 usage; 130 Ctrl-C)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _main(arguments)
    except UsageError as error:
        sys.stderr.write(f"recipes: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("recipes: interrupted\n")
        return 130


def _main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "list"):
        print(USAGE)
        for name, question in RECIPES.items():
            print(f"  {name:18} {question}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in RECIPES:
        raise UsageError(f"no recipe '{name}'; {nearest(name, RECIPES)}")
    refuse_name_clash()
    options, print_config = parse(name, rest)
    if print_config:
        print(dump_yaml(options), end="")
        return 0
    from recipes.runner import interrupt_once, run_recipe

    # one thread pool a run: set before torch is imported, in this process and its children
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    command = ["python", "-m", "recipes", name, *rest]
    before = signal.signal(signal.SIGINT, interrupt_once)
    try:
        return run_recipe(name, options, command=command, say=lambda line: print(line, flush=True))
    finally:
        if signal.getsignal(signal.SIGINT) is interrupt_once:  # else this process was interrupted, and ends
            signal.signal(signal.SIGINT, before)


def parse(name: str, arguments: list[str]) -> tuple[Any, bool]:
    """The recipe's options: defaults, then each ``--config FILE`` in turn, then flags; and whether to print them."""
    import tyro

    kind = import_module(f"recipes.{name}").Options
    default, print_config, rest = kind(), False, []
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag == "--config":
            file = value if equals else next(words, "")
            if not file:
                raise UsageError("--config needs a file")
            default = load_yaml(Path(file), kind, default)
        elif word == "--print-config":
            print_config = True
        else:
            rest.append(word)
    try:
        options = tyro.cli(
            kind,
            args=rest,
            default=default,
            prog=f"python -m recipes {name}",
            description=(
                f"{kind.__doc__}\n\nAlso: --config FILE reads options from YAML (flags win over it); "
                "--print-config prints the resolved options as such a file and ends."
            ),
        )
    except SystemExit as end:  # tyro has printed its message or the help
        raise SystemExit(0 if not end.code else 2) from None
    return options, print_config


def refuse_name_clash() -> None:
    """Other distributions ship packages of these names (an old torchtune has `recipes`); say so in one line."""
    from importlib.metadata import packages_distributions
    from importlib.util import find_spec

    root = Path(__file__).resolve().parent.parent
    for package in ("mtl", "explain", "reports", "recipes"):
        spec = find_spec(package)
        if spec is None or spec.origin is None or Path(spec.origin).resolve().parent.parent != root:
            owners = packages_distributions().get(package, [])
            raise UsageError(
                f"the package '{package}' that Python finds is not Candelabra's "
                f"({'it belongs to ' + ', '.join(owners) if owners else 'it is a folder on the path'}); "
                "use a fresh virtual environment, or another working directory"
            )


if __name__ == "__main__":
    sys.exit(main())
