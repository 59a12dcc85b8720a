# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables that a task would have for other hosts, against those that Ansible itself would give it."""

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
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from ansible_collections.compute_index.supply.plugins.module_utils._provision.order import ORDER_GROUP
from ansible_collections.compute_index.supply.plugins.plugin_utils import _task
from hypothesis import example, given, settings
from hypothesis import strategies as st

HOSTS = ("gpu-1", "gpu-2", "gpu-3")
NAMES = ("a", "b", "c")
# Who may say something: for all hosts, or for one; in the order in which they count.
FOR_ALL = ("default", "group", "play", "role", "task", "extra")
FOR_ONE = ("host", "fact", "included", "set")
BY_PLAY = ("play", "role", "task")
# What Ansible's own task for the host alone would have.
REACHED = {"ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "alice"}

Said = dict[str, dict[str, Any]]


def tasks_in(blocks: list[Any]) -> Iterator[Any]:
    """The tasks of blocks, and of those in them."""
    for each in blocks:
        yield from tasks_in(each.block) if hasattr(each, "block") else [each]


class World:
    """A play with one role, whose one task runs for the first host; each variable is said by whom the test says."""

    def __init__(self, folder: Path, for_all: Said, for_one: dict[str, Said]) -> None:
        for part, said in (("defaults", "default"), ("vars", "role")):
            (folder / "roles" / "ours" / part).mkdir(parents=True)
            (folder / "roles" / "ours" / part / "main.yml").write_text(yaml.safe_dump(for_all.get(said) or {}))
        (folder / "roles" / "ours" / "tasks").mkdir()
        (folder / "roles" / "ours" / "tasks" / "main.yml").write_text("[{name: Do it, ansible.builtin.meta: noop}]")
        hosts = {host: for_one.get(host, {}).get("host") or {} for host in HOSTS}
        (folder / "hosts.yml").write_text(yaml.safe_dump({"gpu": {"hosts": hosts, "vars": for_all.get("group") or {}}}))
        loader = DataLoader()
        loader.set_basedir(str(folder))
        self.inventory = InventoryManager(loader, sources=[str(folder / "hosts.yml")])
        self.manager = VariableManager(loader=loader, inventory=self.inventory)
        self.extra = self.manager._extra_vars = for_all.get("extra") or {}
        self.hostvars = HostVars(self.inventory, self.manager, loader)
        for host, said in for_one.items():
            self.manager.set_host_facts(host, {"ansible_facts_of": host, **said.get("fact", {})})
            for name, value in said.get("included", {}).items():
                self.manager.set_host_variable(host, name, value)
            self.manager.set_nonpersistent_facts(host, said.get("set", {}))
        role = {"ansible.builtin.import_role": {"name": "ours"}, "vars": for_all.get("task") or {}}
        source = {"name": "A play", "hosts": "gpu", "gather_facts": False, "vars": for_all.get("play") or {}}
        self.play = Play.load({**source, "tasks": [role]}, variable_manager=self.manager, loader=loader)
        (self.task,) = (task for task in tasks_in(self.play.compile()) if task.name == "Do it")
        self.defaults, self.fixed = for_all.get("default") or {}, for_all.get("role") or {}

    def truth(self, host: str) -> dict[str, Any]:
        """What Ansible would give the task."""
        inventory, task = self.inventory.get_host(host), self.task
        found = self.manager.get_vars(
            play=self.play, host=inventory, task=task, _hosts=list(HOSTS), _hosts_all=list(HOSTS)
        )
        return {**found, "ansible_search_path": ["/somewhere"]}

    def for_all(self) -> _task.PlayVariables:
        own = {**self.truth("gpu-1"), **REACHED, "hostvars": self.hostvars}
        return _task.PlayVariables(self.task, own, self.defaults, self.fixed, self.extra)


def comparable(variables: dict[str, Any]) -> dict[str, Any]:
    """Without all of it again, and without a view of other hosts, which is the same for all."""
    return {name: value for name, value in variables.items() if name not in ("vars", "hostvars")}


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Said, dict[str, Said]]:
    values = st.dictionaries(st.sampled_from(NAMES), st.sampled_from([1, 2, {"x": 1}, {"y": 2}, "{{ c }}", None]))
    for_all = draw(st.dictionaries(st.sampled_from(FOR_ALL), values))
    one = st.dictionaries(st.sampled_from(FOR_ONE), values)
    return for_all, draw(st.fixed_dictionaries(dict.fromkeys(HOSTS, one)))


def depends(for_all: Said, own: Said) -> bool:
    """Whether both the play and a host say something of a variable that nobody has said for good."""
    by_play = {name for who in BY_PLAY for name in for_all.get(who, {})}
    by_host = {name for said in (*own.values(), for_all.get("group", {})) for name in said}
    return bool(by_play & by_host - set(for_all.get("extra", {})))


@settings(max_examples=50, deadline=None)
@example(({"play": {"a": 1}}, {"gpu-1": {}, "gpu-2": {"host": {"a": 2}}, "gpu-3": {"set": {"a": 2}}}))
@example(
    ({"default": {"a": 1}, "play": {"a": 2}}, {"gpu-1": {"set": {"a": 3}}, "gpu-2": {}, "gpu-3": {"fact": {"a": 1}}})
)
@example(({"role": {"a": 1}}, {"gpu-1": {"set": {"a": 1}}, "gpu-2": {}, "gpu-3": {"set": {"a": 2}}}))
@given(worlds())
def test_a_host_has_what_ansible_would_give_it_or_says_by_itself(world: tuple[Said, dict[str, Said]]) -> None:
    for_all, for_one = world
    with TemporaryDirectory() as folder:
        made = World(Path(folder), for_all, for_one)
        variables = made.for_all()
        for host in HOSTS:
            try:
                found = variables.of(host)
            except AnsibleActionFail:
                assert depends(for_all, for_one[host]), f"{host} is left out for nothing"
            else:
                assert comparable(found) == comparable(made.truth(host)), host
                assert found["vars"]["inventory_hostname"] == host and found["hostvars"] is made.hostvars


@pytest.mark.parametrize(("setting", "value"), [("PLAYBOOK_VARS_ROOT", "all"), ("DEFAULT_HASH_BEHAVIOUR", "merge")])
def test_nothing_is_said_for_others_where_settings_put_variables_together_in_another_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, value: str
) -> None:
    variables = World(tmp_path, {}, {}).for_all()
    assert variables.of("gpu-2")["inventory_hostname"] == "gpu-2"
    monkeypatch.setattr(C, setting, value)
    with pytest.raises(AnsibleActionFail, match="gpu-2: "):
        variables.of("gpu-2")


def test_a_host_is_reached_as_it_says_or_the_play_does(tmp_path: Path) -> None:
    said = {"gpu-2": {"host": {"ansible_host": "192.0.2.7"}}}
    variables = World(tmp_path, {"play": {"ansible_connection": "local"}}, said).for_all()
    found = {host: variables.of(host) for host in HOSTS[1:]}
    assert [one.get("ansible_host") for one in found.values()] == ["192.0.2.7", None]
    assert [one["ansible_connection"] for one in found.values()] == ["local", "local"]


@pytest.mark.parametrize("parent", [None, Mock(_play=None, _parent=None)])
def test_a_play_that_cannot_be_found_is_refused(parent: Any) -> None:
    task = Mock(_parent=parent)
    assert "strategy" in _task.why_forbidden(task) and _task.play_keyword(task, "serial") == ""


@pytest.mark.parametrize(("strategy", "refused"), [("linear", False), ("debug", False), ("free", True), (None, False)])
def test_only_strategies_that_run_a_task_once_may_buy(strategy: str | None, refused: bool) -> None:
    block = Mock(_play=None, _parent=Mock(_play=Mock(strategy=strategy, serial=[2])))
    found = _task.why_forbidden(Mock(_parent=block))
    assert found.endswith("Use linear, Ansible's default. Nothing was sent.") if refused else not found
    assert _task.play_keyword(Mock(_parent=block), "serial") == [2]


PLAYBOOKS = Path(_task.__file__).parents[2] / "playbooks"


REAP = ("compute_index.supply.reap",)


@pytest.mark.parametrize(
    ("words", "started", "hosts"),
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
        # Of a playbook of the user's own, whatever is left out of it
        ({"run_tags": ("deploy",)}, ("reap.yml",), "localhost"),
        ({"start_at_task": "Judge the tests"}, REAP, ""),
        ({"start_at_task": "Judge the tests"}, ("reap.yml",), "localhost"),
    ],
    ids=str,
)
def test_no_playbook_of_ours_is_left_out_unseen(
    words: dict[str, Any], started: tuple[str, ...], hosts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_task.context, "CLIARGS", {"args": started, **words})
    given = {f"ansible_{name}": value for name, value in words.items()}
    variables = {"ansible_run_tags": ("all",), "groups": {"all": ["gpu-1"]}, **given}
    if hosts:
        assert _task.hosts_of_playbook("", variables) == hosts
        assert _task.hosts_of_playbook("gpu", variables) == "gpu"
        return
    with pytest.raises(AnsibleLookupError, match="must begin at their first task, so this run would do nothing"):
        _task.hosts_of_playbook("gpu", variables)


@pytest.mark.parametrize(("limit", "hosts"), [("gpu-1", ""), ("all", ""), ("localhost", "localhost,all")])
def test_a_limit_of_no_hosts_fails(limit: str, hosts: str) -> None:
    """Ansible itself says so only if the inventory has others."""
    variables = {"ansible_run_tags": ("all",), "ansible_limit": limit, "groups": {"all": [], "ungrouped": []}}
    if hosts:
        assert _task.hosts_of_playbook("", variables) == hosts
        return
    with pytest.raises(AnsibleLookupError, match=f"so with --limit {limit} nothing would be done"):
        _task.hosts_of_playbook("", variables)


@pytest.mark.parametrize("hosts_of", [_task.hosts_of_playbook, _task.group_of_playbook])
def test_no_playbook_is_for_a_group_with_a_hosts_name(hosts_of: Any) -> None:
    groups = {"all": ["gpu", "gpu-1"], "gpu": ["gpu-1"], "train": ["gpu-1"]}
    with pytest.raises(AnsibleLookupError, match="'gpu' names a group and a host of the inventory"):
        hosts_of("gpu", {"groups": groups})
    assert hosts_of("train", {"groups": groups}) == "train"
    assert _task.group_of_playbook("gpu", {"groups": {**groups, f"{ORDER_GROUP}0000002a": ["gpu-1"]}}) != "gpu"


OURS = "- name: Sweep\n  ansible.builtin.import_playbook: compute_index.supply.reap\n"
OWN = "- hosts: localhost\n  tasks:\n    - debug:\n"


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        (OURS, True),
        (OURS + OURS, True),
        (OURS + OWN, False),
        ("- import_playbook: 'compute_index.supply.reap'", True),
        (OURS + "  tags: sweep\n", False),
        (OURS + "- import_playbook: mine.yml\n", False),
        (OURS + "- import_playbook: other.collection.reap\n", False),
    ],
)
def test_a_playbook_of_which_tags_can_choose_nothing_is_not_left_out_unseen(
    text: str, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWX's job templates start a user's playbooks, which import ours."""
    (tmp_path / "site.yml").write_text(text)
    monkeypatch.setattr(_task.context, "CLIARGS", {"args": (str(tmp_path / "site.yml"),)})
    assert _task.hosts_of_playbook("gpu", {"ansible_run_tags": ("all",)}) == "gpu"
    with pytest.raises(AnsibleLookupError) if refused else contextlib.nullcontext():
        _task.hosts_of_playbook("gpu", {"ansible_run_tags": ("deploy",)})


def first_plays(name: str) -> Iterator[dict[str, Any]]:
    """The first play of a playbook, in each of the files that its first import may mean."""
    play = yaml.safe_load((PLAYBOOKS / name).read_text())[0]
    if imported := play.get("ansible.builtin.import_playbook"):
        beside = Path(name).parent / imported
        for also in {re.sub(r"{{.*}}", part, str(beside)) for part in ("", "asked_", "bought_")}:
            if (PLAYBOOKS / also).exists():
                yield from first_plays(also)
    else:
        yield play


@pytest.mark.parametrize("name", sorted(path.name for path in PLAYBOOKS.glob("*.yml")))
def test_each_playbook_of_ours_asks_for_its_tags_first(name: str) -> None:
    plays = list(first_plays(name))
    assert plays and all("lookup('compute_index.supply.plan', hosts=" in play["hosts"] for play in plays)
