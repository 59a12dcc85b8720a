# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task's variables for other hosts, compared with Ansible's own; and refusals that depend on the task's play."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import Mock

import pytest
import yaml
from ansible import constants as C
from ansible.errors import AnsibleActionFail, AnsibleLookupError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play import Play
from ansible.template import Templar
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from ansible_collections.compute_index.supply.plugins.module_utils._provision.order import ORDER_GROUP
from ansible_collections.compute_index.supply.plugins.plugin_utils import _task
from ansible_collections.compute_index.supply.plugins.plugin_utils._declare import as_templates
from hypothesis import example, given, settings
from hypothesis import strategies as st

HOSTS = ("gpu-1", "gpu-2", "gpu-3")
NAMES = ("a", "b", "c")
# Scopes in which a variable can be set, for all hosts or for one, in ascending order of precedence
SCOPES_OF_ALL_HOSTS = ("default", "group", "play", "role", "task", "extra")
SCOPES_OF_ONE_HOST = ("host", "fact", "included", "set")
SCOPES_OF_THE_PLAY = ("play", "role", "task")
# Connection variables of the task's own host, which other hosts must not inherit
OWN_CONNECTION = {"ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "alice"}

Assigned = dict[str, dict[str, Any]]


def tasks_in(blocks: list[Any]) -> Iterator[Any]:
    """The tasks of blocks, including nested ones."""
    for each in blocks:
        yield from tasks_in(each.block) if hasattr(each, "block") else [each]


class World:
    """A play with one role, whose only task runs for the first host; variables are set in the given scopes."""

    def __init__(self, folder: Path, common: Assigned, by_host: dict[str, Assigned]) -> None:
        for part, scope in (("defaults", "default"), ("vars", "role")):
            (folder / "roles" / "ours" / part).mkdir(parents=True)
            (folder / "roles" / "ours" / part / "main.yml").write_text(yaml.safe_dump(common.get(scope) or {}))
        (folder / "roles" / "ours" / "tasks").mkdir()
        (folder / "roles" / "ours" / "tasks" / "main.yml").write_text("[{name: Do it, ansible.builtin.meta: noop}]")
        hosts = {host: by_host.get(host, {}).get("host") or {} for host in HOSTS}
        (folder / "hosts.yml").write_text(yaml.safe_dump({"gpu": {"hosts": hosts, "vars": common.get("group") or {}}}))
        loader = DataLoader()
        loader.set_basedir(str(folder))
        self.inventory = InventoryManager(loader, sources=[str(folder / "hosts.yml")])
        self.manager = VariableManager(loader=loader, inventory=self.inventory)
        self.extra = self.manager._extra_vars = common.get("extra") or {}
        self.hostvars = HostVars(self.inventory, self.manager, loader)
        for host, scopes in by_host.items():
            self.manager.set_host_facts(host, {"ansible_facts_of": host, **scopes.get("fact", {})})
            for name, value in scopes.get("included", {}).items():
                self.manager.set_host_variable(host, name, value)
            self.manager.set_nonpersistent_facts(host, scopes.get("set", {}))
        role = {"ansible.builtin.import_role": {"name": "ours"}, "vars": common.get("task") or {}}
        source = {"name": "A play", "hosts": "gpu", "gather_facts": False, "vars": common.get("play") or {}}
        self.play = Play.load({**source, "tasks": [role]}, variable_manager=self.manager, loader=loader)
        (self.task,) = (task for task in tasks_in(self.play.compile()) if task.name == "Do it")
        self.defaults, self.fixed = common.get("default") or {}, common.get("role") or {}

    def ansible_variables(self, host: str) -> dict[str, Any]:
        """The variables with which Ansible would run the task for a host."""
        inventory, task = self.inventory.get_host(host), self.task
        found = self.manager.get_vars(
            play=self.play, host=inventory, task=task, _hosts=list(HOSTS), _hosts_all=list(HOSTS)
        )
        return {**found, "ansible_search_path": ["/somewhere"]}

    def play_variables(self) -> _task.PlayVariables:
        own = {**self.ansible_variables("gpu-1"), **OWN_CONNECTION, "hostvars": self.hostvars}
        return _task.PlayVariables(self.task, own, self.defaults, self.fixed, self.extra)


def comparable(variables: dict[str, Any]) -> dict[str, Any]:
    """Variables without `vars`, which repeats them, and without `hostvars`, which is the same for all hosts."""
    return {name: value for name, value in variables.items() if name not in ("vars", "hostvars")}


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Assigned, dict[str, Assigned]]:
    values = st.dictionaries(st.sampled_from(NAMES), st.sampled_from([1, 2, {"x": 1}, {"y": 2}, "{{ c }}", None]))
    common = draw(st.dictionaries(st.sampled_from(SCOPES_OF_ALL_HOSTS), values))
    one = st.dictionaries(st.sampled_from(SCOPES_OF_ONE_HOST), values)
    return common, draw(st.fixed_dictionaries(dict.fromkeys(HOSTS, one)))


def is_ambiguous(common: Assigned, own: Assigned) -> bool:
    """Whether both the play and a host set a variable that is not an extra variable, which would decide."""
    in_play = {name for scope in SCOPES_OF_THE_PLAY for name in common.get(scope, {})}
    in_inventory = {name for scope in (*own.values(), common.get("group", {})) for name in scope}
    return bool(in_play & in_inventory - set(common.get("extra", {})))


@settings(max_examples=50, deadline=None)
@example(({"play": {"a": 1}}, {"gpu-1": {}, "gpu-2": {"host": {"a": 2}}, "gpu-3": {"set": {"a": 2}}}))
@example(
    ({"default": {"a": 1}, "play": {"a": 2}}, {"gpu-1": {"set": {"a": 3}}, "gpu-2": {}, "gpu-3": {"fact": {"a": 1}}})
)
@example(({"role": {"a": 1}}, {"gpu-1": {"set": {"a": 1}}, "gpu-2": {}, "gpu-3": {"set": {"a": 2}}}))
@given(worlds())
def test_variables_of_other_hosts_match_ansible_unless_ambiguous(world: tuple[Assigned, dict[str, Assigned]]) -> None:
    common, by_host = world
    with TemporaryDirectory() as folder:
        play = World(Path(folder), common, by_host)
        variables = play.play_variables()
        for host in HOSTS:
            try:
                found = variables.of(host)
            except AnsibleActionFail:
                assert is_ambiguous(common, by_host[host]), f"{host} is left out without need"
            else:
                assert comparable(found) == comparable(play.ansible_variables(host)), host
                assert found["vars"]["inventory_hostname"] == host and found["hostvars"] is play.hostvars


@pytest.mark.parametrize(("setting", "value"), [("PLAYBOOK_VARS_ROOT", "all"), ("DEFAULT_HASH_BEHAVIOUR", "merge")])
def test_settings_that_change_precedence_leave_out_other_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, value: str
) -> None:
    variables = World(tmp_path, {}, {}).play_variables()
    assert variables.of("gpu-2")["inventory_hostname"] == "gpu-2"
    monkeypatch.setattr(C, setting, value)
    with pytest.raises(AnsibleActionFail, match="gpu-2: "):
        variables.of("gpu-2")


def test_connection_variables_come_from_host_or_play(tmp_path: Path) -> None:
    by_host = {"gpu-2": {"host": {"ansible_host": "192.0.2.7"}}}
    variables = World(tmp_path, {"play": {"ansible_connection": "local"}}, by_host).play_variables()
    found = {host: variables.of(host) for host in HOSTS[1:]}
    assert [one.get("ansible_host") for one in found.values()] == ["192.0.2.7", None]
    assert [one["ansible_connection"] for one in found.values()] == ["local", "local"]


@pytest.mark.parametrize(
    ("facts", "condition"),
    [({}, ""), ({"b": True}, ""), ({"b": False}, "b"), ({"a": 2, "b": False}, "a == 1"), ({"other": False}, "")],
    ids=str,
)
def test_condition_that_facts_make_false_is_named(facts: dict[str, Any], condition: str) -> None:
    """The role's later tasks would be skipped, and a machine would be billed that nothing has registered."""
    task = Mock(when=as_templates(["nothing.at.all == 1", "a == 1", "b"]))
    variables = {"a": 1, "b": True}
    templar = Templar(DataLoader(), variables=variables)
    assert _task.condition_made_false(facts, task, variables, templar) == condition


@pytest.mark.parametrize("parent", [None, Mock(_play=None, _parent=None)])
def test_task_without_play_is_refused(parent: Any) -> None:
    task = Mock(_parent=parent)
    assert "strategy" in _task.why_forbidden(task) and _task.play_keyword(task, "serial") == ""


@pytest.mark.parametrize(("strategy", "refused"), [("linear", False), ("debug", False), ("free", True), (None, False)])
def test_strategies_other_than_linear_and_debug_are_refused(strategy: str | None, refused: bool) -> None:
    block = Mock(_play=None, _parent=Mock(_play=Mock(strategy=strategy, serial=[2])))
    found = _task.why_forbidden(Mock(_parent=block))
    assert found.endswith("Use linear, Ansible's default. Nothing was sent.") if refused else not found
    assert _task.play_keyword(Mock(_parent=block), "serial") == [2]


PLAYBOOKS = Path(_task.__file__).parents[2] / "playbooks"
REAP = ("compute_index.supply.reap",)


@pytest.mark.parametrize(
    ("options", "playbooks", "hosts"),
    [
        ({}, REAP, "localhost"),
        ({"limit": "gpu-1"}, REAP, "localhost,all"),
        ({"run_tags": ("all",), "skip_tags": ("never",)}, REAP, "localhost"),
        ({"run_tags": ("deploy", "untagged")}, REAP, "localhost"),
        ({"run_tags": ("deploy",)}, REAP, ""),
        ({"run_tags": ("deploy",)}, ("site.yml", str(PLAYBOOKS / "reap.yml")), ""),
        ({"run_tags": ("tagged",)}, REAP, ""),
        ({"run_tags": ("all",), "skip_tags": ("untagged",)}, REAP, ""),
        ({"run_tags": ("all",), "skip_tags": ("all",)}, REAP, ""),
        # Tags may skip any task of a user's own playbook.
        ({"run_tags": ("deploy",)}, ("reap.yml",), "localhost"),
        ({"start_at_task": "Judge the tests"}, REAP, ""),
        ({"start_at_task": "Judge the tests"}, ("reap.yml",), "localhost"),
    ],
    ids=str,
)
def test_tags_that_skip_all_tasks_of_a_playbook_fail(
    options: dict[str, Any], playbooks: tuple[str, ...], hosts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_task.context, "CLIARGS", {"args": playbooks, **options})
    given = {f"ansible_{name}": value for name, value in options.items()}
    variables = {"ansible_run_tags": ("all",), "groups": {"all": ["gpu-1"]}, **given}
    if hosts:
        assert _task.hosts_of_playbook("", variables) == hosts
        assert _task.hosts_of_playbook("gpu", variables) == "gpu"
        return
    with pytest.raises(AnsibleLookupError, match="must begin at their first task, so this run would do nothing"):
        _task.hosts_of_playbook("gpu", variables)


@pytest.mark.parametrize(("limit", "hosts"), [("gpu-1", ""), ("all", ""), ("localhost", "localhost,all")])
def test_limit_without_hosts_fails(limit: str, hosts: str) -> None:
    """Ansible itself fails only if the inventory has other hosts."""
    variables = {"ansible_run_tags": ("all",), "ansible_limit": limit, "groups": {"all": [], "ungrouped": []}}
    if hosts:
        assert _task.hosts_of_playbook("", variables) == hosts
        return
    with pytest.raises(AnsibleLookupError, match=f"so with --limit {limit} nothing would be done"):
        _task.hosts_of_playbook("", variables)


@pytest.mark.parametrize("hosts_of", [_task.hosts_of_playbook, _task.group_of_playbook])
def test_group_with_name_of_a_host_is_refused(hosts_of: Any) -> None:
    groups = {"all": ["gpu", "gpu-1"], "gpu": ["gpu-1"], "train": ["gpu-1"]}
    with pytest.raises(AnsibleLookupError, match="'gpu' is both a group and a host of the inventory"):
        hosts_of("gpu", {"groups": groups})
    assert hosts_of("train", {"groups": groups}) == "train"
    assert _task.group_of_playbook("gpu", {"groups": {**groups, f"{ORDER_GROUP}0000002a": ["gpu-1"]}}) != "gpu"


@pytest.mark.parametrize(
    ("pattern", "limit", "hosts"),
    [
        ("gpu", "", "gpu,!run-b,!run-c"),
        ("gpu", "gpu-1:run-c", "gpu,!run-b"),
        ("gpu", "run-*", "gpu"),
        ("cpu", "", "localhost"),  # whose task says that the group has only hosts of runs
        ("supply_run", "", "supply_run"),
        (f"{ORDER_GROUP}0000002a", "", f"{ORDER_GROUP}0000002a"),
        ("localhost", "", "localhost"),
    ],
)
def test_play_for_a_group_leaves_runs_alone_unless_they_are_named(pattern: str, limit: str, hosts: str) -> None:
    """Otherwise a test would disturb a job, and a purchase would fail because a run has just ended."""
    groups = {"gpu": ["gpu-1", "run-b", "run-c"], "cpu": ["run-b"], f"{ORDER_GROUP}0000002a": ["run-b"]}
    variables = {"groups": {"all": groups["gpu"], "supply_run": ["run-b", "run-c"], **groups}}
    assert _task.hosts_of_playbook(pattern, {**variables, "ansible_limit": limit}) == hosts


IMPORT_OF_REAP = "- name: Sweep\n  ansible.builtin.import_playbook: compute_index.supply.reap\n"
PLAY_OF_USER = "- hosts: localhost\n  tasks:\n    - debug:\n"


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        (IMPORT_OF_REAP, True),
        (IMPORT_OF_REAP + IMPORT_OF_REAP, True),
        (IMPORT_OF_REAP + PLAY_OF_USER, False),
        ("- import_playbook: 'compute_index.supply.reap'", True),
        (IMPORT_OF_REAP + "  tags: sweep\n", False),
        (IMPORT_OF_REAP + "- import_playbook: mine.yml\n", False),
        (IMPORT_OF_REAP + "- import_playbook: other.collection.reap\n", False),
    ],
)
def test_tags_fail_for_user_playbooks_that_only_import_ours(
    text: str, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Job templates of AWX start such playbooks of users."""
    (tmp_path / "site.yml").write_text(text)
    monkeypatch.setattr(_task.context, "CLIARGS", {"args": (str(tmp_path / "site.yml"),)})
    assert _task.hosts_of_playbook("gpu", {"ansible_run_tags": ("all",)}) == "gpu"
    with pytest.raises(AnsibleLookupError) if refused else contextlib.nullcontext():
        _task.hosts_of_playbook("gpu", {"ansible_run_tags": ("deploy",)})


def first_plays(name: str) -> Iterator[dict[str, Any]]:
    """The first play of a playbook. If its first import is a template: of each file that the template may name."""
    play = yaml.safe_load((PLAYBOOKS / name).read_text())[0]
    if imported := play.get("ansible.builtin.import_playbook"):
        file = str(Path(name).parent / imported)
        for possible in {re.sub(r"{{.*}}", part, file) for part in ("", "asked_", "bought_")}:
            if (PLAYBOOKS / possible).exists():
                yield from first_plays(possible)
    else:
        yield play


@pytest.mark.parametrize("name", sorted(path.name for path in PLAYBOOKS.glob("*.yml")))
def test_first_play_of_each_playbook_checks_tags(name: str) -> None:
    plays = list(first_plays(name))
    assert plays and all("lookup('compute_index.supply.plan', hosts=" in play["hosts"] for play in plays)
