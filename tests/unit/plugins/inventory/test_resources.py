# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory as Ansible loads it: all live machines, or an end with an error, and no text of the API is run."""

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
        # Python has imported the folders as namespace packages; Ansible wants to do that in its own way.
        for name, module in list(sys.modules.items()):
            if name.startswith("ansible_collections") and getattr(module, "__file__", None) is None:
                del sys.modules[name]
        init_plugin_loader([str(Path(source.__file__).parents[5])])


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., str]:
    """``config(**options)`` writes a file that is a configuration, and returns its path."""

    def write(file: str = "gpu.supply.yml", **options: Any) -> str:
        path = tmp_path / file
        path.write_text(yaml.safe_dump({**COMMON, **options}))
        return str(path)

    return write


@pytest.fixture
def load(config: Callable[..., str]) -> Load:
    """``load(fresh=False, **options)``: the inventory of a configuration."""

    def run(fresh: bool = False, **options: Any) -> InventoryManager:
        try:
            return InventoryManager(DataLoader(), sources=[config(**options)], cache=not fresh)
        except SystemExit as end:  # a test that does not expect it would end pytest's worker
            raise Ended(end.code) from None

    return run


@pytest.fixture
def refused(load: Load, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """``refused(**options)``: what is said at the end of the command, without white space, which may be line ends."""

    def run(**options: Any) -> str:
        with pytest.raises(Ended, match=r"^4$"):
            load(**options)
        said = capsys.readouterr()
        assert said.out == ""
        return packed(said.err)

    return run


def packed(text: str) -> str:
    return "".join(text.split())


def render(host: Any, template: str) -> Any:
    """What a task sees of a host's variables."""
    return Templar(DataLoader(), variables=host.get_vars()).template(trust_as_template(template))


def members(inventory: InventoryManager, group: str) -> list[str]:
    return [host.name for host in inventory.groups[group].get_hosts()]


# Hosts


def test_each_live_machine_is_a_host_with_variables_and_groups(queue: RequestQueue, load: Load) -> None:
    words = ["running", None, "provisioning", "deleting", "deleted", "terminated", "failed"]
    queue.expect(*LIST, [resource(f"{n:036}", name=f"m{n}", status=word) for n, word in enumerate(words)])
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


@pytest.mark.parametrize("word", ["storage", "block_disk", "filesystem", "Volumes", "network", "snapshot"])
def test_what_is_no_machine_is_no_host(
    queue: RequestQueue, load: Load, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    queue.expect(*LIST, [resource(), resource(SECOND_RESOURCE_ID, "203.0.113.8", name="data", resource_type=word)])
    assert list(load().hosts) == ["trainer"]
    assert "WARNING" not in capsys.readouterr().err


def test_an_unknown_word_is_no_host_and_a_warning_names_it(
    queue: RequestQueue, load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    named = resource(SECOND_RESOURCE_ID, "203.0.113.8", name="odd", resource_type="warp-\x1bcore")
    queue.expect(*LIST, [resource(resource_type=None), named, {**named, "resource_id": f"{7:036}"}])
    assert list(load().hosts) == ["trainer"]
    told = packed(capsys.readouterr().err)
    assert "2liveresourcesarenohosts,sincetheirtypeisunknown:'warp-\\x1bcore'." in told


def test_a_machine_without_an_address_is_a_host_that_nobody_reaches(queue: RequestQueue, load: Load) -> None:
    queue.expect(*LIST, [resource(ip=None)])
    variables = load().hosts["trainer"].get_vars()
    assert (variables["ansible_host"], "ansible_port" in variables) == (f"{RESOURCE_ID}.invalid", False)


def test_a_machine_does_not_become_the_controller_or_a_group(queue: RequestQueue, load: Load) -> None:
    wanted = ["localhost", "all", "supply", "vendor_nebius"]
    queue.expect(*LIST, [resource(f"{n:036}", name=name) for n, name in enumerate(wanted)])
    assert list(load().hosts) == [f"{n:036}" for n in range(len(wanted))]


def test_of_machines_that_share_a_name_none_gets_it_and_that_is_said(
    queue: RequestQueue, load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    queue.expect(*LIST, [resource(), resource(SECOND_RESOURCE_ID), resource(f"{7:036}", name="other")])
    hosts = [f"trainer-{RESOURCE_ID}", f"trainer-{SECOND_RESOURCE_ID}"]
    assert list(load().hosts) == [*hosts, "other"]
    said = packed(capsys.readouterr().err)
    assert f"2machinesarecalledtrainer,sotheinventoryhasnohosttrainer,butthese:{','.join(hosts)}." in said


def test_without_live_machines_there_is_a_warning(
    queue: RequestQueue, load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    queue.expect(*LIST, [resource(status="deleted")])
    assert load().hosts == {}
    assert "[WARNING]:Thisinventoryhasnohosts:" in packed(capsys.readouterr().err)


def test_a_registered_machine_that_is_not_listed_as_live_is_named(
    queue: RequestQueue, load: Load, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = {
        key: RegisteredMachine(f"gpu-{n}", f"gpu-{n}", {}, Entry(), {}) for n, key in enumerate(("a", "b", "c"))
    }
    monkeypatch.setattr(source.InventoryModule, "_registered", lambda _self: machines)
    queue.expect(*LIST, [resource("a", name="x"), resource("b", name="y", status="deleted"), resource("d", name="z")])
    assert list(load().hosts) == ["gpu-0"]
    assert "maystillbebilled:gpu-1(b),gpu-2(c).Checkthem" in packed(capsys.readouterr().err)


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
def test_hosts_are_called_as_was_said(queue: RequestQueue, load: Load, hostname: str, expected: list[str]) -> None:
    queue.expect(*LIST, TWO)
    assert list(load(hostname=hostname).hosts) == expected


def test_variables_have_the_prefix_that_was_said(queue: RequestQueue, load: Load) -> None:
    queue.expect(*LIST, TWO)
    options = {"hostname": "_x1name", "filters": {"include": ["_x1status == 'running'"]}}
    inventory = load(hostvars_prefix="_x1", **options)
    names = inventory.hosts["trainer"].get_vars().keys()
    assert "_x1resource_id" in names and not any(name.startswith("supply_") for name in names)


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
def test_filters_say_which_machines_are_hosts(
    queue: RequestQueue, load: Load, filters: dict[str, Any], hosts: list[str]
) -> None:
    queue.expect(*LIST, TWO)
    inventory = load(filters=filters)
    assert list(inventory.hosts) == hosts
    assert ("state_paused" in inventory.groups) is ("other-1" in hosts)


@pytest.mark.parametrize("kind", ["include", "exclude"])
@pytest.mark.parametrize("condition", ["nothing == 1", "supply_name", "supply_spec", "1 +", 7, None, "None", {"a": 1}])
def test_a_condition_that_cannot_be_evaluated_ends_the_command(
    queue: RequestQueue, refused: Any, kind: str, condition: Any
) -> None:
    queue.expect(*LIST, TWO)
    assert "isneithertruenorfalseforthemachine" in refused(filters={kind: [condition]})


# Ansible's own options


def test_variables_and_groups_can_be_made_of_variables(queue: RequestQueue, load: Load) -> None:
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
def test_machines_of_two_accounts_do_not_become_one_host(
    queue: RequestQueue, config: Callable[..., str], capsys: pytest.CaptureFixture[str], later: str, is_taken: bool
) -> None:
    """Ansible would make one host of both, in the groups of both, and that of the first would be in no inventory."""
    sources = [config("a.supply.yml"), config("b.supply.yml")]
    queue.expect(*LIST, [resource()])
    queue.expect(*LIST, [resource(later, vendor="hyperstack")])
    with pytest.raises(SystemExit) if is_taken else contextlib.nullcontext():
        assert list(InventoryManager(DataLoader(), sources=sources).hosts) == ["trainer"]
    assert (packed("has other machines with these names: trainer.") in packed(capsys.readouterr().err)) is is_taken


@pytest.mark.parametrize(
    ("variables", "is_taken"),
    [
        ({"ansible_host": "10.0.0.1"}, True),
        ({"ansible_host": "10.0.0.1", "other_resource_id": RESOURCE_ID}, False),  # by the plugin, with another prefix
        ({"ansible_host": "203.0.113.7"}, False),
        ({"provision_max_price_per_hour": 4}, False),
    ],
    ids=str,
)
def test_a_machine_does_not_become_a_computer_of_its_name(
    queue: RequestQueue,
    config: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    variables: dict[str, Any],
    is_taken: bool,
) -> None:
    """Plays for the computer would run on a machine that, on a shared account, anybody may have given its name."""
    own = tmp_path / "hosts.yml"
    own.write_text(yaml.safe_dump({"all": {"hosts": {"trainer": variables}}}))
    queue.expect(*LIST, [resource()])
    with pytest.raises(SystemExit) if is_taken else contextlib.nullcontext():
        found = InventoryManager(DataLoader(), sources=[str(own), config("a.supply.yml")])
        assert found.hosts["trainer"].vars["ansible_host"] == "203.0.113.7"
    assert (packed("has other machines with these names: trainer.") in packed(capsys.readouterr().err)) is is_taken


def test_a_machine_does_not_become_a_group_that_was_asked_for(queue: RequestQueue, load: Load) -> None:
    queue.expect(*LIST, [resource(name="every"), resource(SECOND_RESOURCE_ID, name="b")])
    inventory = load(groups={"every": True})
    assert sorted(members(inventory, "every")) == [RESOURCE_ID, "b"]


@pytest.mark.parametrize("names", [["b-1", "project_b"], ["project_b", "b-1"]], ids=str)
def test_a_machine_that_is_called_like_a_keyed_group_is_an_error(
    queue: RequestQueue, refused: Any, names: list[str]
) -> None:
    queue.expect(*LIST, [resource(f"{n:036}", name=name) for n, name in enumerate(names)])
    said = refused(keyed_groups=[{"key": "supply_name.split('-')[0]", "prefix": "project"}])
    assert packed("groups with the names of machines: project_b") in said


@pytest.mark.parametrize(
    "options", [{"compose": {"x": "nothing"}}, {"groups": {"x": "nothing.x"}}, {"keyed_groups": [{"key": "nothing"}]}]
)
def test_a_strict_inventory_takes_no_wrong_expression(queue: RequestQueue, refused: Any, options: Any) -> None:
    queue.expect(*LIST, TWO)
    assert "nothing" in refused(strict=True, **options)


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
def test_a_wrong_option_ends_the_command_before_anything_is_sent(
    queue: RequestQueue, refused: Any, options: Any, message: str
) -> None:
    said = refused(**options)
    assert packed(message) in said and "gpu.supply.yml" in said
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
def test_an_option_of_a_wrong_type_ends_the_command_too(queue: RequestQueue, refused: Any, options: Any) -> None:
    assert "gpu.supply.yml" in refused(**options)
    assert queue.calls == []


@pytest.mark.parametrize("how", ["template", "environment"])
def test_token_and_url_may_be_templates_or_stand_in_the_environment(
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
def test_an_api_that_fails_ends_the_command(
    queue: RequestQueue, refused: Any, reply: Any, code: int, message: str
) -> None:
    queue.expect(*LIST, reply, code)
    said = refused()
    assert packed(message) in said
    assert TOKEN not in said


@pytest.mark.parametrize("odd", ["x -oProxyCommand='touch x'", "../x", "x" * 65, 7])
def test_a_machine_whose_id_is_none_goes_by_its_name_or_ends_the_command(
    queue: RequestQueue, load: Load, refused: Any, odd: Any
) -> None:
    queue.expect(*LIST, [resource(odd), resource(ip=None, name=None)]).expect(*LIST, [resource(odd), resource()])
    hosts = load().hosts
    assert {name: host.get_vars()["ansible_host"] for name, host in hosts.items()} == {
        "trainer": "203.0.113.7",
        RESOURCE_ID: f"{RESOURCE_ID}.invalid",
    }
    assert hosts["trainer"].get_vars()["supply_resource_id"] is None
    assert packed("lists a resource without an id") in refused()


def test_a_missing_library_is_named(queue: RequestQueue, refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "REQUESTS_IMPORT_ERROR", "Traceback: no requests")
    assert packed("The Python library requests is missing: run") in refused()
    assert queue.calls == []


@pytest.mark.parametrize(
    ("file", "plugin"),
    [("gpu.yml", NAME), ("gpu.supply.ini", NAME), ("gpu.supply.yml", "ansible.builtin.nothing")],
)
def test_what_is_not_for_this_plugin_is_left_alone(queue: RequestQueue, load: Load, file: str, plugin: str) -> None:
    assert load(file=file, plugin=plugin).hosts == {}
    assert queue.calls == []


@pytest.mark.parametrize("file", ["supply.yml", "gpu.supply.yml", "gpu.supply.yaml"])
def test_the_file_of_another_plugin_is_for_that_one_to_read(config: Any, file: str) -> None:
    path, plugin = config(file=file, plugin="ansible.builtin.constructed"), inventory_loader.get(NAME)
    assert plugin.verify_file(path) and not plugin.verify_file(f"{path}.gone.supply.yml")
    with pytest.raises(AnsibleError, match=r"(?i)incorrect plugin name"):
        plugin.parse(InventoryManager(DataLoader())._inventory, DataLoader(), path)


# The cache


KEPT = {
    **resource(),
    **{"offer_id": None, "price_per_hour": 2.0, "live": True, "gone": False, "spec": {}, "kind": "machine"},
    **{"ansible_host": "203.0.113.7", "ansible_port": 22, "ansible_user": "root"},
}


@pytest.fixture
def cached(tmp_path: Path) -> dict[str, Any]:
    """The options with which the list is kept in a file."""
    return {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(tmp_path / "cache")}


@pytest.fixture
def kept_as(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """``kept_as(value)``: what the cache has for each key, whatever is kept in it later."""

    def keep(value: Any) -> None:
        monkeypatch.setattr(CachePluginAdjudicator, "__getitem__", lambda *_args: value)
        monkeypatch.setattr(CachePluginAdjudicator, "__contains__", lambda *_args: True)

    return keep


def test_a_list_that_was_read_before_is_not_asked_for_again(
    queue: RequestQueue, load: Load, cached: Any, tmp_path: Path
) -> None:
    queue.expect(*LIST, TWO)
    first, second = load(**cached), load(**cached)
    assert [host.get_vars() for host in first.hosts.values()] == [host.get_vars() for host in second.hosts.values()]
    assert len(queue.calls) == 1
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert [path for path in files if TOKEN in path.name + path.read_text()] == [] != files


@pytest.mark.parametrize(
    "change", [{"fresh": True}, {"api_token": "another"}, {"api_url": f"{BASE}/v2"}, {"cache": False}], ids=str
)
def test_the_list_is_read_anew_for_whom_the_kept_one_is_not(
    queue: RequestQueue, load: Load, cached: Any, change: dict[str, Any]
) -> None:
    path = "/v2/resources" if "api_url" in change else "/resources"
    queue.expect(*LIST, TWO).expect("GET", path, TWO[:1])
    assert len(load(**cached).hosts) == 2
    assert len(load(**{**cached, **change}).hosts) == 1


def test_a_fresh_list_replaces_the_kept_one(queue: RequestQueue, load: Load, cached: Any) -> None:
    queue.expect(*LIST, TWO).expect(*LIST, TWO[:1])
    assert [len(load(fresh=fresh, **cached).hosts) for fresh in (False, True, False)] == [2, 1, 1]


def test_a_kept_list_of_machines_is_taken(queue: RequestQueue, load: Load, cached: Any, kept_as: Any) -> None:
    kept_as([KEPT])
    assert len(load(**cached).hosts) == 1
    assert queue.calls == []


@pytest.mark.parametrize(
    "kept",
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
        [{**KEPT, "spec": None}],
        [{**KEPT, "resource_id": "a -o b"}],
        [{**KEPT, "name": ["a"]}],
        [{key: value for key, value in KEPT.items() if key != "kind"}],
    ],
    ids=str,
)
def test_a_kept_list_that_is_none_of_machines_is_read_anew(
    queue: RequestQueue, load: Load, cached: Any, kept_as: Any, kept: Any
) -> None:
    queue.expect(*LIST, TWO)
    kept_as(kept)
    assert len(load(**cached).hosts) == 2


def test_a_failure_is_not_kept(queue: RequestQueue, load: Load, refused: Any, cached: Any) -> None:
    queue.expect(*LIST, {}, 500).expect(*LIST, TWO)
    refused(**cached)
    assert len(load(**cached).hosts) == 2


# Texts of the API


MARKS = [
    "{{ 7*7 }}",
    "{% set x = 7*7 %}{{ x }}",
    "{{ lookup('env', 'HOME') }}",
    "a {# comment #} b",
    "{ {{ 7*7 }}",
    # A template may say in its first line what marks it.
    "#jinja2: variable_start_string: '[[', variable_end_string: ']]'\n[[ 7*7 ]]",
    "#jinja2: variable_start_string: '[[', variable_end_string: ']]'\n[[ lookup('env', 'HOME') ]]",
]


@pytest.mark.parametrize("from_cache", [False, True], ids=["read", "cached"])
@pytest.mark.parametrize("text", MARKS)
def test_a_text_of_the_api_is_never_run_as_a_template(
    queue: RequestQueue, load: Load, cached: Any, text: str, from_cache: bool
) -> None:
    machine = resource(note=text, tags=[{"deep": [text]}], vendor=text, status=text, spec={text: text})
    queue.expect(*LIST, [machine])
    options = {"compose": {"said": "supply_note", "longer": "supply_tags[0].deep[0]"}}
    inventory = load(**cached, **options)
    host = (load(**cached, **options) if from_cache else inventory).hosts["trainer"]
    for template in ("supply_note", "supply_tags[0].deep[0]", "supply_vendor", "supply_spec.values() | first"):
        assert render(host, "{{ " + template + " }}") == text
    assert render(host, "{{ supply_tags }}") == [{"deep": [text]}]
    assert [render(host, "{{ said }}"), render(host, "{{ longer }}")] == [text, text]
    assert all(re.fullmatch(r"[a-z0-9_]+", group) for group in inventory.groups)


def test_a_text_of_the_api_is_never_run_as_a_hostname(queue: RequestQueue, load: Load) -> None:
    queue.expect(*LIST, [resource(name="{{ 'evil' }}", note="{{ 'evil' }}")])
    queue.expect(*LIST, [resource(name="{{ 'evil' }}", note="{{ 'evil' }}")])
    assert [list(load(hostname=hostname).hosts) for hostname in ("", "supply_note")] == [[RESOURCE_ID]] * 2


# Documentation


@pytest.mark.parametrize("number", range(len(list(yaml.safe_load_all(source.EXAMPLES)))))
def test_each_example_is_an_inventory(
    queue: RequestQueue, load: Load, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    example = list(yaml.safe_load_all(source.EXAMPLES))[number]
    monkeypatch.setenv("COMPUTE_INDEX_API_TOKEN", TOKEN)
    monkeypatch.setenv("COMPUTE_INDEX_API_URL", BASE)
    queue.expect(*LIST, TWO)
    inventory = load(**{"api_url": None, "api_token": None, **example})
    assert "trainer" in inventory.hosts
    assert set(example.get("groups", [])) <= inventory.groups.keys()


def test_the_plugin_is_documented_under_its_name() -> None:
    document = yaml.safe_load(source.DOCUMENTATION)
    assert document["options"]["plugin"]["choices"] == [source.InventoryModule.NAME] == [NAME]
    assert NAME.endswith(f".{document['name']}")


@pytest.mark.parametrize("by_environment", [True, False])
def test_without_a_registry_a_projects_machines_are_told_by_their_names(
    queue: RequestQueue, load: Load, monkeypatch: pytest.MonkeyPatch, by_environment: bool
) -> None:
    names = ["red-gpu-1", "red-train-2", "blue-gpu-1", "red", "gpu-1", "reds-gpu-1", None]
    queue.expect(*LIST, [resource(f"{n:036}", name=name) for n, name in enumerate(names)])
    if by_environment:
        monkeypatch.setenv("COMPUTE_INDEX_PROJECT", "red")
    inventory = load(**({} if by_environment else {"project": "red"}))
    assert list(inventory.hosts) == ["gpu-1", "train-2"]
    assert inventory.hosts["gpu-1"].get_vars()["supply_name"] == "red-gpu-1"
