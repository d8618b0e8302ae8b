"""Sizes: files of at most 400 lines, function bodies of at most 60, at most five positional parameters."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "lepton_ray"
FILES = sorted(ROOT.rglob("*.py"))


def functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return 0 if not body else (body[-1].end_lineno or 0) - body[0].lineno + 1


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_sizes(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(tree), "a module says what it is"
    for function in functions(tree):
        assert body_lines(function) <= 60, function.name
        arguments = (*function.args.posonlyargs, *function.args.args)
        given = [a for a in arguments if a.arg not in ("self", "cls") and not is_flag(a)]
        assert len(given) <= 5, function.name


def is_flag(argument: ast.arg) -> bool:
    """Whether it is an option of the command line, which typer reads by its name."""
    said = "" if argument.annotation is None else ast.unparse(argument.annotation)
    return said.startswith("options.") or "typer." in said
