"""Sizes: files of at most 400 lines, function bodies of at most 60, at most five positional parameters."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2] / "lepton_ray"
FILES = sorted(ROOT.rglob("*.py"))


def functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return 0 if not body else (body[-1].end_lineno or 0) - body[0].lineno + 1


def too_large(text: str) -> list[str]:
    """What of a file is larger than it may be."""
    tree, found = ast.parse(text), []
    if len(text.splitlines()) > 400:
        found.append("more than 400 lines")
    if not ast.get_docstring(tree):
        found.append("no docstring says what it is")
    for function in functions(tree):
        arguments = (*function.args.posonlyargs, *function.args.args)
        given = [a for a in arguments if a.arg not in ("self", "cls") and not is_flag(a)]
        if body_lines(function) > 60:
            found.append(f"{function.name} has more than 60 lines")
        if len(given) > 5:
            found.append(f"{function.name} takes more than 5 positional parameters")
    return found


def test_every_file_keeps_its_size() -> None:
    found = {str(file.relative_to(ROOT)): too_large(file.read_text(encoding="utf-8")) for file in FILES}
    assert {file: told for file, told in found.items() if told} == {}


def test_what_is_too_large_is_seen() -> None:
    long = "def long(a, b, c, d, e, f):\n" + "    a += 1\n" * 61
    assert len(too_large(long + "\n" * 400)) == 4


def is_flag(argument: ast.arg) -> bool:
    """Whether it is an option of the command line, which typer reads by its name."""
    said = "" if argument.annotation is None else ast.unparse(argument.annotation)
    return said.startswith("options.") or "typer." in said
