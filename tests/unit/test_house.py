# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What roles and playbooks may decide, and how large they may be. ``python tests/unit/test_house.py`` prints it all.

Decisions about money are Python. What is counted here is what is left of them in Jinja.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from jinja2 import nodes

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(folder.name for folder in ROOT.glob("roles/*/"))

SETUP = "playbooks/awx_setup.yml"
DECISIONS = {"provision": 60, "decommission": 15, "playbooks": 40, SETUP: 45}
"""Of all YAML of a role, and of all playbooks but the set-up of AWX. Templates of user data are counted apart."""
TASK_FILES = 15
"""Of a role."""
LINES = 90
"""Of the longest file of a role's tasks, variables, defaults and handlers."""
COLUMNS = 80
"""Of the line in which Ansible prints the name of a role's task, with three stars behind it."""
SHARED_NAMES = 0
"""Private names that more than one file assigns."""
SHADOWED_NAMES = 0
"""Variables of a task that have the name of a fact or a result."""

BARE = {"when", "until", "failed_when", "changed_when", "that"}
"""Keys whose values are expressions without braces."""
CHOOSING = {"select", "reject", "selectattr", "rejectattr"}
DECIDING = (nodes.And, nodes.Or, nodes.Not, nodes.Operand, nodes.Test, nodes.CondExpr, nodes.If)


class Loader(yaml.SafeLoader):
    """Takes a value with a tag of Ansible's, such as ``!unsafe``, for a text."""


Loader.add_multi_constructor("!", lambda _loader, _tag, node: str(node.value))


@dataclass(frozen=True)
class Measure:
    """A number, what it may be at most, and what it is the sum of."""

    what: str
    found: int
    limit: int | None
    parts: tuple[str, ...] = ()

    def __str__(self) -> str:
        limit = "" if self.limit is None else f"; at most {self.limit}"
        return "\n  ".join((f"{self.what}: {self.found}{limit}", *self.parts))


@cache
def load(path: Path) -> Any:
    """The content of a YAML file."""
    return yaml.load(path.read_text(), Loader)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def yaml_files(place: str) -> list[Path]:
    """All YAML of a role, or of the playbooks."""
    if place == SETUP:
        return [ROOT / SETUP]
    folder = ROOT / place if place == "playbooks" else ROOT / "roles" / place
    return sorted(path for path in folder.rglob("*.yml") if path != ROOT / SETUP)


def all_files() -> list[Path]:
    """All YAML that is counted."""
    return [path for place in (*ROLES, "playbooks", SETUP) for path in yaml_files(place)]


def templates_in(value: Any, bare: bool = False) -> Iterator[str]:
    """All texts in a value that Ansible evaluates; those that are expressions get their braces."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from templates_in(key)
            yield from templates_in(each, key in BARE)
    elif isinstance(value, list):
        for each in value:
            yield from templates_in(each, bare)
    elif isinstance(value, str) and (bare or "{{" in value or "{%" in value):
        yield "{{ " + value + " }}" if bare and "{{" not in value else value


def decisions(template: str) -> int:
    """How often a template decides: if, elif, and, or, not, comparisons, tests, and filters that choose."""
    tree = jinja2.Environment().parse(template)
    chosen = sum(each.name in CHOOSING for each in tree.find_all(nodes.Filter))
    loops = sum(each.test is not None for each in tree.find_all(nodes.For))
    return chosen + loops + sum(1 for _each in tree.find_all(DECIDING))


def tasks_in(value: Any) -> Iterator[dict[str, Any]]:
    """All tasks, blocks and plays in a file's content."""
    for each in value if isinstance(value, list) else ():
        if isinstance(each, dict):
            yield each
            for key in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks", "handlers"):
                yield from tasks_in(each.get(key))


def assigned(task: dict[str, Any]) -> set[str]:
    """The names that a task assigns for good: its facts and its result."""
    facts = task.get("ansible.builtin.set_fact")
    names = set(facts) - {"cacheable"} if isinstance(facts, dict) else set()
    return names | ({task["register"]} if "register" in task else set())


@cache
def assignments() -> dict[str, list[Path]]:
    """Which files assign a name."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in all_files():
        for name in sorted({name for task in tasks_in(load(path)) for name in assigned(task)}):
            found[name].append(path)
    return found


def measure_decisions(place: str) -> Measure:
    counts = Counter({name_of(path): sum(map(decisions, templates_in(load(path)))) for path in yaml_files(place)})
    parts = tuple(f"{count:4} {name}" for name, count in counts.most_common() if count)
    return Measure(f"decisions of {place}", counts.total(), DECISIONS[place], parts)


def measure_templates(role: str) -> Measure:
    counts = {name_of(path): decisions(path.read_text()) for path in sorted(ROOT.glob(f"roles/{role}/templates/*"))}
    parts = tuple(f"{count:4} {name}" for name, count in counts.items())
    return Measure(f"decisions of {role}'s templates of user data", sum(counts.values()), None, parts)


def measure_task_files(role: str) -> Measure:
    files = sorted(ROOT.glob(f"roles/{role}/tasks/**/*.yml"))
    return Measure(f"task files of {role}", len(files), TASK_FILES, (", ".join(path.stem for path in files),))


def measure_lines(role: str) -> Measure:
    kinds = ("tasks", "vars", "defaults", "handlers")
    files = [path for kind in kinds for path in ROOT.glob(f"roles/{role}/{kind}/**/*.yml")]
    counts = Counter({name_of(path): len(path.read_text().splitlines()) for path in files})
    parts = tuple(f"{count:4} {name}" for name, count in counts.most_common() if count > LINES)
    return Measure(f"lines of {role}'s longest file", max(counts.values()), LINES, parts)


def measure_columns(role: str) -> Measure:
    """A block has no line."""
    tasks = [task for path in ROOT.glob(f"roles/{role}/tasks/**/*.yml") for task in tasks_in(load(path))]
    lines = [f"TASK [compute_index.supply.{role} : {task['name']}] ***" for task in tasks if "block" not in task]
    widest = max(lines, key=len)
    return Measure(f"columns of {role}'s longest task name", len(widest), COLUMNS, (widest,))


def measure_shared_names() -> Measure:
    parts = tuple(
        f"{name}: {', '.join(map(name_of, paths))}"
        for name, paths in sorted(assignments().items())
        if "__" in name and len(paths) > 1
    )
    return Measure("private names that several files assign", len(parts), SHARED_NAMES, parts)


def measure_shadowed_names() -> Measure:
    parts = tuple(
        f"{name}: {name_of(path)}"
        for path in all_files()
        for task in tasks_in(load(path))
        for name in task.get("vars") or {}
        if name in assignments()
    )
    return Measure("variables of tasks called as a fact or a result is", len(parts), SHADOWED_NAMES, parts)


def check(measure: Measure) -> None:
    if measure.limit is not None and measure.found > measure.limit:
        pytest.fail(str(measure), pytrace=False)


@pytest.mark.parametrize(
    ("template", "count"),
    [
        ("{{ a | default(b, true) }}", 0),
        ("{{ a if b else c }}", 1),
        ("{{ a and b or not c }}", 3),
        ("{{ 1 < a <= 2 }} {{ a not in b }}", 3),
        ("{{ a is defined }} {{ a is not defined }}", 3),
        ("{{ a | selectattr('b') | reject('in', c) | map(attribute='d') }}", 2),
        ("{% if a %}{% elif b %}{% else %}{% endif %}", 2),
        ("{% for a in b if c %}{% endfor %}", 1),
    ],
)
def test_what_is_a_decision(template: str, count: int) -> None:
    assert decisions(template) == count


def test_expressions_without_braces_are_templates() -> None:
    task = {"name": "not a decision", "when": ["a and b", True], "vars": {"c": "{{ d }}"}, "assert": {"that": "e"}}
    assert list(templates_in(task)) == ["{{ a and b }}", "{{ d }}", "{{ e }}"]


@pytest.mark.parametrize("place", [*ROLES, "playbooks", SETUP])
def test_decisions(place: str) -> None:
    check(measure_decisions(place))


@pytest.mark.parametrize("role", ROLES)
def test_task_files(role: str) -> None:
    check(measure_task_files(role))


@pytest.mark.parametrize("role", ROLES)
def test_longest_file(role: str) -> None:
    check(measure_lines(role))


@pytest.mark.parametrize("role", ROLES)
def test_a_task_name_fits_into_a_line(role: str) -> None:
    check(measure_columns(role))


def test_a_private_name_is_assigned_in_one_file() -> None:
    check(measure_shared_names())


def test_no_variable_of_a_task_is_called_as_a_fact() -> None:
    check(measure_shadowed_names())


def imports_of(path: Path) -> Iterator[str]:
    """What a file imports, as it is written there: relative names with their dots."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            module = f"{'.' * node.level}{node.module or ''}"
            yield from (f"{module}{'' if module.endswith('.') else '.'}{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def test_the_rules_know_neither_registries_nor_operations() -> None:
    """Arrows point one way: what reads and writes imports what decides."""
    files = sorted(ROOT.glob("plugins/module_utils/_provision/*.py"))
    lower = [(name_of(path), name) for path in files for name in imports_of(path)]
    assert lower and not [each for each in lower if "_registry." in each[1] or "_operations." in each[1]]
    registry = sorted(ROOT.glob("plugins/module_utils/_registry/*.py"))
    assert not [name_of(path) for path in registry for name in imports_of(path) if "_operations." in name]


OPERATIONS = 800
"""Decisions in the Python of `_operations`, which ask, call a rule and write."""


def python_decisions(path: Path) -> int:
    """How often a file decides: if, while, conditions of comprehensions, comparisons, and, or, not, and match cases."""
    count = 0
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.If, ast.IfExp, ast.While)):
            count += 1
        elif isinstance(node, ast.comprehension):
            count += len(node.ifs)
        elif isinstance(node, ast.Compare):
            count += len(node.ops)
        elif isinstance(node, ast.BoolOp):
            count += len(node.values) - 1
        elif isinstance(node, ast.UnaryOp):
            count += isinstance(node.op, ast.Not)
        elif isinstance(node, ast.Match):
            count += len(node.cases)
    return count


def measure_operations() -> Measure:
    files = sorted(ROOT.glob("plugins/module_utils/_operations/*.py"))
    counts = Counter({name_of(path): python_decisions(path) for path in files})
    parts = tuple(f"{count:4} {name}" for name, count in counts.most_common() if count)
    return Measure("decisions of _operations", counts.total(), OPERATIONS, parts)


def test_operations_hardly_decide() -> None:
    check(measure_operations())


def measures() -> Iterator[Measure]:
    """All of them."""
    yield measure_operations()
    yield from map(measure_decisions, [*ROLES, "playbooks", SETUP])
    yield from map(measure_templates, ROLES)
    yield from map(measure_task_files, ROLES)
    yield from map(measure_lines, ROLES)
    yield from map(measure_columns, ROLES)
    yield measure_shared_names()
    yield measure_shadowed_names()


if __name__ == "__main__":
    print(f"{'':52}{'found':>6}{'limit':>7}")
    for each in measures():
        print(f"{each.what:52}{each.found:6}{'' if each.limit is None else each.limit:>7}")
