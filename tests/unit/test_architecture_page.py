# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of the architecture names files, functions and folders that exist, each where it says that it is."""

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
ELSEWHERE = {"hostvars.raw_get", "meta.end_play"}
"""Of Ansible, not of the collection."""


@cache
def paths() -> frozenset[str]:
    """All files of the collection, and their folders, which end with a slash."""
    found = {"noxfile.py"}
    for folder in ("plugins", "roles", "playbooks", "tests", "docs", "meta"):
        for path in (ROOT / folder).rglob("*"):
            if "__pycache__" not in path.parts:
                found.add(f"{path.relative_to(ROOT).as_posix()}{'/' if path.is_dir() else ''}")
        found.add(f"{folder}/")
    return frozenset(found)


@cache
def matching(name: str) -> list[str]:
    """The paths that end with this one. A name in angle brackets, or a star, stands for any."""
    pattern = re.sub(r"<\w+>|\\\*", "[^/]*", re.escape(name))
    return sorted(path for path in paths() if re.search(f"(^|/){pattern}$", path))


def code(text: str) -> list[str]:
    """What stands in code spans."""
    return [span.strip("`") for span in re.findall(SPAN, text)]


def is_path(span: str) -> bool:
    return re.fullmatch(r"[\w./<>*-]*\w[\w.<>*-]*(\.(py|yml)|/)|_\*\.py", span) is not None


@cache
def defined(path: str) -> dict[str, frozenset[str]]:
    """What a file of Python defines at its top, each with the members of a class."""
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
    names = defined(path)
    return (
        member in names[name] if member and name in names else symbol in {*names, *frozenset().union(*names.values())}
    )


def pairs(page: str) -> Iterator[tuple[str, str]]:
    """Symbols, each with the files that it is in: a file, a colon and symbols; or symbols, "in" or "of", and files."""
    for file, symbols in re.findall(rf"({FILE}): ({SPANS})", page):
        yield from ((symbol, file) for symbol in code(symbols) if not is_path(symbol))
    for symbols, files in re.findall(rf"({SPANS})\s+(?:in|of)\s+({FILE}(?:(?:, | and ){FILE})*)", page):
        yield from ((symbol, files) for symbol in code(symbols) if re.fullmatch(r"[\w.]+", symbol))


def misplaced(page: str) -> list[str]:
    """The symbols that no file has that the page names beside them."""
    return [
        f"{symbol}: {files}"
        for symbol, files in pairs(page)
        if not any(is_defined(symbol, path) for file in code(files) for path in matching(file))
    ]


def unresolved(page: str) -> list[str]:
    """The names with a dot, as ``module.function`` or ``Class.member``, that nothing in the plugins has."""
    dotted = {span for span in code(page) if re.fullmatch(r"\w+\.\w+", span) and not is_path(span)} - ELSEWHERE
    return sorted(span for span in dotted if not is_member(*span.split(".")))


def is_member(owner: str, name: str) -> bool:
    """Whether a module or a class of the plugins has the name."""
    files = [path for path in paths() if path.startswith("plugins/") and path.endswith(".py")]
    return any(
        name in defined(path) if PurePosixPath(path).stem == owner else name in defined(path).get(owner, ())
        for path in files
    )


def test_each_path_exists() -> None:
    named = {span for span in code(PAGE) if is_path(span)}
    assert len(named) > 150
    assert not [name for name in sorted(named) if not matching(name)]


def test_each_symbol_is_in_its_file() -> None:
    assert len(list(pairs(PAGE))) > 35
    assert not misplaced(PAGE)


def test_each_name_with_a_dot_exists() -> None:
    assert not unresolved(PAGE)


def section(title: str) -> list[list[str]]:
    """The rows of the tables below a heading, as cells."""
    text = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]


def test_the_rules_are_listed_once_each() -> None:
    """All files of the rules, and no others, each in one row of the table."""
    rows = section("The files of `_provision/`")
    listed = [name for first, text in rows for name in code(first)]
    listed += [name for _first, text in rows for name in code(text) if name.endswith(".py") and "<" not in name]
    files = {PurePosixPath(path).name for path in paths() if path.startswith(PROVISION)} - {"__init__.py", ""}
    assert sorted(set(listed)) == sorted(files - {"_provision"})
    first = [name for cells in rows for name in code(cells[0])]
    assert len(first) == len(set(first))


@pytest.mark.parametrize("cells", section("Rooms"), ids=lambda cells: cells[0].strip())
def test_a_room_has_the_files_that_its_row_names(cells: list[str]) -> None:
    folders = [path for name in code(cells[0]) for path in matching(name)]
    names = [name for name in code(cells[1]) if is_path(name) and not name.startswith("test_")]
    assert folders
    assert not [name for name in names if not any(path.startswith(tuple(folders)) for path in matching(name))]


def test_each_file_of_a_room_is_named() -> None:
    """Those of the operations are called like the modules and steps that they are for."""
    named = {PurePosixPath(span).name for span in code(PAGE) if is_path(span)}
    rooms = ("plugins/module_utils/", "plugins/plugin_utils/")
    files = {PurePosixPath(path) for path in paths() if path.startswith(rooms) and path.endswith(".py")}
    assert not [
        path for path in files if path.parent.name != "_operations" and path.name not in {*named, "__init__.py"}
    ]


def test_the_root_has_the_files_that_the_page_counts() -> None:
    """In words, such as nine."""
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
def test_a_symbol_elsewhere_is_an_error(text: str, wrong: list[str]) -> None:
    assert misplaced(text) == wrong


def test_a_module_or_a_class_without_the_name_is_an_error() -> None:
    page = "`holdings.what_is_held`, `holdings.nothing`, `Terms.nothing`, `nowhere.nothing`, `holdings.py`"
    assert unresolved(page) == ["Terms.nothing", "holdings.nothing", "nowhere.nothing"]
    assert matching("_provision/nowhere.py") == [] and matching("_provision/") != []


def test_each_rule_has_a_table_of_its_own() -> None:
    """As the page says below its list."""
    tests = {PurePosixPath(path).name for path in matching("tests/unit/plugins/module_utils/provision/test_*.py")}
    rules = {PurePosixPath(path).name for path in matching(f"{PROVISION}*.py")} - {"__init__.py"}
    assert rules and not {f"test_{name}" for name in rules} - tests
