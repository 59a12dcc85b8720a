# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts and registries that sweeps and reports read from an inventory, and how unreadable parts are reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.compute_index.supply.plugins.plugin_utils._hosts import _files

from project_inventory import CONFLICT, VAULTED, Inventory

SPEC = {"provision_spec": {"compute": {"gpu_type": "L4", "gpu_count": 1}}}
URL = "postgresql://supply:hunter2@db.example.com/supply"


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    return Inventory(tmp_path)


def readable_hosts(found: dict[str, Any]) -> set[str]:
    """The hosts of the inventory with a row, without localhost and the rows of groups."""
    return {row["host"] for row in found["hosts"] if "group" not in row} - {"localhost"}


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"provision_lease": "{{ hours }}h"}, ("provision_lease", "hours")),
        ({"provision_max_bill": "{{ 1 / 0 }}"}, ("provision_max_bill",)),
        ({"provision_idle_after": "8 hours"}, ("provision_idle_after", "'8 hours'")),
        ({"provision_lease": 8}, ("provision_lease", "'8'")),
        ({"provision_lease_max": True}, ("provision_lease_max",)),
        ({"provision_max_bill": "3,5"}, ("provision_max_bill", "'3,5'")),
        ({"provision_protect": "ture"}, ("provision_protect must be true or false, not 'ture'",)),
        ({"provision_protec": True}, ("provision_protect is misspelled as provision_protec",)),
        ({"provision_max_bill": {"a": 1}}, ("provision_max_bill",)),
        ({"provision_resource_name": ["a"]}, ("provision_resource_name",)),
        ({"provision_resource_name": "{{ nothing.at.all }}"}, ("provision_resource_name",)),
    ],
    ids=str,
)
def test_invalid_variable_is_reported_and_host_is_read(
    inventory: Inventory, variables: dict[str, Any], words: tuple[str, ...]
) -> None:
    inventory.write({"gpu": {"hosts": {"gpu-1": variables, "gpu-2": {}}, "vars": SPEC}})
    found = inventory.gathered("reap")
    (trouble,) = found["troubles"]
    assert trouble.startswith("gpu-1: ") and all(word in trouble for word in words)
    assert readable_hosts(found) == {"gpu-1", "gpu-2"} and found["unreadable"] == []


@pytest.mark.parametrize(
    ("value", "protect"),
    [
        (True, True),
        ("{{ 1 == 1 }}", True),
        (False, False),
        ("no", "no"),
        *((v, "unreadable") for v in ("{{ no }}", "ture")),
    ],
)
def test_unreadable_protection_is_not_permission_to_end(inventory: Inventory, value: Any, protect: Any) -> None:
    inventory.write({"gpu": {"hosts": {"gpu-1": {"provision_protect": value}, "gpu-2": {}}, "vars": SPEC}})
    rows = {row["host"]: row["protect"] for row in inventory.gathered("audit")["hosts"]}
    assert (rows["gpu-1"], rows["gpu-2"]) == (protect, None)


@pytest.mark.parametrize(
    ("variables", "protect"),
    [
        ({"provision_protec": True}, "unreadable"),
        ({"provision_proctect": "false"}, "unreadable"),
        ({"Provision_Protect": True}, "unreadable"),
        ({"provision_protec": True, "provision_protect": False}, False),
        ({"provision_project": "p"}, None),
        ({"provision_projct": "p"}, None),
    ],
)
def test_misspelled_protection_protects(inventory: Inventory, variables: dict[str, Any], protect: Any) -> None:
    inventory.write({"gpu": {"hosts": {"gpu-1": variables, "gpu-2": {}}, "vars": SPEC}})
    rows = {row["host"]: row["protect"] for row in inventory.gathered("audit")["hosts"]}
    assert (rows["gpu-1"], rows["gpu-2"]) == (protect, None)


@pytest.mark.parametrize("name", ["provision_project", "provision_registry_dir", "provision_registry_url"])
@pytest.mark.parametrize("value", ["{{ nothing }}-hunter2", ["hunter2"], True, "{{ omit }}", "hunter2 {{ 1 +"], ids=str)
def test_host_with_unknown_registry_is_left_out_and_reported(inventory: Inventory, name: str, value: Any) -> None:
    inventory.write({"gpu": {"hosts": {"gpu-1": {name: value}, "gpu-2": {}}, "vars": SPEC}})
    found = inventory.gathered("audit")
    (trouble,) = found["troubles"]
    assert trouble.startswith(f"gpu-1: {name} ") and readable_hosts(found) == {"gpu-2"}
    assert "hunter2" not in trouble and ".." not in trouble


@pytest.mark.parametrize("text", [CONFLICT, VAULTED, "- a\n- b\n", "a: [", "\0"], ids=str)
@pytest.mark.parametrize("file", ["own.yml", "compute_index_supply.yml"])
def test_unreadable_file_is_reported_without_its_lines(inventory: Inventory, text: str, file: str) -> None:
    inventory.write({"gpu": {"hosts": dict.fromkeys(["gpu-1", "gpu-2"]), "vars": SPEC}})
    path = inventory.variables("host_vars", "gpu-1", text, file)
    found = inventory.gathered("reap")
    (trouble,) = found["troubles"]
    assert trouble.startswith(f"gpu-1: {path} cannot be read: ") and "hunter2" not in trouble and "\n" not in trouble
    assert ("vault" in trouble) is (text == VAULTED)
    assert readable_hosts(found) == {"gpu-2"} and found["unreadable"] == ["gpu-1"]


def test_error_from_another_hosts_file_hides_its_lines(inventory: Inventory) -> None:
    other = {"provision_project": "{{ hostvars['gpu-2'].provision_project }}"}
    inventory.write({"gpu": {"hosts": {"gpu-1": other, "gpu-2": {}, "gpu-3": {}}, "vars": SPEC}})
    inventory.variables("host_vars", "gpu-2", "a: 1\n<<<<<<< HEAD\npassword: hunter2\n=======\n")
    found = inventory.gathered("audit")
    assert readable_hosts(found) == {"gpu-3"} and sorted(each[:6] for each in found["troubles"]) == ["gpu-1:", "gpu-2:"]
    assert "hunter2" not in " ".join(found["troubles"])


def test_variable_encrypted_with_vault_is_reported(inventory: Inventory) -> None:
    inventory.write({"gpu": {"hosts": dict.fromkeys(["gpu-1", "gpu-2"]), "vars": SPEC}})
    lines = "".join(f"  {line}\n" for line in VAULTED.splitlines())
    inventory.variables("host_vars", "gpu-1", f"provision_project: !vault |\n{lines}")
    found = inventory.gathered("audit")
    (trouble,) = found["troubles"]
    assert trouble.startswith("gpu-1: provision_project cannot be evaluated") and readable_hosts(found) == {"gpu-2"}


def test_same_trouble_of_many_hosts_is_one_sentence(inventory: Inventory) -> None:
    hosts = [f"gpu-{number}" for number in range(1, 301)]
    inventory.write({"gpu": {"hosts": dict.fromkeys(hosts), "vars": {**SPEC, "provision_lease": "{{ hours }}h"}}})
    (trouble,) = inventory.gathered("reap")["troubles"]
    assert trouble.startswith("gpu-1, gpu-10, gpu-100, gpu-101, gpu-102 and 295 more: provision_lease ")


# Registries that groups name for ordered hosts


def group_places(found: dict[str, Any]) -> set[tuple[str, str | None]]:
    """The projects and folders that groups name."""
    return {(row["project"], row["registry_dir"]) for row in found["hosts"] if "group" in row}


@pytest.mark.parametrize("is_inline", [True, False], ids=["in the inventory", "in group_vars"])
@pytest.mark.parametrize("group_exists", [True, False], ids=["an empty group", "no such group"])
def test_group_variables_name_registry_of_ordered_hosts(
    inventory: Inventory, is_inline: bool, group_exists: bool
) -> None:
    variables = {"provision_registry_dir": "/srv/registry", "provision_project": "team-{{ side }}", "side": "a"}
    if is_inline and not group_exists:
        return
    own = {"vars": variables} if is_inline else {}
    inventory.write({"gpu" if group_exists else "other": own})
    if not is_inline:
        inventory.variables("group_vars", "gpu", variables)
    found = inventory.gathered("spend")
    assert ("team-a", "/srv/registry") in group_places(found) and found["troubles"] == []


def test_registry_next_to_inventory_covers_ordered_hosts(inventory: Inventory) -> None:
    """Ordered hosts are in no inventory, so Ansible sets no inventory_dir for them."""
    inventory.write(
        {"gpu": {"vars": {"provision_registry_dir": "{{ folder }}/registry", "folder": "{{ inventory_dir }}"}}}
    )
    found = inventory.gathered("spend")
    assert found["troubles"] == [] and ("default", f"{inventory.folder}/registry") in group_places(found)


def test_registry_url_named_only_by_a_group_is_used(inventory: Inventory) -> None:
    inventory.write({"gpu": {"vars": {"provision_registry_url": URL, "provision_project": "team-a"}}})
    found = inventory.gathered("reap")
    assert found["registry_url"] == URL and ("team-a", None) in group_places(found)
    assert all(row["shared"] and "url" not in row for row in found["hosts"])


@pytest.mark.parametrize("step", ["reap", "spend", "audit"])
@pytest.mark.parametrize(("spec", "projects"), [({}, {"team-a"}), (SPEC, {"team-a", "default"})])
def test_default_project_is_read_only_if_hosts_use_it(
    inventory: Inventory, step: str, spec: dict[str, Any], projects: set[str]
) -> None:
    """Else it may be another team's: a sweep would end nothing there, but note that it has swept the project."""
    own = {"provision_registry_url": URL, "provision_project": "team-a", **SPEC}
    web = {"hosts": {"web-1": None}, "vars": spec}
    inventory.write({"gpu": {"hosts": {"gpu-1": None}, "vars": own}, "web": web})
    found = inventory.gathered(step)
    assert {row["project"] for row in found["hosts"]} == projects and found["troubles"] == []


@pytest.mark.parametrize(
    ("gpu", "web", "projects"),
    [
        (SPEC, {}, {"team-a"}),
        (SPEC, SPEC, {"team-a", "default"}),
        # A host that no longer declares a machine may still have one in its project.
        ({}, {}, {"team-a"}),
        ({}, SPEC, {"team-a", "default"}),
        ({"provision_project": "default"}, {}, {"default"}),
        # Files are no other team's.
        ({}, {"provision_registry_url": "", "provision_registry_dir": "/srv/web"}, {"team-a", "default"}),
    ],
)
def test_default_project_of_shared_registry_is_read_only_if_hosts_use_it(
    inventory: Inventory, gpu: dict[str, Any], web: dict[str, Any], projects: set[str]
) -> None:
    groups = {
        "gpu": {"hosts": {"gpu-1": None}, "vars": {"provision_project": "team-a", **gpu}},
        "web": {"hosts": {"web-1": None}, "vars": web},
    }
    inventory.write({"all": {"vars": {"provision_registry_url": URL}, "children": groups}})
    found = inventory.gathered("reap")
    assert {row["project"] for row in found["hosts"]} == projects and found["troubles"] == []


def test_registry_url_of_the_play_is_used_for_all_hosts(inventory: Inventory) -> None:
    inventory.write({"gpu": {"hosts": dict.fromkeys(["gpu-1", "gpu-2"]), "vars": SPEC}})
    inventory.play = {"provision_registry_url": URL}
    found = inventory.gathered("reap")
    assert found["registry_url"] == URL and found["troubles"] == []
    assert all(row["shared"] for row in found["hosts"])


def test_registry_folders_of_all_groups_are_read(inventory: Inventory) -> None:
    train = {"vars": {"provision_registry_dir": "/srv/train"}}
    inventory.write({"ml": {"children": {"train": train, "infer": {"vars": {"provision_registry_dir": "/srv/infer"}}}}})
    assert {folder for _project, folder in group_places(inventory.gathered("audit"))} >= {"/srv/train", "/srv/infer"}


def test_second_registry_url_is_reported_without_password(inventory: Inventory) -> None:
    other = {"vars": {"provision_registry_url": URL.replace("db.", "other.")}}
    inventory.write({"gpu": {"hosts": {"gpu-1": {"provision_registry_url": URL}}}, "late": other})
    found = inventory.gathered("audit")
    assert found["registry_url"] == URL
    (trouble,) = found["troubles"]
    assert (
        "the group late" in trouble and "provision_registry_url names another" in trouble and "hunter2" not in trouble
    )


@pytest.mark.parametrize(
    ("project", "unread"),
    [
        (None, {"late-1, the hosts that the group late may get", "lost-1"}),
        ("default", {"lost-1"}),
        ("red", {"late-1, the hosts that the group late may get", "lost-1"}),
    ],
)
def test_unknown_places_lists_hosts_that_may_belong_to_the_projects(
    inventory: Inventory, project: str | None, unread: set[str]
) -> None:
    other = {"provision_registry_url": URL.replace("db.", "other."), "provision_project": "red"}
    lost, long = {"provision_registry_dir": "{{ lost }}"}, {"provision_lease": "{{ hours }}"}
    odd = {"late-1": other, "lost-1": lost, "long-1": long}
    inventory.write({"gpu": {"hosts": {"gpu-1": {"provision_registry_url": URL}, **odd}}, "late": {"vars": other}})
    inventory.gathered("spend")
    unknown = inventory.hosts.unknown_places({project} if project else None)
    assert {text.partition(": ")[0] for text in unknown} == unread


def test_hosts_with_registry_files_are_read_next_to_shared_registry(inventory: Inventory) -> None:
    files = {"hosts": {"own-1": {"provision_registry_dir": "/srv/files"}, "own-2": {}}, "vars": SPEC}
    inventory.write({"gpu": {"hosts": {"gpu-1": {"provision_registry_url": URL}}}, "own": files})
    found = inventory.gathered("audit")
    assert {row["host"] for row in found["hosts"] if not row["shared"] and "group" not in row} == {"own-1", "own-2"}


@pytest.mark.parametrize("name", ["provision_registry_dir", "provision_project"])
def test_group_registry_that_depends_on_host_is_reported_if_empty(inventory: Inventory, name: str) -> None:
    inventory.write({"gpu": {"vars": {name: "x-{{ inventory_hostname }}"}}})
    (trouble,) = inventory.gathered("reap")["troubles"]
    assert "the group gpu" in trouble and name in trouble
    inventory.write({"gpu": {"vars": {name: "x-{{ inventory_hostname }}"}, "hosts": {"gpu-1": {}}}})
    assert inventory.gathered("reap")["troubles"] == []


def test_inventory_files_are_reread_without_running_plugins(inventory: Inventory) -> None:
    folder = inventory.folder / "hosts.yml"
    files = {
        "a.yml": "gpu: {hosts: {gpu-1: }}",
        "b.yml": "strict: true\nplugin: not.installed.plugin\n",
        "c": "[gpu]\ngpu-2 text='plugin: a'\n",
        "d.yml~": CONFLICT,
        "deep/e.yml": "gpu: ",
        "group_vars/gpu.yml": "a: 1",
        ".hidden.yml": CONFLICT,
        "README.md": CONFLICT,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    assert [str(Path(file).relative_to(folder)) for file in _files(str(folder))] == [
        "a.yml",
        "b.yml",
        "c",
        "deep/e.yml",
    ]
    assert not list(_files("gpu-1,gpu-2"))
    assert inventory.gathered("reap")["troubles"] == []
    (folder / "b.yml").write_text(f"plugin: not.installed.plugin\n{CONFLICT}")
    (folder / "f").write_text(CONFLICT)
    troubles = inventory.gathered("reap")["troubles"]
    assert [name for name in ("b.yml", "f") if f"{folder}/{name} could not" in str(troubles)] == ["b.yml", "f"]


@pytest.mark.parametrize("step", ["reap", "audit", "spend", "runs"])
@pytest.mark.parametrize("text", [CONFLICT, "gpu:\n\thosts: {}\n", None], ids=["conflict", "tab", "gone"])
def test_unparsed_part_of_inventory_is_reported(inventory: Inventory, step: str, text: str | None) -> None:
    """Otherwise a registry that it names, and the leases in it, would be ignored without a message."""
    inventory.write({"gpu": {"hosts": {"gpu-1": SPEC}}})
    assert inventory.gathered(step)["troubles"] == []
    (inventory.folder / "hosts.yml").unlink()
    if text is not None:
        (inventory.folder / "hosts.yml").write_text(text)
    (trouble,) = inventory.gathered(step)["troubles"]
    assert f"{inventory.folder}/hosts.yml could not be parsed" in trouble and "hunter2" not in trouble


@pytest.mark.parametrize(
    ("text", "is_reported"), [("# gpu: none yet\n---\n", False), ("- hosts: gpu\n", False), ("plugin: {\n", True)]
)
def test_valid_yaml_without_hosts_is_not_reported(inventory: Inventory, text: str, is_reported: bool) -> None:
    """A playbook in the folder, or an inventory whose hosts are commented out, must not make every sweep fail."""
    (inventory.folder / "hosts.yml").write_text(text)
    troubles = inventory.gathered("reap")["troubles"]
    assert bool(troubles) == ("inventory_ignore_patterns" in str(troubles)) == is_reported


def test_group_with_undefined_variable_is_reported(inventory: Inventory) -> None:
    inventory.write({"gpu": {"vars": {"provision_project": "{{ team }}"}}})
    (trouble,) = inventory.gathered("audit")["troubles"]
    assert "the group gpu" in trouble and "provision_project cannot be evaluated" in trouble
    inventory.extra = {"team": "a"}
    found = inventory.gathered("audit")
    assert found["troubles"] == [] and ("a", None) in group_places(found)


def test_lease_and_bill_of_empty_group_are_not_checked(inventory: Inventory) -> None:
    inventory.write({"gpu": {"vars": {"provision_lease": "{{ hours }}h", "provision_max_bill": "{{ usd }}"}}})
    assert inventory.gathered("reap")["troubles"] == []


def test_reap_variable_that_cannot_be_evaluated_stays_a_template(inventory: Inventory) -> None:
    hosts = {"gpu-1": {"reap_grace": "{{ 1 + 1 }}h"}, "gpu-2": {"reap_grace": "{{ hours }}h"}, "gpu-3": {}}
    inventory.write({"gpu": {"hosts": hosts}})
    assert inventory.gathered("reap")["own"] == {
        "gpu-1": {"reap_grace": "2h"},
        "gpu-2": {"reap_grace": "{{ hours }}h"},
    }


# Hosts that a person names


@pytest.mark.parametrize("verb", ["decommission", "extend"])
@pytest.mark.parametrize(
    ("given", "hosts"),
    [(101, ["101"]), ("101", ["101"]), ([101, "gpu-1"], ["101", "gpu-1"]), (["gpu"], ["gpu-1"]), ("gpu,101", None)],
)
def test_numbers_name_hosts(inventory: Inventory, verb: str, given: Any, hosts: Any) -> None:
    inventory.write({"gpu": {"hosts": dict.fromkeys(["gpu-1"])}, "own": {"hosts": {"101": {}}}})
    found = inventory.gathered("named", hosts=given, verb=verb)
    assert hosts is None or sorted(found["matched"]) == hosts


@pytest.mark.parametrize("verb", ["decommission", "extend"])
@pytest.mark.parametrize("given", [True, False, 1.5, {"gpu-1": {}}, [["gpu-1"]], [None], [True], ["gpu-1", 1.0], "~("])
def test_invalid_host_pattern_is_refused_with_its_variable(inventory: Inventory, verb: str, given: Any) -> None:
    inventory.write({"gpu": {"hosts": dict.fromkeys(["gpu-1"])}})
    with pytest.raises(AnsibleActionFail, match=f"{verb}_hosts"):
        inventory.gathered("named", hosts=given, verb=verb)


def test_unreadable_hosts_are_reported_apart_from_other_named_hosts(inventory: Inventory) -> None:
    inventory.write({"gpu": {"hosts": dict.fromkeys(["gpu-1", "gpu-2", "gpu-3"])}})
    for host in ("gpu-1", "gpu-3"):
        inventory.variables("host_vars", host, CONFLICT)
    found = inventory.gathered("named", hosts="gpu-1,gpu-2")
    assert found["unreadable"] == ["gpu-1", "gpu-3"] and [each[:6] for each in found["troubles"]] == ["gpu-1:"]
    assert [each[:6] for each in found["others"]] == ["gpu-3:"]
