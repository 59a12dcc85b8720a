# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/architecture.md names existing files, folders and functions, and finds each function in the named file."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
PROVISION = "plugins/module_utils/_provision/"

SPAN = r"`[^`\n]+`"
SPANS = rf"{SPAN}(?:(?:, | and |, and ){SPAN})*"
FILE = r"`[^`\s]+\.py`"
OF_ANSIBLE = {"hostvars.raw_get", "meta.end_play"}
"""Names with a dot that belong to Ansible, not to the collection."""


@cache
def paths() -> frozenset[str]:
    """The files and folders of the collection; folders end with a slash."""
    found = {"noxfile.py"}
    for folder in ("plugins", "roles", "playbooks", "tests", "docs", "meta"):
        for path in (ROOT / folder).rglob("*"):
            if "__pycache__" not in path.parts:
                found.add(f"{path.relative_to(ROOT).as_posix()}{'/' if path.is_dir() else ''}")
        found.add(f"{folder}/")
    return frozenset(found)


@cache
def matching(name: str) -> list[str]:
    """The paths that end with this name. A word in angle brackets or a star matches any name."""
    pattern = re.sub(r"<\w+>|\\\*", "[^/]*", re.escape(name))
    return sorted(path for path in paths() if re.search(f"(^|/){pattern}$", path))


def code(text: str) -> list[str]:
    """The contents of a text's code spans."""
    return [span.strip("`") for span in re.findall(SPAN, text)]


def is_path(span: str) -> bool:
    return re.fullmatch(r"[\w./<>*-]*\w[\w.<>*-]*(\.(py|yml)|/)|_\*\.py", span) is not None


@cache
def definitions(path: str) -> dict[str, frozenset[str]]:
    """The top-level names of a Python file, each with its members if it is a class."""
    tree = ast.parse((ROOT / path).read_text())
    return {name: frozenset(members) for node in tree.body for name, members in names_of(node)}


def names_of(node: ast.stmt) -> Iterator[tuple[str, list[str]]]:
    """The names that a statement defines, each with its members if it is a class."""
    if isinstance(node, ast.ClassDef):
        yield node.name, [name for inner in node.body for name, _members in names_of(inner)]
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        yield node.name, []
    elif isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from ((name.id, []) for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))


def is_defined(symbol: str, path: str) -> bool:
    """Whether a file defines a function, class, constant or method, or a member of one of its classes."""
    name, _dot, member = symbol.partition(".")
    names = definitions(path)
    return (
        member in names[name] if member and name in names else symbol in {*names, *frozenset().union(*names.values())}
    )


def pairs(page: str) -> Iterator[tuple[str, str]]:
    """The page's symbols, each with the files said to define it.

    The page writes a file, a colon and symbols; or symbols, "in" or "of", and files.
    """
    for file, symbols in re.findall(rf"({FILE}): ({SPANS})", page):
        yield from ((symbol, file) for symbol in code(symbols) if not is_path(symbol))
    for symbols, files in re.findall(rf"({SPANS})\s+(?:in|of)\s+({FILE}(?:(?:, | and ){FILE})*)", page):
        yield from ((symbol, files) for symbol in code(symbols) if re.fullmatch(r"[\w.]+", symbol))


def misplaced(page: str) -> list[str]:
    """The symbols that are in none of the files that the page names for them."""
    return [
        f"{symbol}: {files}"
        for symbol, files in pairs(page)
        if not any(is_defined(symbol, path) for file in code(files) for path in matching(file))
    ]


def unresolved(page: str) -> list[str]:
    """The names such as ``module.function`` or ``Class.member`` that do not exist in the plugins."""
    dotted = {span for span in code(page) if re.fullmatch(r"\w+\.\w+", span) and not is_path(span)} - OF_ANSIBLE
    return sorted(span for span in dotted if not is_member(*span.split(".")))


def is_member(owner: str, name: str) -> bool:
    """Whether a module or a class of the plugins has the name."""
    files = [path for path in paths() if path.startswith("plugins/") and path.endswith(".py")]
    return any(
        name in definitions(path) if PurePosixPath(path).stem == owner else name in definitions(path).get(owner, ())
        for path in files
    )


def test_paths_exist() -> None:
    named = {span for span in code(PAGE) if is_path(span)}
    assert len(named) > 150
    assert not [name for name in sorted(named) if not matching(name)]


def test_symbols_are_in_the_files_named_with_them() -> None:
    assert len(list(pairs(PAGE))) > 35
    assert not misplaced(PAGE)


def test_dotted_names_exist() -> None:
    assert not unresolved(PAGE)


def section(title: str) -> list[list[str]]:
    """The rows of the tables below a heading, as cells."""
    text = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]


def test_files_of_rules_are_listed_once_each() -> None:
    rows = section("The files of `_provision/`")
    listed = [name for first, text in rows for name in code(first)]
    listed += [name for _first, text in rows for name in code(text) if name.endswith(".py") and "<" not in name]
    files = {PurePosixPath(path).name for path in paths() if path.startswith(PROVISION)} - {"__init__.py", ""}
    assert sorted(set(listed)) == sorted(files - {"_provision"})
    first = [name for cells in rows for name in code(cells[0])]
    assert len(first) == len(set(first))


@pytest.mark.parametrize("cells", section("Rooms"), ids=lambda cells: cells[0].strip())
def test_room_has_the_files_in_its_row(cells: list[str]) -> None:
    folders = [path for name in code(cells[0]) for path in matching(name)]
    names = [name for name in code(cells[1]) if is_path(name) and not name.startswith("test_")]
    assert folders
    assert not [name for name in names if not any(path.startswith(tuple(folders)) for path in matching(name))]


def test_files_of_rooms_are_named() -> None:
    """Except files of operations: they are named after their modules and steps."""
    named = {PurePosixPath(span).name for span in code(PAGE) if is_path(span)}
    rooms = ("plugins/module_utils/", "plugins/plugin_utils/")
    files = {PurePosixPath(path) for path in paths() if path.startswith(rooms) and path.endswith(".py")}
    assert not [
        path for path in files if path.parent.name != "_operations" and path.name not in {*named, "__init__.py"}
    ]


def test_root_has_the_files_that_the_page_counts() -> None:
    sentence = PAGE.partition("files of plain rules stand at the root")
    number = sentence[0].rsplit(maxsplit=1)[-1]
    names = [name for name in code(sentence[2].partition("\n\n")[0]) if name.endswith(".py")]
    files = [path.name for path in (ROOT / "plugins" / "module_utils").glob("_*.py") if path.name != "__init__.py"]
    assert sorted(names) == sorted(files)
    numbers = ("Four", "Five", "Six", "Seven", "Eight")
    assert number == numbers[len(files) - 4]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("`_provision/holdings.py`: `what_is_held`, `no_such_rule`", ["no_such_rule: `_provision/holdings.py`"]),
        ("`no_such_rule` in `standing.py` and `ending.py`", ["no_such_rule: `standing.py` and `ending.py`"]),
        ("`owners`, `proof` in `_provision/ownership.py`", []),
        ("the table `STEPS` of\n`action/decide.py`", []),
        ("`decisive` in `gone.py`", ["decisive: `gone.py`"]),
        ("`_provision/holdings.py`: `Holdings.no_such_field`", ["Holdings.no_such_field: `_provision/holdings.py`"]),
    ],
)
def test_misplaced_finds_symbols_in_other_files(text: str, wrong: list[str]) -> None:
    assert misplaced(text) == wrong


def test_unresolved_finds_unknown_members() -> None:
    page = "`holdings.what_is_held`, `holdings.nothing`, `Terms.nothing`, `nowhere.nothing`, `holdings.py`"
    assert unresolved(page) == ["Terms.nothing", "holdings.nothing", "nowhere.nothing"]
    assert matching("_provision/nowhere.py") == [] and matching("_provision/") != []


def test_each_file_of_rules_has_a_test_file() -> None:
    """The page says so below its list."""
    tests = {PurePosixPath(path).name for path in matching("tests/unit/plugins/module_utils/provision/test_*.py")}
    rules = {PurePosixPath(path).name for path in matching(f"{PROVISION}*.py")} - {"__init__.py"}
    assert rules and not {f"test_{name}" for name in rules} - tests
