"""Mutants of a source file: in each, one sign, comparison, index, axis or number of a formula is another."""

import ast
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType, ModuleType
from typing import NamedTuple

TOLERANCE = 1e-6  # numbers below it are no part of a formula


class Mutant(NamedTuple):
    """The function and the statement as changed, and the whole file compiled with the change."""

    label: str
    code: CodeType


OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Mult: ast.Div, ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Eq: ast.NotEq,
}  # fmt: skip
NAMES = {"min": "max", "amin": "amax", "argmin": "argmax", "minimum": "maximum", "sum": "mean"}
OPERATORS |= {new: old for old, new in OPERATORS.items()}
NAMES |= {new: old for old, new in NAMES.items()}


def functions(source: str) -> list[str]:
    """The names of the functions and methods that may be changed; checks of options are not among them."""
    return [function.name for function in _functions(ast.parse(source))]


def mutants(source: str, filename: str, name: str) -> Iterator[Mutant]:
    """Of the functions of that name, one after the other; messages, defaults and annotations stay as they are."""
    tree = ast.parse(source)
    for function in (function for function in _functions(tree) if function.name == name):
        for statement in function.body:
            numbers = {id(part) for call in ast.walk(statement) if _is_float(call) for part in ast.walk(call)}
            for parent, field, at, node, line in _places(statement, function, statement):
                for new in _changes(node, id(node) in numbers):
                    _put(parent, field, at, new)
                    text = ast.unparse(new if line is node else line).splitlines()[0]
                    code = compile(ast.fix_missing_locations(tree), filename, "exec")
                    _put(parent, field, at, node)
                    yield Mutant(f"{function.name}: {text}", code)


def load(mutant: Mutant, original: ModuleType) -> ModuleType:
    """The changed file as a module of the original's name, which takes no place among the imported modules.

    Compiled from its tree, since a changed formula has no file to be imported from.
    """
    module = ModuleType(original.__name__)
    exec(mutant.code, module.__dict__)
    return module


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises TimeoutError inside if it takes longer: a changed comparison may leave a loop without an end."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"it takes more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    for node in tree.body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        yield from (f for f in inside if isinstance(f, ast.FunctionDef) and f.name != "__post_init__")


def _is_float(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float"


def _skipped(parent: ast.AST, field: str, node: ast.AST) -> bool:
    check = isinstance(node, ast.Call) and ast.unparse(node.func).startswith("check_")
    # an axis has a change of its own
    axis = field == "value" and isinstance(parent, ast.keyword) and parent.arg in ("dim", "dim1", "dim2")
    return check or axis or field in {"annotation", "returns"} or isinstance(node, ast.Raise | ast.JoinedStr)


Place = tuple[ast.AST, str, int | None, ast.AST, ast.AST]


def _places(node: ast.AST, parent: ast.AST, line: ast.AST) -> Iterator[Place]:
    """Where each node below (and the statement itself) hangs: parent, field, index; and its statement."""
    if isinstance(parent, ast.FunctionDef) and node in parent.body:
        yield parent, "body", parent.body.index(node), node, node
    for field, value in ast.iter_fields(node):
        for at, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if (
                isinstance(child, ast.arguments)
                or not isinstance(child, ast.AST)
                or _skipped(node, field, child)
            ):
                continue
            within = child if isinstance(child, ast.stmt) else line
            yield node, field, at, child, within
            yield from _places(child, node, within)


def _put(parent: ast.AST, field: str, at: int | None, node: ast.AST) -> None:
    if at is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[at] = node


def _changes(node: ast.AST, number: bool) -> Iterator[ast.AST]:
    """What may stand in the node's place; ``number``: it is part of a single number, where a product has no order."""
    match node:
        case ast.BinOp(left, ast.MatMult(), right):
            if not number and _symmetric(left) == _symmetric(right):
                yield ast.BinOp(right, ast.MatMult(), left)
        case ast.BinOp(left, op, right) if type(op) in OPERATORS:
            yield ast.BinOp(left, OPERATORS[type(op)](), right)
        case ast.AugAssign(target, op, value) if type(op) in OPERATORS:
            yield ast.AugAssign(target, OPERATORS[type(op)](), value)
        case ast.UnaryOp(ast.USub(), operand):
            yield operand
        case ast.Compare(left, [op], right) if type(op) in OPERATORS:
            yield ast.Compare(left, [OPERATORS[type(op)]()], right)
        case ast.Name(name, ast.Load() as context) if name in NAMES:
            yield ast.Name(NAMES[name], context)
        case ast.Attribute(value, "T"):
            yield value
        case ast.Attribute(value, name, context) if name in NAMES:
            yield ast.Attribute(value, NAMES[name], context)
        case ast.keyword("min" | "max" as name, value):
            yield ast.keyword(NAMES[name], value)
        case ast.keyword("dim", ast.Constant(int(dim))) if dim in (0, 1):
            yield ast.keyword("dim", ast.Constant(1 - dim))
        case ast.keyword("descending", ast.Constant(bool(value))):
            yield ast.keyword("descending", ast.Constant(not value))
        case ast.Constant(int() | float() as value) if not isinstance(value, bool):
            if abs(value) >= TOLERANCE or value == 0:
                yield ast.Constant(value + 1)
        case ast.Subscript(value, ast.Tuple([*first, a, b]), context) if ast.dump(a) != ast.dump(b):
            yield ast.Subscript(value, ast.Tuple([*first, b, a], ast.Load()), context)


def _symmetric(node: ast.AST) -> bool:
    """Whether it reads a matrix that is its own transpose: the other way round, a product with it is the same."""
    names = {getattr(part, "id", getattr(part, "attr", "")) for part in ast.walk(node)}
    return bool(names & {"gramian", "cosines", "M", "C", "A"})
