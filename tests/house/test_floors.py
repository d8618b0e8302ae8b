"""The house's laws, read from the syntax tree: floors, Ray and torch in their rooms, and how large a thing may be."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "lepton_ray"
FILES = sorted(ROOT.rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef
FLOORS = [
    "errors", "money", "table", "datasets", "features", "training", "models", "search", "federated", "bundle",
    "serving", "monitoring", "report", "spec", "on_host", "on_ray", "pipeline", "runs", "estimators", "verbs",
    "cli",
]  # fmt: skip
TORCH_ROOMS = {"training", "models", "bundle", "on_host", "on_ray"}


def room_of(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


@cache
def text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(text(file))


@cache
def nodes(file: Path) -> tuple[ast.Import | ast.ImportFrom | ast.Attribute | Function, ...]:
    """Those that a law looks at."""
    kinds = (ast.Import, ast.ImportFrom, ast.Attribute, ast.FunctionDef, ast.AsyncFunctionDef)
    found, left = [], [tree(file)]
    while left:  # as ast.walk, in half of its time
        node = left.pop()
        if isinstance(node, kinds):
            found.append(node)
        for value in vars(node).values():
            left += [one for one in (value if isinstance(value, list) else (value,)) if isinstance(one, ast.AST)]
    return tuple(found)


def imports(file: Path) -> Iterator[tuple[str, int]]:
    """Every imported module of a file as (dotted name, level)."""
    for node in nodes(file):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module == "lepton_ray" and node.level == 0:
                yield from ((f"lepton_ray.{alias.name}", 0) for alias in node.names)
            else:
                yield node.module or "", node.level


def broken_laws(file: Path) -> list[str]:
    room, found = room_of(file), []
    doors = {"__init__", "__main__"}
    if room not in FLOORS and room not in doors:
        return [f"{room} is no floor"]
    for name, level in imports(file):
        head, *rest = name.split(".")
        if level:
            found.append(f"relative import of {name}")
        if head == "ray" and room != "on_ray":
            found.append("Ray outside on_ray/")
        if head == "torch" and room not in TORCH_ROOMS:
            found.append("torch outside its rooms")
        inner = head == "lepton_ray" and rest and not rest[0].startswith("__") and room not in doors
        if inner and FLOORS.index(rest[0]) > FLOORS.index(room):
            found.append(f"{room} imports {rest[0]}, which lies above it")
        if room == "money" and head not in sys.stdlib_module_names and head != "lepton_ray":
            found.append(f"money imports {head}")
    return found


def test_every_file_keeps_the_laws() -> None:
    found = {str(file.relative_to(ROOT)): broken_laws(file) for file in FILES}
    assert {file: told for file, told in found.items() if told} == {}


def test_the_law_is_seen_when_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "money").mkdir()
    planted = tmp_path / "money" / "planted.py"
    planted.write_text("import ray\nimport numpy\nfrom lepton_ray.search import desk\nfrom . import dollars\n")
    assert len(broken_laws(planted)) == 6


def test_inner_doors_hold_a_docstring_only() -> None:
    doors = {file: tree(file).body for file in FILES if file.name == "__init__.py" and file.parent != ROOT}
    assert [file for file, body in doors.items() if len(body) != 1 or not isinstance(body[0], ast.Expr)] == []


def test_the_root_loads_nothing_heavy() -> None:
    code = "import sys, lepton_ray; print([m for m in ('ray', 'torch', 'numpy', 'pandas') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_nothing_loads_onnx_before_it_is_written() -> None:
    early = [
        str(file.relative_to(ROOT))
        for file in FILES
        for node in tree(file).body
        if isinstance(node, ast.Import | ast.ImportFrom) and "onnx" in head_of(node)
    ]
    assert early == []


def head_of(node: ast.Import | ast.ImportFrom) -> set[str]:
    """The packages that it imports."""
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    return {name.partition(".")[0] for name in names}


def test_the_environment_is_read_in_one_place() -> None:
    readers = {
        str(file.relative_to(ROOT))
        for file in FILES
        for node in nodes(file)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    }
    allowed = {
        "spec.py",
        "on_ray/session.py",
        "on_host/supervisor.py",
        "on_host/processes.py",
        "on_host/worker_client.py",
    }
    assert readers <= allowed  # the session writes what Ray needs; the host floor hands it on to children


def body_lines(function: Function) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return 0 if not body else (body[-1].end_lineno or 0) - body[0].lineno + 1


def too_large(file: Path) -> list[str]:
    """What of a file is larger than it may be."""
    found = []
    if len(text(file).splitlines()) > 400:
        found.append("more than 400 lines")
    if not ast.get_docstring(tree(file)):
        found.append("no docstring says what it is")
    for function in (node for node in nodes(file) if isinstance(node, Function)):
        arguments = (*function.args.posonlyargs, *function.args.args)
        given = [a for a in arguments if a.arg not in ("self", "cls") and not is_flag(a)]
        if body_lines(function) > 60:
            found.append(f"{function.name} has more than 60 lines")
        if len(given) > 5:
            found.append(f"{function.name} takes more than 5 positional parameters")
    return found


def test_every_file_keeps_its_size() -> None:
    found = {str(file.relative_to(ROOT)): too_large(file) for file in FILES}
    assert {file: told for file, told in found.items() if told} == {}


def test_what_is_too_large_is_seen(tmp_path: Path) -> None:
    long = tmp_path / "long.py"
    long.write_text("def long(a, b, c, d, e, f):\n" + "    a += 1\n" * 61 + "\n" * 400)
    assert len(too_large(long)) == 4


def is_flag(argument: ast.arg) -> bool:
    """Whether it is an option of the command line, which typer reads by its name."""
    said = "" if argument.annotation is None else ast.unparse(argument.annotation)
    return said.startswith("options.") or "typer." in said
