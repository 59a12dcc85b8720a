# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count the cases of the guarantees' tests in CONTRIBUTING.md; with ``--check``, check that it claims no more.

A new test makes no claim of the page false, so it does not fail a change.

Run ``python tests/tools/count_guarantees.py``. In the table a cell names tests: a file in backticks and, in brackets,
parts of its tests' names, for example ```test_owners.py` (`one_host`)``. A name in capitals is a table of the file,
whose rows are hosts of one play, each of them a case. The tests are collected by pytest, not run. A folder whose tests
this environment cannot collect, for want of a library, keeps its numbers; names that match no test are errors in any
case.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "CONTRIBUTING.md"
BEGIN, END = "<!-- cases: begin -->", "<!-- cases: end -->"
REFERENCE = re.compile(r"`((?:[\w/]+/)?test_\w+\.py)`(?: \(((?:`\w+`(?:, )?)+)\))?")


class Wrong(Exception):
    """The page names what there is not."""


def rows(page: str) -> Iterator[tuple[str, list[tuple[Path, list[str]]]]]:
    """The lines of the table, each with the files and names in its column of tests."""
    table = page.split(BEGIN)[1].split(END)[0]
    for line in table.strip().splitlines()[2:]:
        tests = line.split("|")[3]
        found = [(file_of(name), re.findall(r"`(\w+)`", names)) for name, names in REFERENCE.findall(tests)]
        if not found:
            raise Wrong(f"no tests are named in: {line}")
        yield line, found


def file_of(name: str) -> Path:
    """The only test file whose path ends so."""
    found = [path for path in (ROOT / "tests").rglob(Path(name).name) if path.as_posix().endswith(f"/{name}")]
    if len(found) != 1:
        raise Wrong(f"{name} is {len(found)} files")
    return found[0]


def suite_of(file: Path) -> str:
    """The folder of tests that have a conftest in common."""
    return file.relative_to(ROOT / "tests").parts[0]


def check_names(file: Path, names: list[str]) -> None:
    """Each name must be a part of a test's name, or a table of the file. Needs no libraries."""
    tree = ast.parse(file.read_text())
    tests = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name[:5] == "test_"]
    targets = [each for node in tree.body if isinstance(node, ast.Assign) for each in node.targets]
    targets += [node.target for node in tree.body if isinstance(node, ast.AnnAssign)]
    tables = {target.id for target in targets if isinstance(target, ast.Name)}
    for name in names:
        if not (name in tables if name.isupper() else any(name in test for test in tests)):
            raise Wrong(f"{file.relative_to(ROOT)} has no {name}")


def checked(page: str) -> list[tuple[str, list[tuple[Path, list[str]]]]]:
    """The lines of the table whose names all mean something. Raises Wrong."""
    table = list(rows(page))
    for _line, named in table:
        for file, names in named:
            check_names(file, names)
    return table


def collect(files: list[Path]) -> dict[str, Any] | None:
    """How many items each test of the files has, and how many rows each table; None if that cannot be told here."""
    # What makes a run longer must not make other numbers.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SUPPLY_TEST_")}
    words = [sys.executable, __file__, "--collect", *map(str, files)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    answer: dict[str, Any] | None = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None
    return answer


def collect_here(files: list[str]) -> int:
    """The same in this process, which a suite of its own needs: all of them have modules called conftest."""
    import pytest

    class Collector:
        found: dict[str, dict[str, dict[str, int]]] = {}

        def pytest_collection_modifyitems(self, items: list[Any]) -> None:
            for item in items:
                tables = {name: len(each) for name, each in vars(item.module).items() if name.isupper() and sized(each)}
                known = self.found.setdefault(str(item.path), {"tests": {}, "tables": tables})["tests"]
                known[item.originalname] = known.get(item.originalname, 0) + 1

    collector = Collector()
    code = pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", *files], plugins=[collector])
    print("\n" + json.dumps(collector.found))
    return int(code)


def sized(value: object) -> bool:
    """Whether it is a table."""
    return isinstance(value, (dict, list, tuple))


def count(file: Path, names: list[str], found: dict[str, Any]) -> int:
    """The cases of these tests of the file; of all of them if none is named."""
    known: dict[str, dict[str, int]] = found[str(file)]
    words = [name for name in names if not name.isupper()]
    rows = sum(known["tables"][name] for name in names if name.isupper())
    tests = [number for test, number in known["tests"].items() if not words or any(word in test for word in words)]
    # A table is what one of the tests that are named works on, host by host.
    return sum(tests) + (rows - 1 if rows else 0)


def counted(page: str) -> str:
    """The page with its cases as they are. Raises Wrong."""
    table = checked(page)
    files: dict[str, set[Path]] = defaultdict(set)
    for _line, named in table:
        for file, _names in named:
            files[suite_of(file)].add(file)
    with ThreadPoolExecutor() as pool:
        found = dict(zip(files, pool.map(lambda suite: collect(sorted(files[suite])), files), strict=True))
    for suite, answer in found.items():
        if answer is None:
            print(f"tests/{suite} cannot be collected here; its cases stay as they are.", file=sys.stderr)
    for line, named in table:
        answers = [found[suite_of(file)] for file, _names in named]
        cases = sum(count(file, names, answer) for (file, names), answer in zip(named, answers, strict=True) if answer)
        if None not in answers:
            page = page.replace(line, re.sub(r"\|[^|]*\|$", f"| {cases} |", line))
    return page


def claims_too_much(page: str, counted_page: str) -> list[str]:
    """The guarantees of the page with more cases than there are."""
    cases = [[int(line.split("|")[4]) for line, _named in rows(each)] for each in (page, counted_page)]
    return [
        line.split("|")[2].strip()
        for (line, _named), claimed, true in zip(rows(page), *cases, strict=True)
        if claimed > true
    ]


def main(*arguments: str) -> int:
    """The program."""
    if arguments[:1] == ("--collect",):
        return collect_here(list(arguments[1:]))
    before = PAGE.read_text()
    try:
        after = counted(before)
    except Wrong as error:
        print(f"{PAGE.relative_to(ROOT)}: {error}", file=sys.stderr)
        return 1
    if "--check" not in arguments:
        PAGE.write_text(after)
        return 0
    if tried := claims_too_much(before, after):
        print(f"{PAGE.relative_to(ROOT)} claims too many cases: {'; '.join(tried)}", file=sys.stderr)
        print("Count them: python tests/tools/count_guarantees.py", file=sys.stderr)
    return int(bool(tried))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
