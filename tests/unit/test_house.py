# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits for the code: decisions in YAML and operations, sizes, names, wording, and access to Ansible's process.

Decisions about money belong in Python, so the decisions in Jinja are counted. Limits are only ever lowered.
``python tests/unit/test_house.py`` prints each number and its limit.
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
DECISIONS = {"provision": 48, "decommission": 9, "playbooks": 20, SETUP: 38}
"""Most decisions in the YAML files of a role, of all playbooks together, and of the playbook that sets up AWX.

The templates of user data are not included; they have no limit.
"""
TASK_FILES = 15
"""Most task files in a role."""
LINES = 115
"""Most lines in a file of a role's tasks, variables, defaults or handlers."""
COLUMNS = 80
"""Width of a terminal: the line with the name of a role's task, ending with three stars, must fit."""
SHARED_NAMES = 0
"""Most private names that more than one file assigns."""
SHADOWED_NAMES = 0
"""Most task variables that have the name of a fact or of a registered result."""

BARE = {"when", "until", "failed_when", "changed_when", "that"}
"""Keys of a task whose values are expressions without braces."""
CHOOSING = {"select", "reject", "selectattr", "rejectattr"}
DECIDING = (nodes.And, nodes.Or, nodes.Not, nodes.Operand, nodes.Test, nodes.CondExpr, nodes.If)


class Loader(yaml.SafeLoader):
    """Reads a value with one of Ansible's tags, such as ``!unsafe``, as text."""


Loader.add_multi_constructor("!", lambda _loader, _tag, node: str(node.value))


@dataclass(frozen=True)
class Measure:
    """A number, its limit (None: no limit), and the parts that it is the sum of, as lines of text."""

    title: str
    found: int
    limit: int | None
    parts: tuple[str, ...] = ()

    def __str__(self) -> str:
        limit = "" if self.limit is None else f"; at most {self.limit}"
        return "\n  ".join((f"{self.title}: {self.found}{limit}", *self.parts))


@cache
def load(path: Path) -> Any:
    """The content of a YAML file."""
    return yaml.load(path.read_text(), Loader)


def relative_path(path: Path) -> str:
    return str(path.relative_to(ROOT))


def yaml_files(place: str) -> list[Path]:
    """The YAML files of a role, of the playbooks, or of the playbook that sets up AWX."""
    if place == SETUP:
        return [ROOT / SETUP]
    folder = ROOT / place if place == "playbooks" else ROOT / "roles" / place
    return sorted(path for path in folder.rglob("*.yml") if path != ROOT / SETUP)


def all_files() -> list[Path]:
    """The YAML files of all roles and playbooks."""
    return [path for place in (*ROLES, "playbooks", SETUP) for path in yaml_files(place)]


def templates_in(value: Any, bare: bool = False) -> Iterator[str]:
    """The texts in a value that Ansible evaluates; expressions without braces are returned with them."""
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
    """Count the decisions of a template: if, elif, and, or, not, comparisons, tests, and filters that choose."""
    tree = jinja2.Environment().parse(template)
    chosen = sum(each.name in CHOOSING for each in tree.find_all(nodes.Filter))
    loops = sum(each.test is not None for each in tree.find_all(nodes.For))
    return chosen + loops + sum(1 for _each in tree.find_all(DECIDING))


def tasks_in(value: Any) -> Iterator[dict[str, Any]]:
    """The tasks, blocks and plays in a file's content, including nested ones."""
    for each in value if isinstance(value, list) else ():
        if isinstance(each, dict):
            yield each
            for key in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks", "handlers"):
                yield from tasks_in(each.get(key))


def assigned_names(task: dict[str, Any]) -> set[str]:
    """The names that a task assigns: its facts and its registered result."""
    facts = task.get("ansible.builtin.set_fact")
    names = set(facts) - {"cacheable"} if isinstance(facts, dict) else set()
    return names | ({task["register"]} if "register" in task else set())


@cache
def assignments() -> dict[str, list[Path]]:
    """For each name the files that assign it."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in all_files():
        for name in sorted({name for task in tasks_in(load(path)) for name in assigned_names(task)}):
            found[name].append(path)
    return found


def measure_decisions(place: str) -> Measure:
    counts = Counter({relative_path(path): sum(map(decisions, templates_in(load(path)))) for path in yaml_files(place)})
    parts = tuple(f"{count:4} {name}" for name, count in counts.most_common() if count)
    return Measure(f"decisions of {place}", counts.total(), DECISIONS[place], parts)


def measure_templates(role: str) -> Measure:
    counts = {
        relative_path(path): decisions(path.read_text()) for path in sorted(ROOT.glob(f"roles/{role}/templates/*"))
    }
    parts = tuple(f"{count:4} {name}" for name, count in counts.items())
    return Measure(f"decisions of {role}'s templates of user data", sum(counts.values()), None, parts)


def measure_task_files(role: str) -> Measure:
    files = sorted(ROOT.glob(f"roles/{role}/tasks/**/*.yml"))
    return Measure(f"task files of {role}", len(files), TASK_FILES, (", ".join(path.stem for path in files),))


def measure_lines(role: str) -> Measure:
    kinds = ("tasks", "vars", "defaults", "handlers")
    files = [path for kind in kinds for path in ROOT.glob(f"roles/{role}/{kind}/**/*.yml")]
    counts = Counter({relative_path(path): len(path.read_text().splitlines()) for path in files})
    parts = tuple(f"{count:4} {name}" for name, count in counts.most_common() if count > LINES)
    return Measure(f"lines of {role}'s longest file", max(counts.values()), LINES, parts)


def measure_columns(role: str) -> Measure:
    # Ansible prints no line for a block.
    tasks = [task for path in ROOT.glob(f"roles/{role}/tasks/**/*.yml") for task in tasks_in(load(path))]
    lines = [f"TASK [compute_index.supply.{role} : {task['name']}] ***" for task in tasks if "block" not in task]
    widest = max(lines, key=len)
    return Measure(f"columns of {role}'s longest task name", len(widest), COLUMNS, (widest,))


def measure_shared_names() -> Measure:
    parts = tuple(
        f"{name}: {', '.join(map(relative_path, paths))}"
        for name, paths in sorted(assignments().items())
        if "__" in name and len(paths) > 1
    )
    return Measure("private names that several files assign", len(parts), SHARED_NAMES, parts)


def measure_shadowed_names() -> Measure:
    parts = tuple(
        f"{name}: {relative_path(path)}"
        for path in all_files()
        for task in tasks_in(load(path))
        for name in task.get("vars") or {}
        if name in assignments()
    )
    return Measure("task variables named like a fact or a result", len(parts), SHADOWED_NAMES, parts)


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
def test_decisions_counts_conditions_and_choosing_filters(template: str, count: int) -> None:
    assert decisions(template) == count


def test_templates_in_includes_expressions_without_braces() -> None:
    task = {"name": "not a decision", "when": ["a and b", True], "vars": {"c": "{{ d }}"}, "assert": {"that": "e"}}
    assert list(templates_in(task)) == ["{{ a and b }}", "{{ d }}", "{{ e }}"]


@pytest.mark.parametrize("place", [*ROLES, "playbooks", SETUP])
def test_yaml_decisions_stay_within_limit(place: str) -> None:
    check(measure_decisions(place))


@pytest.mark.parametrize("role", ROLES)
def test_task_files_of_role_stay_within_limit(role: str) -> None:
    check(measure_task_files(role))


@pytest.mark.parametrize("role", ROLES)
def test_longest_file_of_role_stays_within_limit(role: str) -> None:
    check(measure_lines(role))


@pytest.mark.parametrize("role", ROLES)
def test_task_names_fit_on_one_line(role: str) -> None:
    check(measure_columns(role))


def test_private_names_are_assigned_in_one_file() -> None:
    check(measure_shared_names())


def test_task_variables_do_not_shadow_facts_or_results() -> None:
    check(measure_shadowed_names())


def test_tasks_that_decide_set_their_own_timeout() -> None:
    """Else the user's task_timeout in ansible.cfg could stop a sweep, or hide what was extended or bought."""
    tasks = [task for path in all_files() for task in tasks_in(load(path)) if "compute_index.supply.decide" in task]
    assert tasks and [task["name"] for task in tasks if "timeout" not in task] == []


def test_modules_of_a_run_ignore_unreachable_machines_and_have_a_timeout() -> None:
    """No block can rescue an unreachable host, so the play would end without saying what is billed.

    A frozen machine never answers, hence the timeout.
    """
    modules = ("compute_index.supply.run_info", "compute_index.supply.run_job")  # those without an action plugin
    tasks = [task for path in yaml_files("playbooks") for task in tasks_in(load(path))]
    remote = [task for task in tasks if any(module in task for module in modules)]
    assert len(remote) >= 4 and not [task["name"] for task in remote if task.get("ignore_unreachable") is not True]
    assert not [task["name"] for task in remote if not task.get("timeout")]


def test_acceptance_tasks_have_a_timeout() -> None:
    """A machine that freezes during its test keeps the connection open; only the task's timeout ends the wait."""
    modules = ("compute_index.supply.gpu_acceptance", "ansible.builtin.async_status")
    tasks = [task for path in all_files() for task in tasks_in(load(path))]
    tests = [task for task in tasks if any(module in task for module in modules)]
    assert len(tests) >= 4 and not [task["name"] for task in tests if not task.get("timeout")]
    # This task may fail: if a user's option cannot be evaluated, that is no verdict about the machine.
    may_fail = [task["name"] for task in tests if task.get("ignore_errors") is not True]
    assert may_fail == ["Test the machine"]


def imports_of(path: Path) -> Iterator[str]:
    """The names that a file imports, as written there: relative ones with their dots."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            module = f"{'.' * node.level}{node.module or ''}"
            yield from (f"{module}{'' if module.endswith('.') else '.'}{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def test_rules_import_neither_registry_nor_operations() -> None:
    """Nor does the registry import operations: code that reads and writes imports code that decides, never reversed."""
    files = sorted(ROOT.glob("plugins/module_utils/_provision/*.py"))
    imports = [(relative_path(path), name) for path in files for name in imports_of(path)]
    assert imports and not [each for each in imports if "_registry." in each[1] or "_operations." in each[1]]
    registry = sorted(ROOT.glob("plugins/module_utils/_registry/*.py"))
    assert not [relative_path(path) for path in registry for name in imports_of(path) if "_operations." in name]


OPERATIONS = 639
"""Most decisions in `_operations`, whose functions only ask, call a rule and write."""


def python_decisions(path: Path) -> int:
    """Count a file's decisions: if, while, comprehension conditions, comparisons, and, or, not, and match cases."""
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
    counts = Counter({relative_path(path): python_decisions(path) for path in files})
    parts = tuple(f"{count:4} {name}" for name, count in counts.most_common() if count)
    return Measure("decisions of _operations", counts.total(), OPERATIONS, parts)


# Words that do not say what a variable holds. `known_hosts` is ssh's own term.
VAGUE = {"each", "found", "known", "own", "said", "seen", "told"}
MOST_VAGUE = 0.024  # their largest share among all names in the plugins


def bound_names(source: str) -> Iterator[str]:
    """The names that a source binds: variables, arguments, functions and classes."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name


def is_vague(name: str) -> bool:
    """Whether a name contains a vague word."""
    words = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower().replace("known_hosts", "")
    return bool(VAGUE.intersection(words.split("_")))


def test_plugins_hardly_use_vague_names() -> None:
    names = [name for file in (ROOT / "plugins").rglob("*.py") for name in bound_names(file.read_text())]
    vague = [name for name in names if is_vague(name)]
    assert len(vague) / len(names) <= MOST_VAGUE, Counter(vague).most_common(10)
    assert list(map(is_vague, ("each", "_known_ids", "NOT_FOUND", "SeenOffer", "known_hosts", "owner"))) == [
        *(True, True, True, True, False, False)
    ]


# Openings and phrases that a reader has to translate back into plain English.
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


def is_awkward(sentence: str) -> bool:
    """Whether a sentence has one of the openings or phrases that we avoid."""
    return bool(OPENINGS.match(sentence) or PHRASES.search(sentence))


def python_files() -> Iterator[Path]:
    """All Python files except this one, which has the phrases that others must not have."""
    for folder in ("docs", "plugins", "tests"):
        yield from (file for file in (ROOT / folder).rglob("*.py") if file != Path(__file__).resolve())
    yield ROOT / "noxfile.py"


def test_python_files_avoid_awkward_phrases() -> None:
    awkward = {relative_path(file): list(filter(is_awkward, prose(file.read_text()))) for file in python_files()}
    assert awkward and not {name: sentences for name, sentences in awkward.items() if sentences}
    assert list(map(is_awkward, ("The same of a cluster.", "Nobody asks.", "It ends, too."))) == [True] * 3
    assert not any(map(is_awkward, ("Return the ids.", "Those?", "Machines are told apart by name.")))


ODD_NAME = re.compile(
    r"^test_(what|who|whose|of|those)_|_(is|are)_(told|said)(_|$)(?!apart)|_(nobody|whoever|beside)(_|$)"
)


def test_names_of_tests_state_a_rule() -> None:
    """A failed test is first read by its name: a subject and a verb."""
    texts = (file.read_text() for file in python_files())
    names = [name for text in texts for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)]
    assert len(names) > 2000 and not list(filter(ODD_NAME.search, names))
    assert list(map(bool, map(ODD_NAME.search, ("test_what_is_told", "test_machines_are_told_apart")))) == [True, False]


def test_public_names_of_module_utils_are_unique() -> None:
    """A search for a function or class finds exactly one. Methods do not count: their class tells them apart."""
    homes: dict[str, list[str]] = defaultdict(list)
    for path in sorted(ROOT.glob("plugins/module_utils/**/*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                homes[node.name].append(relative_path(path))
    assert homes
    assert not {name: files for name, files in homes.items() if len(files) > 1}


def test_decisions_of_operations_stay_within_limit() -> None:
    check(measure_operations())


# Plugins run in Ansible's own process: they must not change it, nor use what is private to Ansible.

CHANGES_OF_PROCESS = {
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
"""Functions and variables that change the whole process. So does everything in the module gc."""
METHODS_OF_ENVIRON = {"clear", "update", "pop", "popitem", "setdefault", "__setitem__", "__delitem__"}
PLUGIN_API = {
    *("_task", "_templar", "_loader", "_connection", "_supports_async", "_supports_check_mode"),
    *("_play_context", "_shared_loader_obj"),  # passed on to another plugin that a plugin runs
    *("_execute_module", "_low_level_execute_command", "_compute_environment_string"),
    *("_make_tmp_path", "_transfer_file", "_fixup_perms2"),
    *("_read_config_data", "_set_composite_vars", "_add_host_to_composed_groups", "_add_host_to_keyed_groups"),
    *("_compose", "_cache", "_vars"),
}
"""Private members of the base classes that Ansible's guides tell plugins to extend; allowed on `self` only."""
METHODS_OF_NAMED_TUPLES = {"_replace", "_asdict", "_fields", "_make"}
ALLOWED = {
    "plugins/plugin_utils/_task.py: _in_child_process": ("_exit", "os.chdir", "os.environ.update"),
    "plugins/plugin_utils/_task.py: play_of": ("_parent", "_parent", "_play"),
}
"""Exceptions: a child process sets its own environment and folder; a task's play has no public access.

Never add to this list.
"""


class Uses(ast.NodeVisitor):
    """For each function of a file, the changes that it makes to the process, and foreign private names that it uses."""

    def __init__(self, source: str, ours: frozenset[str]) -> None:
        self.found: dict[str, list[str]] = defaultdict(list)
        self._ours, self._imported, self._functions = ours, dict[str, str](), list[str]()
        tree = ast.parse(source)
        self._own = names_in(tree)
        self.visit(tree)

    def _note(self, use: str) -> None:
        self.found[".".join(self._functions) or "at import"].append(use)

    def _dotted(self, node: ast.AST) -> str:
        """The full name of an expression that begins with an imported name, else an empty text."""
        if isinstance(node, ast.Name):
            return self._imported.get(node.id, "")
        base = self._dotted(node.value) if isinstance(node, ast.Attribute) else ""
        return f"{base}.{node.attr}" if base and isinstance(node, ast.Attribute) else ""

    def _of_process(self, name: str) -> None:
        if name in CHANGES_OF_PROCESS or name.partition(".")[0] == "gc":
            self._note(name)

    def _private(self, receiver: ast.AST, name: str) -> None:
        if (
            not name.startswith("_")
            or name in METHODS_OF_NAMED_TUPLES
            or (name.startswith("__") and name != "__dict__")
        ):
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
        if self._dotted(node.value) == "os.environ" and node.attr in METHODS_OF_ENVIRON:
            self._note(name)
        if isinstance(node.ctx, (ast.Store, ast.Del)) and self._dotted(node.value):
            self._note(f"{name} is set")
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.ctx, (ast.Store, ast.Del)) and self._dotted(node.value):
            self._note(f"{self._dotted(node.value)} is set")
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if full := self._dotted(node.value):  # an alias of an imported name
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


def names_in(tree: ast.AST) -> frozenset[str]:
    """The names that a file gives to functions, classes, variables and attributes of `self`."""
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
    """The uses of all plugins and module utils (both run in Ansible's process), by file and function."""
    files = {path: path.read_text() for path in sorted(ROOT.glob("plugins/**/*.py"))}
    ours = frozenset[str]().union(*(names_in(ast.parse(source)) for source in files.values()))
    return {
        f"{relative_path(path)}: {function}": tuple(sorted(found))
        for path, source in files.items()
        for function, found in Uses(source, ours).found.items()
    }


def test_plugins_do_not_change_the_process_or_use_private_names() -> None:
    forbidden = {place: found for place, found in uses().items() if found != ALLOWED.get(place)}
    assert not forbidden, "\n".join(f"{place}: {', '.join(found)}" for place, found in forbidden.items())
    assert not ALLOWED.keys() - uses().keys(), "remove exceptions that are no longer needed"


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
def test_uses_finds_changes_of_process_and_private_names(source: str) -> None:
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
def test_uses_accepts_code_without_side_effects(source: str) -> None:
    assert not Uses(source, frozenset()).found


def measures() -> Iterator[Measure]:
    """The numbers that this file prints."""
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
        print(f"{each.title:52}{each.found:6}{'' if each.limit is None else each.limit:>7}")
