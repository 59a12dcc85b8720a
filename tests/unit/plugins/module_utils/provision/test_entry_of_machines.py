# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of a host whose machine runs, and its ssh options."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import (
    CONNECTION,
    connection_variables,
    facts_of_machine,
    further_hosts,
    is_further_host,
    is_registered,
    lease_facts,
    noted_once_reached,
    owned_row,
    read_entry,
    shares_host_keys,
    ssh_args,
    ssh_variables,
    tasks_that_reach,
    without_local_paths,
)
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import known_hosts_file
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import declared, machine_id, offer_id, planned

X, M, N = offer_id(1), machine_id(1), machine_id(2)
PATHS = [
    *("/plain/.known_hosts", "/a b/k", "/a  b/k", "/a\tb/k", "/it's/k", "/100%/k", "/%h/%%/k", "/$HOME/k"),
    *("/a$(id)`id`/k", "/a\\b/k", "/a\\ b/k", "/a#b/k", "/# a/k", "/~/k", "/ümläut/\N{SNOWMAN}/k"),
    *("/a=b,c;d&e|f/k", "/a*b?[c]/k", "/!x/k"),
]


def connection(resource_id: str | None = M, address: str = "192.0.2.1", **fields: Any) -> dict[str, Any]:
    return {"resource_id": resource_id, "ansible_host": address, "ansible_port": 22, "ansible_user": "root", **fields}


# Options of ssh


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("trust", "checking"), [("first_use", "accept-new"), ("seeded", "yes")])
def test_ssh_options_are_quoted_for_the_shell(path: str, trust: str, checking: str) -> None:
    escaped = path.replace("%", "%%")
    assert shlex.split(ssh_args(M, trust, path, path)) == [
        *("-o", f"HostKeyAlias={M}", "-o", f"StrictHostKeyChecking={checking}"),
        *("-o", f'UserKnownHostsFile="{escaped}"', "-o", f'IdentityFile="{escaped}"'),
    ]


@pytest.mark.parametrize(("trust", "path"), [("none", "/a/k"), ("none", ""), ("first_use", ""), ("seeded", "")])
def test_host_keys_are_not_kept_without_file_or_trust(trust: str, path: str) -> None:
    assert ssh_args(M, trust, path, "").endswith("-o UserKnownHostsFile=/dev/null")


@pytest.mark.parametrize("identity", ["", '/a"b', "/a/${x}", "/a\nProxyCommand x"])
def test_unreadable_private_key_path_is_left_out(identity: str) -> None:
    assert "IdentityFile" not in ssh_args(M, "first_use", "/a/k", identity)


@pytest.mark.skipif(not shutil.which("ssh"), reason="needs ssh")
@pytest.mark.parametrize("path", PATHS)
def test_ssh_reads_the_given_paths(path: str) -> None:
    # The role accepts these paths.
    assert declared(path.rpartition("/")[0]).objections == ()
    command = ["ssh", "-F", "none", "-G", *shlex.split(ssh_args(M, "first_use", path, path)), "gpu-1.example"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    options = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    assert (options["userknownhostsfile"], options["identityfile"]) == (path, path.replace("%", "%%"))
    assert options["hostkeyalias"] == M
    assert options["stricthostkeychecking"] in ("accept-new", "yes")


@given(st.text(min_size=1, max_size=20))
def test_arbitrary_id_adds_no_ssh_option(alias: str) -> None:
    words = shlex.split(ssh_args(alias, "none", "", ""))
    assert words[:2] == ["-o", f"HostKeyAlias={alias}"]
    assert len(words) == 6


def test_known_hosts_file_is_next_to_the_entry() -> None:
    folder = "/no such/host_vars/gpu-1"
    assert known_hosts_file(f"{folder}/compute_index_supply.yml") == f"{folder}/.known_hosts"
    assert known_hosts_file("") == ""


# Variables


def facts(connections: list[dict[str, Any]] | None = None, price: float | None = 2.0) -> dict[str, Any]:
    return facts_of_machine(X, [M], connections or [connection()], price, "first_use", "/a/.known_hosts", "/a/key")


def test_unchanged_facts_are_registered() -> None:
    found = facts()
    known = read_entry(found)
    assert (known.offer_id, known.resource_ids, known.price_per_hour, known.was_ready) == (X, (M,), 2.0, True)
    assert is_registered(found, known, found)
    # Ansible may turn a port into text.
    assert is_registered(found, known, {**found, "ansible_port": "22"})


@pytest.mark.parametrize("name", CONNECTION)
def test_changed_connection_must_be_registered_again(name: str) -> None:
    found = facts()
    changed = {**found, name: "192.0.2.99"}
    assert not is_registered(changed, read_entry(found), found)
    assert not is_registered(found, read_entry(changed), found)
    # Ansible's own variables differ, so the registry must be read again.
    assert not is_registered(found, read_entry(found), changed)
    assert not is_registered(found, read_entry(found), {})


@pytest.mark.parametrize("fields", [{"provision_resource_ids": [N]}, {"provision_instances": []}])
def test_changed_machines_must_be_registered_again(fields: dict[str, Any]) -> None:
    found = facts()
    assert not is_registered(found, read_entry({**found, **fields}), found)


def test_machine_without_id_is_pinned_by_its_offer() -> None:
    assert f"HostKeyAlias={X}" in facts([connection(None)])["ansible_ssh_extra_args"]


def test_further_machines_of_cluster_become_hosts() -> None:
    connections = [connection(M), connection(N, "192.0.2.2", ansible_port=2222), connection(None, "192.0.2.3")]
    found = facts(connections)
    assert (found["ansible_host"], len(found["provision_instances"])) == ("192.0.2.1", 3)
    plan = planned(host="ray", trust="first_use", known_hosts_file="/a/.known_hosts", identity_file="/a/key")
    second, third = further_hosts({**plan, "groups": ["gpu", "ray"]}, connections)
    assert (second["name"], second["ansible_host"], second["ansible_port"]) == ("ray-1", "192.0.2.2", 2222)
    assert (second["alias"], second["resource_ids"]) == (N, [N])
    assert shlex.split(second["ansible_ssh_extra_args"])[1] == f"HostKeyAlias={N}"
    assert second["ansible_host_key_checking"] is True
    assert (third["name"], third["alias"], third["resource_ids"]) == ("ray-2", "ray-2", [])
    assert second["groups"] == third["groups"] == ["gpu", "ray"] and further_hosts(plan, connections[:1]) == []


@pytest.mark.parametrize(
    ("host", "own", "is_further"),
    [
        ("ray-1", {}, True),
        ("ray-1", {"ansible_port": "2222"}, True),  # add_host makes texts of numbers before ansible-core 2.19
        ("ray-2", {}, False),
        ("ray-1", {"ansible_host": "192.0.2.9"}, False),  # a host of the inventory with a machine of its own
        ("ray-1", {"ansible_host": None, "ansible_port": None, "ansible_user": None}, False),  # one without a machine
    ],
)
def test_further_host_has_name_and_address_of_a_further_machine(
    host: str, own: dict[str, Any], is_further: bool
) -> None:
    found = facts([connection(M), connection(None, "192.0.2.2", ansible_port=2222)])
    address = {"ansible_host": "192.0.2.2", "ansible_port": 2222, "ansible_user": "root"}
    assert is_further_host(host, {**address, **own}, "ray", found) is is_further
    assert not is_further_host(host, {}, "ray", {})


@pytest.mark.parametrize(
    "noted",
    [
        {"provision_instances": [{}]},
        {"provision_instances": [{"resource_id": M, "ansible_host": None}]},
        {"provision_ssh_trust": "a word of a later version"},
        {"provision_ssh_trust": True},
    ],
)
def test_malformed_entry_still_has_connection_variables(noted: dict[str, Any]) -> None:
    """A sweep reads the entries of all hosts."""
    entry = read_entry({"provision_instances": [connection()], "provision_resource_ids": [M], **noted})
    found = connection_variables(entry, "/a/.known_hosts", is_shared=True)
    assert "StrictHostKeyChecking=accept-new" in found["ansible_ssh_extra_args"] and None not in found.values()
    assert owned_row("gpu-1", entry)["ansible_port"] == 22


def test_connection_variables_come_from_the_entry() -> None:
    address = {"ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}
    noted = {**address, "ansible_ssh_extra_args": "-o HostKeyAlias=m1", "ansible_host_key_checking": True}
    instances = {"provision_resource_ids": [M], "provision_instances": [{**address, "resource_id": M}]}
    assert connection_variables(read_entry({**instances, **noted}), "", is_shared=False) == noted
    shared = connection_variables(read_entry(instances), "/known_hosts", is_shared=True)
    assert shared["ansible_host"] == "192.0.2.1" and "/known_hosts" in shared["ansible_ssh_extra_args"]
    assert shared["ansible_host_key_checking"] is True
    assert not any(connection_variables(read_entry({}), "", is_shared=is_shared) for is_shared in (True, False))


@pytest.mark.parametrize("trust", ["first_use", "seeded", "none"])
def test_shared_registry_notes_trust_instead_of_local_paths(trust: str) -> None:
    local = {**ssh_variables(ssh_args(M, trust, "/a/.known_hosts", "/a/key")), "provision_identity_file": "/a/key"}
    assert without_local_paths({"ansible_host": "192.0.2.1", **local}) == {
        "ansible_host": "192.0.2.1",
        "provision_ssh_trust": trust,
    }
    assert without_local_paths({"ansible_host": "192.0.2.1"}) == {"ansible_host": "192.0.2.1"}


# Rows


@pytest.mark.parametrize(
    ("port", "ssh"),
    [(22, "ssh root@192.0.2.1"), ("22", "ssh root@192.0.2.1"), (2222, "ssh -p 2222 root@192.0.2.1")],
)
def test_owned_row(port: Any, ssh: str) -> None:
    found = facts([connection(ansible_port=port), connection(N)])
    expected = {
        "host": "gpu-1",
        "offer_id": X,
        "resource_ids": [M],
        "machines": 2,
        "ansible_host": "192.0.2.1",
        "ansible_port": int(port),
        "ansible_user": "root",
        "ssh": ssh,
        "price_per_hour": 2.0,
        "ends_at": None,
        "at_most": None,
    }
    assert owned_row("gpu-1", read_entry(found)) == expected


def test_owned_row_has_lease_end_and_largest_bill() -> None:
    lease = lease_facts(8 * 3600.0, 16.0)
    assert lease == {"provision_ends_at": "1970-01-01T08:00:00Z", "provision_at_most": 16.0}
    found = {**facts(), **lease}
    row = owned_row("gpu-1", read_entry(found))
    assert (row["ends_at"], row["at_most"]) == ("1970-01-01T08:00:00Z", 16.0)


def test_lease_facts_without_end_or_bill() -> None:
    assert lease_facts(None, 16.0) == {}
    assert lease_facts(3600.0, None) == {"provision_ends_at": "1970-01-01T01:00:00Z", "provision_at_most": None}


def test_owned_row_may_have_unknown_price() -> None:
    assert owned_row("gpu-1", read_entry(facts(price=None)))["price_per_hour"] is None


@pytest.mark.parametrize(
    ("reach", "verify", "bootstrap_key", "trust", "keeps_host_keys", "file"),
    [
        (False, True, "key", "seeded", False, ""),
        (True, False, "", "first_use", False, "reach"),
        (True, True, "", "first_use", False, "prepare"),
        (True, False, "key", "seeded", False, "prepare"),
        # The seeded key was replaced before.
        (True, False, "", "seeded", False, "reach"),
        (True, False, "key", "first_use", False, "reach"),
        # Other controllers need the first key that answers.
        (False, False, "", "first_use", True, ""),
        (True, False, "", "first_use", True, "reach_and_share_key"),
        (True, False, "", "none", True, "reach"),
        (True, True, "", "first_use", True, "prepare"),
    ],
)
def test_tasks_that_reach(
    reach: bool, verify: bool, bootstrap_key: str, trust: str, keeps_host_keys: bool, file: str
) -> None:
    known = read_entry({"provision_bootstrap_host_key": bootstrap_key})
    assert tasks_that_reach(reach, verify, known, trust, keeps_host_keys) == file


def test_host_key_is_shared_only_once() -> None:
    known = read_entry({"provision_host_keys": ["0e4f ssh-ed25519 AAAA"]})
    assert tasks_that_reach(True, False, known, "first_use", True) == "reach"


@pytest.mark.parametrize(
    ("trust", "keeps_host_keys", "expected"),
    [("first_use", True, True), ("seeded", True, True), ("none", True, False), ("first_use", False, False)],
)
def test_shares_host_keys(trust: str, keeps_host_keys: bool, expected: bool) -> None:
    assert shares_host_keys(trust, keeps_host_keys) is expected


@pytest.mark.parametrize(
    ("verify", "before", "changes"),
    [
        ("", None, {}),
        ("", {}, {}),
        ("health", {}, {"provision_verified": True}),
        ("", {"provision_bootstrap_host_key": "key"}, {"provision_bootstrap_host_key": None}),
        (
            "specs",
            {"provision_bootstrap_host_key": "key"},
            {"provision_verified": True, "provision_bootstrap_host_key": None},
        ),
    ],
)
def test_reached_machine_notes_its_test_and_used_host_key(
    verify: str, before: dict[str, Any] | None, changes: dict[str, Any]
) -> None:
    assert noted_once_reached({"verify": verify}, before) == changes
