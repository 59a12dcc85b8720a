# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory as Ansible loads it: all live machines, or an error. Texts of the API are never evaluated."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.cache import CachePluginAdjudicator
from ansible.plugins.loader import init_plugin_loader, inventory_loader
from ansible.template import Templar
from ansible.utils.collection_loader import AnsibleCollectionConfig
from ansible_collections.compute_index.supply.plugins.inventory import resources as source
from ansible_collections.compute_index.supply.plugins.module_utils._operations._registries import RegisteredMachine
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry

from request_queue import LOST, RequestQueue
from samples import BASE, NOT_FOUND, RESOURCE_ID, SECOND_RESOURCE_ID, TOKEN, resource

try:
    from ansible.template import trust_as_template
except ImportError:  # ansible-core before 2.19
    trust_as_template = str

pytestmark = pytest.mark.core

Load = Callable[..., InventoryManager]
NAME = "compute_index.supply.resources"
COMMON = {"plugin": NAME, "api_url": BASE, "api_token": TOKEN, "api_retries": 0}
LIST = "GET", "/resources"
TWO = [
    resource(spec={"gpu_type": "nvidia-h100-sxm5-80gb"}),
    resource(SECOND_RESOURCE_ID, "203.0.113.8", name="other-1", status="paused", spec={"gpu_type": None}),
]


class Ended(Exception):
    """The command has ended, with this exit code."""


@pytest.fixture(scope="module", autouse=True)
def collections() -> None:
    """Let Ansible find the plugins of the collection, as its commands do."""
    if AnsibleCollectionConfig.collection_finder is None:
        # Python has imported the folders as namespace packages; Ansible must import them with its own finder.
        for name, module in list(sys.modules.items()):
            if name.startswith("ansible_collections") and getattr(module, "__file__", None) is None:
                del sys.modules[name]
        init_plugin_loader([str(Path(source.__file__).parents[5])])


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., str]:
    """``config(**options)`` writes a configuration file and returns its path."""

    def write(file: str = "gpu.supply.yml", **options: Any) -> str:
        path = tmp_path / file
        path.write_text(yaml.safe_dump({**COMMON, **options}))
        return str(path)

    return write


@pytest.fixture
def load(config: Callable[..., str]) -> Load:
    """``load(fresh=False, **options)`` returns the inventory of a configuration; ``fresh`` refreshes the cache."""

    def run(fresh: bool = False, **options: Any) -> InventoryManager:
        try:
            return InventoryManager(DataLoader(), sources=[config(**options)], cache=not fresh)
        except SystemExit as end:  # would end pytest's worker
            raise Ended(end.code) from None

    return run


@pytest.fixture
def error_of(load: Load, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """``error_of(**options)``: the error that ends the command, without white space, since Ansible wraps its lines."""

    def run(**options: Any) -> str:
        with pytest.raises(Ended, match=r"^4$"):
            load(**options)
        printed = capsys.readouterr()
        assert printed.out == ""
        return without_whitespace(printed.err)

    return run


def without_whitespace(text: str) -> str:
    return "".join(text.split())


def render(host: Any, template: str) -> Any:
    """A template, evaluated by a task of the host."""
    return Templar(DataLoader(), variables=host.get_vars()).template(trust_as_template(template))


def members(inventory: InventoryManager, group: str) -> list[str]:
    return [host.name for host in inventory.groups[group].get_hosts()]


# Hosts


def test_live_machines_become_hosts_with_variables_and_groups(queue: RequestQueue, load: Load) -> None:
    statuses = ["running", None, "provisioning", "deleting", "deleted", "terminated", "failed"]
    queue.expect(*LIST, [resource(f"{n:036}", name=f"m{n}", status=status) for n, status in enumerate(statuses)])
    inventory = load()
    assert list(inventory.hosts) == ["m0", "m1", "m2"]
    variables = inventory.hosts["m0"].get_vars()
    assert (variables["ansible_host"], variables["ansible_port"], variables["ansible_user"]) == (
        "203.0.113.7",
        22,
        "root",
    )
    assert (variables["supply_resource_id"], variables["supply_live"], variables["supply_price_per_hour"]) == (
        f"{0:036}",
        True,
        2.0,
    )
    assert members(inventory, "supply") == members(inventory, "vendor_nebius") == ["m0", "m1", "m2"]
    assert members(inventory, "state_running") == ["m0"]


@pytest.mark.parametrize("resource_type", ["storage", "block_disk", "filesystem", "Volumes", "network", "snapshot"])
def test_other_kinds_of_resources_are_not_hosts(
    queue: RequestQueue, load: Load, capsys: pytest.CaptureFixture[str], resource_type: str
) -> None:
    queue.expect(
        *LIST, [resource(), resource(SECOND_RESOURCE_ID, "203.0.113.8", name="data", resource_type=resource_type)]
    )
    assert list(load().hosts) == ["trainer"]
    assert "WARNING" not in capsys.readouterr().err


def test_unknown_resource_type_is_not_a_host_and_warns(
    queue: RequestQueue, load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    named = resource(SECOND_RESOURCE_ID, "203.0.113.8", name="odd", resource_type="warp-\x1bcore")
    queue.expect(*LIST, [resource(resource_type=None), named, {**named, "resource_id": f"{7:036}"}])
    assert list(load().hosts) == ["trainer"]
    warning = without_whitespace(capsys.readouterr().err)
    assert "2liveresourcesareleftout,sincetheirtypeisunknown:'warp-\\x1bcore'." in warning


def test_machine_without_address_gets_an_invalid_one(queue: RequestQueue, load: Load) -> None:
    queue.expect(*LIST, [resource(ip=None)])
    variables = load().hosts["trainer"].get_vars()
    assert (variables["ansible_host"], "ansible_port" in variables) == (f"{RESOURCE_ID}.invalid", False)


def test_machine_named_like_controller_or_group_gets_its_id(queue: RequestQueue, load: Load) -> None:
    names = ["localhost", "all", "supply", "vendor_nebius"]
    queue.expect(*LIST, [resource(f"{n:036}", name=name) for n, name in enumerate(names)])
    assert list(load().hosts) == [f"{n:036}" for n in range(len(names))]


def test_machines_with_the_same_name_get_ids_appended_and_warn(
    queue: RequestQueue, load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    queue.expect(*LIST, [resource(), resource(SECOND_RESOURCE_ID), resource(f"{7:036}", name="other")])
    hosts = [f"trainer-{RESOURCE_ID}", f"trainer-{SECOND_RESOURCE_ID}"]
    assert list(load().hosts) == [*hosts, "other"]
    warning = without_whitespace(capsys.readouterr().err)
    assert f"2machinesarecalledtrainer,sotheirhostshaveothernames:{','.join(hosts)}." in warning


def test_empty_inventory_warns(queue: RequestQueue, load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    queue.expect(*LIST, [resource(status="deleted")])
    assert load().hosts == {}
    assert "[WARNING]:Thisinventoryhasnohosts:" in without_whitespace(capsys.readouterr().err)


def test_registered_machine_not_listed_as_live_warns(
    queue: RequestQueue, load: Load, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = {
        key: RegisteredMachine(f"gpu-{n}", f"gpu-{n}", {}, Entry(), {}) for n, key in enumerate(("a", "b", "c"))
    }
    monkeypatch.setattr(source.InventoryModule, "_registered", lambda _self: machines)
    queue.expect(*LIST, [resource("a", name="x"), resource("b", name="y", status="deleted"), resource("d", name="z")])
    assert list(load().hosts) == ["gpu-0"]
    assert "maystillbebilled:gpu-1(b),gpu-2(c).Checkthem" in without_whitespace(capsys.readouterr().err)


@pytest.mark.parametrize("registered", [True, False])
def test_registry_decides_which_machines_are_hosts(
    queue: RequestQueue, load: Load, monkeypatch: pytest.MonkeyPatch, registered: bool
) -> None:
    """With their groups and variables. A machine that only has the name of a host belongs to someone else."""
    entry = Entry(groups=("workers",))
    machines = {RESOURCE_ID: RegisteredMachine("gpu-1", "gpu-1", {"provision_resource_ids": ["x"]}, entry, {})}
    monkeypatch.setattr(source.InventoryModule, "_registered", lambda _self: machines if registered else {})
    queue.expect(*LIST, TWO)
    inventory = load()
    assert list(inventory.hosts) == (["gpu-1"] if registered else [])
    assert not registered or members(inventory, "workers") == members(inventory, "supply") == ["gpu-1"]
    assert not registered or inventory.hosts["gpu-1"].get_vars()["provision_resource_ids"] == ["x"]


@pytest.mark.parametrize(
    ("hostname", "expected"),
    [
        ("", ["trainer", "other-1"]),
        ("supply_access.external_ip", ["203.0.113.7", "203.0.113.8"]),
        ("supply_resource_id", [RESOURCE_ID, SECOND_RESOURCE_ID]),
        ("supply_access.internal_ip", [f"10.0.0.5-{RESOURCE_ID}", f"10.0.0.5-{SECOND_RESOURCE_ID}"]),
        ("supply_access.nothing", [RESOURCE_ID, SECOND_RESOURCE_ID]),
        ("nothing", [RESOURCE_ID, SECOND_RESOURCE_ID]),
        ("supply_access", [RESOURCE_ID, SECOND_RESOURCE_ID]),
        ("supply_name ~ '.gpu'", ["trainer.gpu", "other-1.gpu"]),
        ("supply_name | replace('other-1', 'localhost')", ["trainer", SECOND_RESOURCE_ID]),
        ("'all'", [RESOURCE_ID, SECOND_RESOURCE_ID]),
    ],
)
def test_option_hostname_sets_names_of_hosts(
    queue: RequestQueue, load: Load, hostname: str, expected: list[str]
) -> None:
    queue.expect(*LIST, TWO)
    assert list(load(hostname=hostname).hosts) == expected


def test_option_hostvars_prefix_sets_names_of_variables(queue: RequestQueue, load: Load) -> None:
    queue.expect(*LIST, TWO)
    options = {"hostname": "_x1name", "filters": {"include": ["_x1status == 'running'"]}}
    inventory = load(hostvars_prefix="_x1", **options)
    names = inventory.hosts["trainer"].get_vars().keys()
    assert "_x1resource_id" in names
    # The roles read it: they would buy a second machine for this host.
    assert [name for name in names if name.startswith("supply_")] == ["supply_resource_id"]


# Filters


RUNNING, OTHER = "supply_status == 'running'", "'other' in supply_name"


@pytest.mark.parametrize(
    ("filters", "hosts"),
    [
        ({}, ["trainer", "other-1"]),
        ({"include": []}, ["trainer", "other-1"]),
        ({"include": [RUNNING]}, ["trainer"]),
        ({"include": [RUNNING, OTHER]}, ["trainer", "other-1"]),
        ({"include": ["supply_price_per_hour > 2"]}, []),
        ({"exclude": [RUNNING]}, ["other-1"]),
        ({"exclude": [RUNNING, OTHER]}, []),
        ({"include": [RUNNING, OTHER], "exclude": [OTHER]}, ["trainer"]),
        ({"include": [True]}, ["trainer", "other-1"]),
        ({"include": [False]}, []),
        ({"include": ["true"], "exclude": [False, "false"]}, ["trainer", "other-1"]),
        ({"exclude": [True]}, []),
    ],
    ids=str,
)
def test_filters_select_machines(queue: RequestQueue, load: Load, filters: dict[str, Any], hosts: list[str]) -> None:
    queue.expect(*LIST, TWO)
    inventory = load(filters=filters)
    assert list(inventory.hosts) == hosts
    assert ("state_paused" in inventory.groups) is ("other-1" in hosts)


@pytest.mark.parametrize("kind", ["include", "exclude"])
@pytest.mark.parametrize("condition", ["nothing == 1", "supply_name", "supply_spec", "1 +", 7, None, "None", {"a": 1}])
def test_invalid_filter_condition_fails(queue: RequestQueue, error_of: Any, kind: str, condition: Any) -> None:
    queue.expect(*LIST, TWO)
    assert "isneithertruenorfalseforthemachine" in error_of(filters={kind: [condition]})


@pytest.mark.parametrize("by_environment", [True, False])
def test_option_project_selects_machines_by_prefix_without_registry(
    queue: RequestQueue, load: Load, monkeypatch: pytest.MonkeyPatch, by_environment: bool
) -> None:
    names = ["red-gpu-1", "red-train-2", "blue-gpu-1", "red", "gpu-1", "reds-gpu-1", None]
    queue.expect(*LIST, [resource(f"{n:036}", name=name) for n, name in enumerate(names)])
    if by_environment:
        monkeypatch.setenv("COMPUTE_INDEX_PROJECT", "red")
    inventory = load(**({} if by_environment else {"project": "red"}))
    assert list(inventory.hosts) == ["gpu-1", "train-2"]
    assert inventory.hosts["gpu-1"].get_vars()["supply_name"] == "red-gpu-1"


# Ansible's own options


def test_compose_groups_and_keyed_groups_use_variables(queue: RequestQueue, load: Load) -> None:
    queue.expect(*LIST, TWO)
    inventory = load(
        compose={"where": "supply_vendor | upper", "wrong": "nothing"},
        groups={"first": "supply_name == 'trainer'", "every": True, "none": "nothing.x"},
        keyed_groups=[{"key": "supply_name.split('-')[0]", "prefix": "project"}],
    )
    variables = inventory.hosts["trainer"].get_vars()
    assert (variables["where"], "wrong" in variables) == ("NEBIUS", False)
    assert (members(inventory, "first"), members(inventory, "every")) == (["trainer"], ["trainer", "other-1"])
    assert (members(inventory, "project_trainer"), members(inventory, "project_other")) == (["trainer"], ["other-1"])
    assert "none" not in inventory.groups


@pytest.mark.parametrize(("later", "is_taken"), [(SECOND_RESOURCE_ID, True), (RESOURCE_ID, False)])
def test_machines_of_two_accounts_with_one_name_fail(
    queue: RequestQueue, config: Callable[..., str], capsys: pytest.CaptureFixture[str], later: str, is_taken: bool
) -> None:
    """Ansible would make one host of both, in the groups of both; the first machine would be lost."""
    sources = [config("a.supply.yml"), config("b.supply.yml")]
    queue.expect(*LIST, [resource()])
    queue.expect(*LIST, [resource(later, vendor="hyperstack")])
    with pytest.raises(SystemExit) if is_taken else contextlib.nullcontext():
        assert list(InventoryManager(DataLoader(), sources=sources).hosts) == ["trainer"]
    assert (
        without_whitespace("has other machines with these names: trainer.")
        in without_whitespace(capsys.readouterr().err)
    ) is is_taken


@pytest.mark.parametrize(
    ("variables", "is_taken"),
    [
        ({"ansible_host": "10.0.0.1"}, True),
        (
            {"ansible_host": "10.0.0.1", "other_resource_id": RESOURCE_ID},
            False,
        ),  # made by this plugin, with another prefix
        ({"ansible_host": "203.0.113.7"}, False),
        ({"provision_max_price_per_hour": 4}, False),
    ],
    ids=str,
)
def test_machine_with_name_of_another_computer_fails(
    queue: RequestQueue,
    config: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    variables: dict[str, Any],
    is_taken: bool,
) -> None:
    """Plays for the computer would run on the machine; anyone with access to the account can give it that name."""
    own = tmp_path / "hosts.yml"
    own.write_text(yaml.safe_dump({"all": {"hosts": {"trainer": variables}}}))
    queue.expect(*LIST, [resource()])
    with pytest.raises(SystemExit) if is_taken else contextlib.nullcontext():
        found = InventoryManager(DataLoader(), sources=[str(own), config("a.supply.yml")])
        assert found.hosts["trainer"].vars["ansible_host"] == "203.0.113.7"
    assert (
        without_whitespace("has other machines with these names: trainer.")
        in without_whitespace(capsys.readouterr().err)
    ) is is_taken


def test_machine_named_like_a_group_of_the_user_gets_its_id(queue: RequestQueue, load: Load) -> None:
    queue.expect(*LIST, [resource(name="every"), resource(SECOND_RESOURCE_ID, name="b")])
    inventory = load(groups={"every": True})
    assert sorted(members(inventory, "every")) == [RESOURCE_ID, "b"]


@pytest.mark.parametrize("names", [["b-1", "project_b"], ["project_b", "b-1"]], ids=str)
def test_machine_named_like_a_keyed_group_fails(queue: RequestQueue, error_of: Any, names: list[str]) -> None:
    queue.expect(*LIST, [resource(f"{n:036}", name=name) for n, name in enumerate(names)])
    message = error_of(keyed_groups=[{"key": "supply_name.split('-')[0]", "prefix": "project"}])
    assert without_whitespace("groups with the names of machines: project_b") in message


@pytest.mark.parametrize(
    "options", [{"compose": {"x": "nothing"}}, {"groups": {"x": "nothing.x"}}, {"keyed_groups": [{"key": "nothing"}]}]
)
def test_strict_inventory_fails_on_invalid_expression(queue: RequestQueue, error_of: Any, options: Any) -> None:
    queue.expect(*LIST, TWO)
    assert "nothing" in error_of(strict=True, **options)


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hostvars_prefix": ""}, "hostvars_prefix must be the beginning of a variable's name"),
        ({"hostvars_prefix": "7"}, "hostvars_prefix must be"),
        ({"hostvars_prefix": "a-b"}, "hostvars_prefix must be"),
        ({"hostvars_prefix": "ansible_"}, "hostvars_prefix must be"),
        ({"hostvars_prefix": "ansible"}, "hostvars_prefix must be"),
        ({"hostvars_prefix": "a"}, "hostvars_prefix must be"),
        ({"validate_certs": "perhaps"}, "perhaps"),
        ({"hostvars_prefix": "x\n"}, "hostvars_prefix must be"),
        ({"include": ["true"], "regions": ["EU"]}, "unknown option(s) include, regions. Nothing was read."),
        ({"filters": {"only": ["true"]}}, "filters must have a list 'include', a list 'exclude', or both."),
        ({"filters": {"include": "true"}}, "filters must have a list"),
        ({"filters": {"include": None}}, "filters must have a list"),
        ({"api_token": None}, "api_token is missing"),
        ({"api_token": "two words"}, "api_token holds a space"),
        ({"api_token": "{{ nothing }}"}, "nothing"),
        ({"api_url": "http://supply-api.example.com"}, "api_url is plain http"),
        ({"api_timeout": 0}, "api_timeout must be"),
        ({"ca_path": "/nowhere/ca.pem"}, "ca_path: there is no file or folder"),
    ],
    ids=str,
)
def test_invalid_option_fails_before_any_request(
    queue: RequestQueue, error_of: Any, options: Any, message: str
) -> None:
    error = error_of(**options)
    assert without_whitespace(message) in error and "gpu.supply.yml" in error
    assert queue.calls == []


@pytest.mark.parametrize(
    "options",
    [
        {"api_timeout": "soon"},
        {"api_retries": [1]},
        {"filters": ["true"]},
        {"keyed_groups": 7},
        {"cache": True, "cache_plugin": "nothing"},
        {"cache": True, "cache_plugin": "ansible.builtin.jsonfile"},
    ],
    ids=str,
)
def test_option_of_wrong_type_fails_before_any_request(queue: RequestQueue, error_of: Any, options: Any) -> None:
    assert "gpu.supply.yml" in error_of(**options)
    assert queue.calls == []


@pytest.mark.parametrize("how", ["template", "environment"])
def test_token_and_url_come_from_template_or_environment(
    queue: RequestQueue, load: Load, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    queue.expect(*LIST, TWO)
    options = {"api_token": "{{ '" + TOKEN + "' ~ '' }}", "api_url": "{{ 'https' }}" + BASE.removeprefix("https")}
    if how == "environment":
        monkeypatch.setenv("COMPUTE_INDEX_API_TOKEN", TOKEN)
        monkeypatch.setenv("COMPUTE_INDEX_API_URL", BASE)
        options = {"api_token": None, "api_url": None}
    assert len(load(**options).hosts) == 2
    assert queue.calls[0].headers["Authorization"] == f"Bearer {TOKEN}"


# Failures


@pytest.mark.parametrize(
    ("reply", "code", "message"),
    [
        (LOST, 200, "got no answer"),
        ({"detail": f"Bad token {TOKEN}"}, 401, "answered 401"),
        (NOT_FOUND, 404, "answered 404"),
        ({"detail": TOKEN}, 500, "answered 500"),
        (b"<html>login</html>", 200, "Is api_url the Supply API?"),
        ({"detail": "?"}, 200, "holds no list"),
        ([7], 200, "not an object"),
        ({"items": TWO, "total_count": 3}, 200, "counts 3 resources, but lists only 2"),
        ({"items": TWO, "next": 2}, 200, "lists only a part"),
        ([resource(None, name=None)], 200, "lists a resource without an id"),
    ],
    ids=["lost", "401", "404", "500", "HTML", "no list", "no object", "short list", "a part", "no id"],
)
def test_failing_api_fails_without_showing_token(
    queue: RequestQueue, error_of: Any, reply: Any, code: int, message: str
) -> None:
    queue.expect(*LIST, reply, code)
    error = error_of()
    assert without_whitespace(message) in error
    assert TOKEN not in error


def test_unreadable_registry_fails(queue: RequestQueue, error_of: Any) -> None:
    """Without it, all machines of the account would be hosts."""
    error = error_of(registry_url="postgresql://{{ '127.0.0.1' }}:none/x")
    assert "registry" in error and "{{" not in error and queue.calls == []


@pytest.mark.parametrize("invalid_id", ["x -oProxyCommand='touch x'", "../x", "x" * 65, 7])
def test_machine_with_invalid_id_needs_a_unique_name(
    queue: RequestQueue, load: Load, error_of: Any, invalid_id: Any
) -> None:
    queue.expect(*LIST, [resource(invalid_id), resource(ip=None, name=None)]).expect(
        *LIST, [resource(invalid_id), resource()]
    )
    hosts = load().hosts
    assert {name: host.get_vars()["ansible_host"] for name, host in hosts.items()} == {
        "trainer": "203.0.113.7",
        RESOURCE_ID: f"{RESOURCE_ID}.invalid",
    }
    assert hosts["trainer"].get_vars()["supply_resource_id"] is None
    assert without_whitespace("lists a resource without an id") in error_of()


def test_missing_library_is_named(queue: RequestQueue, error_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "REQUESTS_IMPORT_ERROR", "Traceback: no requests")
    assert without_whitespace("The Python library requests is missing: run") in error_of()
    assert queue.calls == []


@pytest.mark.parametrize(
    ("file", "plugin"),
    [("gpu.yml", NAME), ("gpu.supply.ini", NAME), ("gpu.supply.yml", "ansible.builtin.nothing")],
)
def test_file_for_another_plugin_is_skipped(queue: RequestQueue, load: Load, file: str, plugin: str) -> None:
    assert load(file=file, plugin=plugin).hosts == {}
    assert queue.calls == []


@pytest.mark.parametrize("file", ["supply.yml", "gpu.supply.yml", "gpu.supply.yaml"])
def test_parse_refuses_file_of_another_plugin(config: Any, file: str) -> None:
    path, plugin = config(file=file, plugin="ansible.builtin.constructed"), inventory_loader.get(NAME)
    assert plugin.verify_file(path) and not plugin.verify_file(f"{path}.gone.supply.yml")
    with pytest.raises(AnsibleError, match=r"(?i)incorrect plugin name"):
        plugin.parse(InventoryManager(DataLoader())._inventory, DataLoader(), path)


# The cache


CACHED_MACHINE = {
    **resource(),
    **{"offer_id": None, "price_per_hour": 2.0, "live": True, "gone": False, "spec": {}, "kind": "machine"},
    **{"ansible_host": "203.0.113.7", "ansible_port": 22, "ansible_user": "root"},
}


@pytest.fixture
def cache_options(tmp_path: Path) -> dict[str, Any]:
    """The options for a cache in a file."""
    return {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(tmp_path / "cache")}


@pytest.fixture
def fill_cache(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """``fill_cache(value)`` lets the cache return this value for each key."""

    def keep(value: Any) -> None:
        monkeypatch.setattr(CachePluginAdjudicator, "__getitem__", lambda *_args: value)
        monkeypatch.setattr(CachePluginAdjudicator, "__contains__", lambda *_args: True)

    return keep


def test_cached_list_is_used_again(queue: RequestQueue, load: Load, cache_options: Any, tmp_path: Path) -> None:
    queue.expect(*LIST, TWO)
    first, second = load(**cache_options), load(**cache_options)
    assert [host.get_vars() for host in first.hosts.values()] == [host.get_vars() for host in second.hosts.values()]
    assert len(queue.calls) == 1
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert [path for path in files if TOKEN in path.name + path.read_text()] == [] != files


def test_cached_list_is_older_than_a_registered_machine(
    queue: RequestQueue, load: Load, cache_options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a play would leave out the machine that was just bought."""
    machines = {key: RegisteredMachine(key, key, {}, Entry(), {}) for key in (RESOURCE_ID, SECOND_RESOURCE_ID)}
    queue.expect(*LIST, TWO[:1]).expect(*LIST, TWO)
    found = []
    for count in (1, 2, 2):
        registered = dict(list(machines.items())[:count])
        monkeypatch.setattr(source.InventoryModule, "_registered", lambda _self, known=registered: known)
        found.append(len(load(**cache_options).hosts))
    assert found == [1, 2, 2]


@pytest.mark.parametrize(
    "change", [{"fresh": True}, {"api_token": "another"}, {"api_url": f"{BASE}/v2"}, {"cache": False}], ids=str
)
def test_cache_is_not_used_for_other_options_or_refresh(
    queue: RequestQueue, load: Load, cache_options: Any, change: dict[str, Any]
) -> None:
    path = "/v2/resources" if "api_url" in change else "/resources"
    queue.expect(*LIST, TWO).expect("GET", path, TWO[:1])
    assert len(load(**cache_options).hosts) == 2
    assert len(load(**{**cache_options, **change}).hosts) == 1


def test_refreshed_list_replaces_cached_one(queue: RequestQueue, load: Load, cache_options: Any) -> None:
    queue.expect(*LIST, TWO).expect(*LIST, TWO[:1])
    assert [len(load(fresh=fresh, **cache_options).hosts) for fresh in (False, True, False)] == [2, 1, 1]


@pytest.mark.parametrize("unknown", [(), ("name", "status", "ansible_host"), ("resource_id", "status")], ids=str)
def test_valid_cache_needs_no_request(
    queue: RequestQueue, load: Load, cache_options: Any, fill_cache: Any, unknown: tuple[str, ...]
) -> None:
    fill_cache([{**CACHED_MACHINE, **dict.fromkeys(unknown)}])
    assert len(load(**cache_options).hosts) == 1
    assert queue.calls == []


@pytest.mark.parametrize(
    "cached_value",
    [
        [1, 2],
        [["a"]],
        ["a"],
        [{}],
        [None],
        {"a": 1},
        "a",
        None,
        [{"resource_id": RESOURCE_ID, "live": True}],
        [CACHED_MACHINE, {}],
        [{**CACHED_MACHINE, "spec": None}],
        [{**CACHED_MACHINE, "resource_id": "a -o b"}],
        [{**CACHED_MACHINE, "name": ["a"]}],
        [{key: value for key, value in CACHED_MACHINE.items() if key != "kind"}],
    ],
    ids=str,
)
def test_invalid_cache_is_read_again(
    queue: RequestQueue, load: Load, cache_options: Any, fill_cache: Any, cached_value: Any
) -> None:
    queue.expect(*LIST, TWO)
    fill_cache(cached_value)
    assert len(load(**cache_options).hosts) == 2


def test_failure_is_not_cached(queue: RequestQueue, load: Load, error_of: Any, cache_options: Any) -> None:
    queue.expect(*LIST, {}, 500).expect(*LIST, TWO)
    error_of(**cache_options)
    assert len(load(**cache_options).hosts) == 2


# Texts of the API


TEMPLATES = [
    "{{ 7*7 }}",
    "{% set x = 7*7 %}{{ x }}",
    "{{ lookup('env', 'HOME') }}",
    "a {# comment #} b",
    "{ {{ 7*7 }}",
    # The first line of a template may change its marks.
    "#jinja2: variable_start_string: '[[', variable_end_string: ']]'\n[[ 7*7 ]]",
    "#jinja2: variable_start_string: '[[', variable_end_string: ']]'\n[[ lookup('env', 'HOME') ]]",
]


@pytest.mark.parametrize("from_cache", [False, True], ids=["read", "cached"])
@pytest.mark.parametrize("text", TEMPLATES)
def test_texts_of_the_api_are_not_evaluated_as_templates(
    queue: RequestQueue, load: Load, cache_options: Any, text: str, from_cache: bool
) -> None:
    machine = resource(note=text, tags=[{"deep": [text]}], vendor=text, status=text, spec={text: text})
    queue.expect(*LIST, [machine])
    options = {"compose": {"short": "supply_note", "longer": "supply_tags[0].deep[0]"}}
    inventory = load(**cache_options, **options)
    host = (load(**cache_options, **options) if from_cache else inventory).hosts["trainer"]
    for template in ("supply_note", "supply_tags[0].deep[0]", "supply_vendor", "supply_spec.values() | first"):
        assert render(host, "{{ " + template + " }}") == text
    assert render(host, "{{ supply_tags }}") == [{"deep": [text]}]
    assert [render(host, "{{ short }}"), render(host, "{{ longer }}")] == [text, text]
    assert all(re.fullmatch(r"[a-z0-9_]+", group) for group in inventory.groups)


def test_texts_of_the_api_are_not_evaluated_in_hostnames(queue: RequestQueue, load: Load) -> None:
    queue.expect(*LIST, [resource(name="{{ 'evil' }}", note="{{ 'evil' }}")])
    queue.expect(*LIST, [resource(name="{{ 'evil' }}", note="{{ 'evil' }}")])
    assert [list(load(hostname=hostname).hosts) for hostname in ("", "supply_note")] == [[RESOURCE_ID]] * 2


# Documentation


@pytest.mark.parametrize("number", range(len(list(yaml.safe_load_all(source.EXAMPLES)))))
def test_each_example_loads_as_inventory(
    queue: RequestQueue, load: Load, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    example = list(yaml.safe_load_all(source.EXAMPLES))[number]
    monkeypatch.setenv("COMPUTE_INDEX_API_TOKEN", TOKEN)
    monkeypatch.setenv("COMPUTE_INDEX_API_URL", BASE)
    queue.expect(*LIST, TWO)
    inventory = load(**{"api_url": None, "api_token": None, **example})
    assert "trainer" in inventory.hosts
    assert set(example.get("groups", [])) <= inventory.groups.keys()


def test_plugin_is_documented_under_its_name() -> None:
    document = yaml.safe_load(source.DOCUMENTATION)
    assert document["options"]["plugin"]["choices"] == [source.InventoryModule.NAME] == [NAME]
    assert NAME.endswith(f".{document['name']}")
