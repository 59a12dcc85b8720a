# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What roles and playbooks may decide, and how large they may be. ``python tests/unit/test_house.py`` prints it all.

Decisions about money are Python. What is counted here is what is left of them in Jinja.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
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
DECISIONS = {"provision": 60, "decommission": 15, "playbooks": 20, SETUP: 45}
"""Of all YAML of a role, and of all playbooks but the set-up of AWX. Templates of user data are counted apart."""
TASK_FILES = 15
"""Of a role."""
LINES = 115
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


def test_no_time_limit_for_all_tasks_is_for_one_that_decides() -> None:
    """As by task_timeout in ansible.cfg: a sweep would end nothing, and what was extended or bought go untold."""
    tasks = [task for path in all_files() for task in tasks_in(load(path)) if "compute_index.supply.decide" in task]
    assert tasks and [task["name"] for task in tasks if "timeout" not in task] == []


def test_no_machine_of_a_run_ends_a_play_without_a_word() -> None:
    """No block rescues an unreachable host, so nothing would say what is billed; and a frozen machine never answers."""
    modules = ("compute_index.supply.run_info", "compute_index.supply.run_job")  # those of a run that are no action
    tasks = [task for path in yaml_files("playbooks") for task in tasks_in(load(path))]
    asks = [task for task in tasks if any(module in task for module in modules)]
    assert len(asks) >= 4 and not [task["name"] for task in asks if task.get("ignore_unreachable") is not True]
    assert not [task["name"] for task in asks if not task.get("timeout")]


def test_a_machine_that_freezes_while_it_is_tested_holds_up_no_play() -> None:
    """It lets no connection end, and the limit of a task makes a failure of that, whatever else is said of failures."""
    modules = ("compute_index.supply.gpu_acceptance", "ansible.builtin.async_status")
    tasks = [task for path in all_files() for task in tasks_in(load(path))]
    tests = [task for task in tasks if any(module in task for module in modules)]
    assert len(tests) >= 4 and not [task["name"] for task in tests if not task.get("timeout")]
    # What a user has written, and cannot be evaluated, is no reason to judge a machine.
    fails = [task["name"] for task in tests if task.get("ignore_errors") is not True]
    assert fails == ["Test the machine"]


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


OPERATIONS = 642
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


# Words that say nothing of what a thing is; the limit only falls. `known_hosts` is ssh's own term.
VAGUE = {"each", "found", "known", "own", "said", "seen", "told"}
MOST_VAGUE = 0.024  # of all names that the plugins bind


def bound(source: str) -> Iterator[str]:
    """The names that a source binds: variables, arguments, functions and classes."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name


def is_vague(name: str) -> bool:
    """Whether a name has one of these words in it."""
    words = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower().replace("known_hosts", "")
    return bool(VAGUE.intersection(words.split("_")))


def test_names_say_what_things_are() -> None:
    names = [name for file in (ROOT / "plugins").rglob("*.py") for name in bound(file.read_text())]
    vague = [name for name in names if is_vague(name)]
    assert len(vague) / len(names) <= MOST_VAGUE, Counter(vague).most_common(10)
    assert list(map(is_vague, ("each", "_known_ids", "NOT_FOUND", "SeenOffer", "known_hosts", "owner"))) == [
        *(True, True, True, True, False, False)
    ]


# Openings and phrases that make readers translate
OPENINGS = re.compile(r"(The same (of|as|by)|That of|Those|Whose|Whom|Of (the|a|an|what|these|those|all)) (?!.*\?)")
PHRASES = re.compile(
    r"\b(nobody|who(m)?ever|shall|beside|by itself|is said|(is|are) told(?! apart)|be there|the same of)\b|, too\b",
    re.IGNORECASE,
)


def prose(source: str) -> Iterator[str]:
    """The sentences of a source's docstrings, comments and texts of several words."""
    constants = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    texts = [value for value in constants if isinstance(value, str) and " " in value.strip()]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    texts += [token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT]
    for text in texts:
        yield from (part for part in map(str.strip, re.split(r"(?<=[.:;!?])\s+|\n\n", text)) if part)


def is_foreign(sentence: str) -> bool:
    """Whether a sentence is written as no technical writer would."""
    return bool(OPENINGS.match(sentence) or PHRASES.search(sentence))


def test_prose_is_plain_english() -> None:
    files = (ROOT / "plugins").rglob("*.py")
    foreign = {name_of(file): list(filter(is_foreign, prose(file.read_text()))) for file in files}
    assert foreign and not {name: sentences for name, sentences in foreign.items() if sentences}
    assert list(map(is_foreign, ("The same of a cluster.", "Nobody asks.", "It ends, too."))) == [True] * 3
    assert not any(map(is_foreign, ("Return the ids.", "Those?", "Machines are told apart by name.")))


def test_a_public_name_has_one_home() -> None:
    """Who searches for a function or a class of `module_utils` by its name finds one. Methods stand in their class."""
    homes: dict[str, list[str]] = defaultdict(list)
    for path in sorted(ROOT.glob("plugins/module_utils/**/*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                homes[node.name].append(name_of(path))
    assert homes
    assert not {name: files for name, files in homes.items() if len(files) > 1}


def test_operations_hardly_decide() -> None:
    check(measure_operations())


# What runs in a process of Ansible's leaves it, and what is private to Ansible, alone

CHANGES = {
    *(
        f"os.{name}"
        for name in ("chdir", "fchdir", "putenv", "unsetenv", "umask", "nice", "register_at_fork", "setpgid")
    ),
    *(
        f"signal.{name}"
        for name in ("signal", "alarm", "setitimer", "pthread_sigmask", "set_wakeup_fd", "siginterrupt")
    ),
    *(f"sys.{name}" for name in ("path", "meta_path", "path_hooks", "setrecursionlimit", "excepthook", "settrace")),
    *("atexit.register", "socket.setdefaulttimeout", "locale.setlocale", "resource.setrlimit", "random.seed"),
    *(
        "warnings.filterwarnings",
        "warnings.simplefilter",
        "logging.disable",
        "logging.basicConfig",
        "threading.excepthook",
    ),
}
"""What changes a process for all that runs in it, beside whatever the module gc has."""
OF_ENVIRONMENT = {"clear", "update", "pop", "popitem", "setdefault", "__setitem__", "__delitem__"}
PLUGIN_API = {
    *("_task", "_templar", "_loader", "_connection", "_supports_async", "_supports_check_mode"),
    *("_play_context", "_shared_loader_obj"),  # which a plugin hands on to another one that it runs
    *("_execute_module", "_low_level_execute_command", "_compute_environment_string"),
    *("_make_tmp_path", "_transfer_file", "_fixup_perms2"),
    *("_read_config_data", "_set_composite_vars", "_add_host_to_composed_groups", "_add_host_to_keyed_groups"),
    *("_compose", "_cache", "_vars"),
}
"""What plugins have of the classes that Ansible's guides tell them to extend, for themselves alone."""
OF_TUPLES = {"_replace", "_asdict", "_fields", "_make"}
ALLOWED = {
    "plugins/plugin_utils/_task.py: _in_child_process": ("_exit", "os.chdir", "os.environ.update"),
    "plugins/plugin_utils/_task.py: play_of": ("_parent", "_parent", "_play"),
}
"""Variables and folder of a process of our own, and the way from a task to its play. This list only gets shorter."""


class Uses(ast.NodeVisitor):
    """What the functions of a file change in the process, and which private things of others they use."""

    def __init__(self, source: str, ours: frozenset[str]) -> None:
        self.found: dict[str, list[str]] = defaultdict(list)
        self._ours, self._imported, self._functions = ours, dict[str, str](), list[str]()
        tree = ast.parse(source)
        self._own = names_of(tree)
        self.visit(tree)

    def _note(self, what: str) -> None:
        self.found[".".join(self._functions) or "at import"].append(what)

    def _dotted(self, node: ast.AST) -> str:
        """The full name of what is used, empty if it is no name of an import."""
        if isinstance(node, ast.Name):
            return self._imported.get(node.id, "")
        base = self._dotted(node.value) if isinstance(node, ast.Attribute) else ""
        return f"{base}.{node.attr}" if base and isinstance(node, ast.Attribute) else ""

    def _of_process(self, name: str) -> None:
        if name in CHANGES or name.partition(".")[0] == "gc":
            self._note(name)

    def _private(self, receiver: ast.AST, name: str) -> None:
        if not name.startswith("_") or name in OF_TUPLES or (name.startswith("__") and name != "__dict__"):
            return
        is_self = isinstance(receiver, ast.Name) and receiver.id in ("self", "cls")
        known = self._own | self._ours | PLUGIN_API if is_self else self._own
        if name not in known and "ansible_collections.compute_index" not in self._dotted(receiver):
            self._note(name)

    def _imports(self, node: ast.Import | ast.ImportFrom) -> None:
        module = "" if isinstance(node, ast.Import) else f"{'.' * node.level}{node.module or ''}."
        for each in node.names:
            full = f"{module}{each.name}"
            self._imported[each.asname or each.name.partition(".")[0]] = full if each.asname or module else each.name
            self._of_process(full)
            if re.match(r"ansible\..*\b_|ansible\._", full):
                self._note(full)

    visit_Import = visit_ImportFrom = _imports

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._functions.append(node.name)
        self.generic_visit(node)
        self._functions.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = _function

    def visit_Name(self, node: ast.Name) -> None:
        self._of_process(self._dotted(node))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = self._dotted(node)
        self._of_process(name)
        self._private(node.value, node.attr)
        if self._dotted(node.value) == "os.environ" and node.attr in OF_ENVIRONMENT:
            self._note(name)
        if isinstance(node.ctx, (ast.Store, ast.Del)) and self._dotted(node.value):
            self._note(f"{name} is set")
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.ctx, (ast.Store, ast.Del)) and self._dotted(node.value):
            self._note(f"{self._dotted(node.value)} is set")
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if full := self._dotted(node.value):  # another name of the same
            self._imported.update({each.id: full for each in node.targets if isinstance(each, ast.Name)})
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name) and self._dotted(node.target):
            self._note(f"{self._dotted(node.target)} is set")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func.id if isinstance(node.func, ast.Name) else ""
        if function in ("getattr", "setattr", "hasattr", "delattr") and isinstance(node.args[1], ast.Constant):
            receiver, name = node.args[0], str(node.args[1].value)
            self._private(receiver, name)
            self._of_process(f"{self._dotted(receiver)}.{name}")
            if function in ("setattr", "delattr") and self._dotted(receiver):
                self._note(f"{self._dotted(receiver)}.{name} is set")
        if function == "attrgetter" or self._dotted(node.func) in ("operator.attrgetter", "importlib.import_module"):
            for each in node.args:
                names = str(each.value).split(".") if isinstance(each, ast.Constant) else []
                self._of_process(names[0] if names else "")
                for name in names:
                    self._private(node.func, name)
        if self._dotted(node.func).startswith("ansible.plugins.loader.") and not self._functions:
            self._note(self._dotted(node.func))
        for each in node.keywords:
            if (each.arg or "").startswith("_"):
                self._note(f"{each.arg}=")
        self.generic_visit(node)


def names_of(tree: ast.AST) -> frozenset[str]:
    """The names that a file gives to functions, classes, variables and attributes of its own objects."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name):
            found |= {node.attr} if node.value.id == "self" else set()
    return frozenset(found)


@cache
def uses() -> dict[str, tuple[str, ...]]:
    """By file and function, what plugins change and use, and module utils, which run in the process of Ansible, too."""
    files = {path: path.read_text() for path in sorted(ROOT.glob("plugins/**/*.py"))}
    ours = frozenset[str]().union(*(names_of(ast.parse(source)) for source in files.values()))
    return {
        f"{name_of(path)}: {function}": tuple(sorted(found))
        for path, source in files.items()
        for function, found in Uses(source, ours).found.items()
    }


def test_no_process_is_changed_and_nothing_private_is_used() -> None:
    further = {place: found for place, found in uses().items() if found != ALLOWED.get(place)}
    assert not further, "\n".join(f"{place}: {', '.join(found)}" for place, found in further.items())
    assert not ALLOWED.keys() - uses().keys(), "the list gets shorter"


@pytest.mark.parametrize(
    "source",
    [
        "import gc\ngc.freeze()",
        "from gc import freeze\nfreeze()",
        "import os\nos.register_at_fork(after_in_child=print)",
        "import os as system\nsystem.chdir('/')",
        "from os import chdir",
        "import os\ngetattr(os, 'chdir')('/')",
        "import os\nos.environ.clear()",
        "import os\nos.environ['A'] = 'b'",
        "import os\ndel os.environ['A']",
        "from os import environ\nenviron.update(A='b')",
        "from os import environ\nenviron |= {}",
        "import os\nvariables = os.environ\nvariables.clear()",
        "import importlib\nimportlib.import_module('gc').freeze()",
        "from operator import attrgetter\nattrgetter('manager._inventory')",
        "import sys\nsys.path.insert(0, '')",
        "import sys\nsys.modules['a'] = None",
        "import signal\nsignal.signal(1, print)",
        "from ansible import constants as C\nC.DEFAULT_FORKS = 1",
        "from ansible import constants as C\nsetattr(C, 'DEFAULT_FORKS', 1)",
        "from ansible.plugins.loader import filter_loader\nfilter_loader.get('a')",
        "from ansible.plugins.loader import filter_loader\nfor name in ('a',):\n    filter_loader.get(name)",
        "def f(manager):\n    return manager._inventory",
        "def f(self):\n    return self._hosts_of_ansible",
        "def f(self):\n    return self._task._role",
        "def f(task):\n    return getattr(task, '_parent', None)",
        "def f(task):\n    return task.__dict__['_parent']",
        "def f(manager):\n    return manager.get_vars(_hosts=[])",
        "from ansible._internal import _templating",
        "from ansible.vars.manager import _x",
    ],
)
def test_what_changes_a_process_or_is_private(source: str) -> None:
    assert Uses(source, frozenset()).found


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.environ.get('A'), os.environ['A'], os.getcwd()",
        "from ansible.plugins.loader import filter_loader\ndef f():\n    return filter_loader.get('a')",
        "class A:\n    _b = 1\n    def f(self, other):\n        self._c = other._b\n        return self._task, self._c",
        "from ansible_collections.compute_index.supply.plugins.plugin_utils import _hosts\n_hosts._own('a')",
    ],
)
def test_what_changes_nothing_and_is_not_private(source: str) -> None:
    assert not Uses(source, frozenset()).found


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
