"""``python -m recipes``: list the recipes, run one with its options, or a command around them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from recipes import RECIPES
from recipes.config import UsageError, dump_yaml, load_yaml, nearest
from recipes.signals import exit_status, interruptible

USAGE = """usage: python -m recipes RECIPE [options]    (python -m recipes RECIPE --help lists them)
       python -m recipes resume RUN [--allow-change NAME ...] [options]

Each recipe trains its variants with every seed and writes run directories and report.html to --out.
"""
COMMANDS: dict[str, str] = {
    "resume": "recipes.resume",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status (0; 1 a run failed; 2 usage; 130 Ctrl-C; 143 SIGTERM)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _main(arguments)
    except UsageError as error:
        sys.stderr.write(f"recipes: {error}\n")
        return 2
    except KeyboardInterrupt as interrupt:
        sys.stderr.write("recipes: interrupted\n")
        return exit_status(interrupt)


def _main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "list"):
        print(USAGE)
        for name, question in RECIPES.items():
            print(f"  {name:18} {question}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in RECIPES and name not in COMMANDS:
        raise UsageError(f"no recipe '{name}'; {nearest(name, [*RECIPES, *COMMANDS])}")
    refuse_name_clash()
    if name in COMMANDS:
        return int(import_module(COMMANDS[name]).main(rest))
    options, print_config = parse(name, rest)
    if print_config:
        print(dump_yaml(options), end="")
        return 0
    from recipes.runner import run_recipe

    # one thread pool a run: set before torch is imported, in this process and its children
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    command = ["python", "-m", "recipes", name, *rest]
    with interruptible():
        return run_recipe(name, options, command=command, say=lambda line: print(line, flush=True))


def parse(name: str, arguments: list[str], start: Any = None, prog: str = "") -> tuple[Any, bool]:
    """The recipe's options and whether to print them: defaults (or ``start``), each ``--config FILE``, then flags."""
    import tyro

    kind = import_module(f"recipes.{name}").Options
    default, print_config, rest = kind() if start is None else start, False, list[str]()
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
            prog=f"python -m recipes {prog or name}",
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
