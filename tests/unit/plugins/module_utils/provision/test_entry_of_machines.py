# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of a host whose machine runs, and how ssh reads its options."""

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
    is_registered,
    lease_facts,
    noted_once_reached,
    owned_row,
    read_entry,
    shares_host_keys,
    ssh_args,
    tasks_that_reach,
)
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import known_hosts_file
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import declared, machine_id, offer_id, planned

X, M, N = offer_id(1), machine_id(1), machine_id(2)
PATHS = [
    *(
        "/plain/.known_hosts",
        "/a b/k",
        "/a  b/k",
        "/a\tb/k",
        "/it's/k",
        "/100%/k",
        "/%h/%%/k",
        "/$HOME/k",
        "/a$(id)`id`/k",
    ),
    *(
        "/a\\b/k",
        "/a\\ b/k",
        "/a#b/k",
        "/# a/k",
        "/~/k",
        "/ümläut/\N{SNOWMAN}/k",
        "/a=b,c;d&e|f/k",
        "/a*b?[c]/k",
        "/!x/k",
    ),
]


def connection(resource_id: str | None = M, address: str = "192.0.2.1", **fields: Any) -> dict[str, Any]:
    return {"resource_id": resource_id, "ansible_host": address, "ansible_port": 22, "ansible_user": "root", **fields}


# Options of ssh


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("trust", "word"), [("first_use", "accept-new"), ("seeded", "yes")])
def test_options_are_words_of_a_shell(path: str, trust: str, word: str) -> None:
    read = path.replace("%", "%%")
    assert shlex.split(ssh_args(M, trust, path, path)) == [
        *("-o", f"HostKeyAlias={M}", "-o", f"StrictHostKeyChecking={word}"),
        *("-o", f'UserKnownHostsFile="{read}"', "-o", f'IdentityFile="{read}"'),
    ]


@pytest.mark.parametrize(("trust", "path"), [("none", "/a/k"), ("none", ""), ("first_use", ""), ("seeded", "")])
def test_without_a_place_for_host_keys_none_is_kept(trust: str, path: str) -> None:
    assert ssh_args(M, trust, path, "").endswith("-o UserKnownHostsFile=/dev/null")


@pytest.mark.parametrize("identity", ["", '/a"b', "/a/${x}", "/a\nProxyCommand x"])
def test_a_private_key_that_ssh_cannot_read_is_not_offered(identity: str) -> None:
    assert "IdentityFile" not in ssh_args(M, "first_use", "/a/k", identity)


@pytest.mark.skipif(not shutil.which("ssh"), reason="needs ssh")
@pytest.mark.parametrize("path", PATHS)
def test_ssh_reads_the_path_as_it_is_meant(path: str) -> None:
    # What this test trusts the role lets pass.
    assert declared(path.rpartition("/")[0]).objections == ()
    command = ["ssh", "-F", "none", "-G", *shlex.split(ssh_args(M, "first_use", path, path)), "gpu-1.example"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    assert (told["userknownhostsfile"], told["identityfile"]) == (path, path.replace("%", "%%"))
    assert told["hostkeyalias"] == M
    assert told["stricthostkeychecking"] in ("accept-new", "yes")


@given(st.text(min_size=1, max_size=20))
def test_no_id_adds_an_option(alias: str) -> None:
    words = shlex.split(ssh_args(alias, "none", "", ""))
    assert words[:2] == ["-o", f"HostKeyAlias={alias}"]
    assert len(words) == 6


def test_host_keys_lie_beside_the_entry() -> None:
    assert (
        known_hosts_file("/no such/host_vars/gpu-1/compute_index_supply.yml") == "/no such/host_vars/gpu-1/.known_hosts"
    )
    assert known_hosts_file("") == ""


# Variables


def given_to_the_host(connections: list[dict[str, Any]] | None = None, price: float | None = 2.0) -> dict[str, Any]:
    return facts_of_machine(X, [M], connections or [connection()], price, "first_use", "/a/.known_hosts", "/a/key")


def test_what_is_given_is_what_is_registered() -> None:
    found = given_to_the_host()
    known = read_entry(found)
    assert (known.offer_id, known.resource_ids, known.price_per_hour, known.was_ready) == (X, (M,), 2.0, True)
    assert is_registered(found, known, found)
    # Ansible makes a text of a port.
    assert is_registered(found, known, {**found, "ansible_port": "22"})


@pytest.mark.parametrize("name", CONNECTION)
def test_what_has_changed_is_registered_again(name: str) -> None:
    found = given_to_the_host()
    other = {**found, name: "192.0.2.99"}
    assert not is_registered(other, read_entry(found), found)
    assert not is_registered(found, read_entry(other), found)
    # The inventory says something else: the registry must be read back first.
    assert not is_registered(found, read_entry(found), other)
    assert not is_registered(found, read_entry(found), {})


@pytest.mark.parametrize("fields", [{"provision_resource_ids": [N]}, {"provision_instances": []}])
def test_other_machines_are_registered_again(fields: dict[str, Any]) -> None:
    found = given_to_the_host()
    assert not is_registered(found, read_entry({**found, **fields}), found)


def test_a_machine_without_an_id_is_pinned_by_its_offer() -> None:
    assert f"HostKeyAlias={X}" in given_to_the_host([connection(None)])["ansible_ssh_extra_args"]


def test_the_machines_of_a_cluster() -> None:
    connections = [connection(M), connection(N, "192.0.2.2", ansible_port=2222), connection(None, "192.0.2.3")]
    found = given_to_the_host(connections)
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
    "noted",
    [
        {"provision_instances": [{}]},
        {"provision_instances": [{"resource_id": M, "ansible_host": None}]},
        {"provision_ssh_trust": "a word of a later version"},
        {"provision_ssh_trust": True},
    ],
)
def test_what_one_host_has_noted_oddly_keeps_no_sweep_from_the_others(noted: dict[str, Any]) -> None:
    entry = read_entry({"provision_instances": [connection()], "provision_resource_ids": [M], **noted})
    found = connection_variables(entry, "/a/.known_hosts", is_shared=True)
    assert "StrictHostKeyChecking=accept-new" in found["ansible_ssh_extra_args"] and None not in found.values()
    assert owned_row("gpu-1", entry)["ansible_port"] == 22


def test_how_a_machine_is_reached_without_the_files_beside_an_inventory() -> None:
    reached = {"ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}
    noted = {**reached, "ansible_ssh_extra_args": "-o HostKeyAlias=m1", "ansible_host_key_checking": True}
    instances = {"provision_resource_ids": [M], "provision_instances": [{**reached, "resource_id": M}]}
    assert connection_variables(read_entry({**instances, **noted}), "", is_shared=False) == noted
    shared = connection_variables(read_entry(instances), "/known_hosts", is_shared=True)
    assert shared["ansible_host"] == "192.0.2.1" and "/known_hosts" in shared["ansible_ssh_extra_args"]
    assert shared["ansible_host_key_checking"] is True
    assert not any(connection_variables(read_entry({}), "", is_shared=is_shared) for is_shared in (True, False))


# Rows


@pytest.mark.parametrize(
    ("port", "ssh"),
    [(22, "ssh root@192.0.2.1"), ("22", "ssh root@192.0.2.1"), (2222, "ssh -p 2222 root@192.0.2.1")],
)
def test_a_row(port: Any, ssh: str) -> None:
    found = given_to_the_host([connection(ansible_port=port), connection(N)])
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


def test_a_row_with_a_lease() -> None:
    lease = lease_facts(8 * 3600.0, 0.0, 2.0)
    assert lease == {"provision_ends_at": "1970-01-01T08:00:00Z", "provision_at_most": 16.0}
    found = {**given_to_the_host(), **lease}
    row = owned_row("gpu-1", read_entry(found))
    assert (row["ends_at"], row["at_most"]) == ("1970-01-01T08:00:00Z", 16.0)


@pytest.mark.parametrize(
    ("end", "begin", "price", "facts"),
    [
        (None, 0.0, 2.0, {}),
        (3600.0, None, 2.0, {"provision_ends_at": "1970-01-01T01:00:00Z", "provision_at_most": None}),
        (3600.0, 0.0, None, {"provision_ends_at": "1970-01-01T01:00:00Z", "provision_at_most": None}),
    ],
)
def test_a_lease_of_which_not_all_is_known(
    end: float | None, begin: float | None, price: float | None, facts: dict[str, Any]
) -> None:
    assert lease_facts(end, begin, price) == facts


def test_a_row_of_an_unknown_price() -> None:
    assert owned_row("gpu-1", read_entry(given_to_the_host(price=None)))["price_per_hour"] is None


@pytest.mark.parametrize(
    ("reach", "verify", "key", "trust", "shared", "file"),
    [
        (False, True, "key", "seeded", False, ""),
        (True, False, "", "first_use", False, "reach"),
        (True, True, "", "first_use", False, "prepare"),
        (True, False, "key", "seeded", False, "prepare"),
        # The key that was handed over is replaced already.
        (True, False, "", "seeded", False, "reach"),
        (True, False, "key", "first_use", False, "reach"),
        # Other controllers shall know the key that answers first.
        (False, False, "", "first_use", True, ""),
        (True, False, "", "first_use", True, "reach_and_share_key"),
        (True, False, "", "none", True, "reach"),
        (True, True, "", "first_use", True, "prepare"),
    ],
)
def test_how_it_is_reached(reach: bool, verify: bool, key: str, trust: str, shared: bool, file: str) -> None:
    assert tasks_that_reach(reach, verify, read_entry({"provision_bootstrap_host_key": key}), trust, shared) == file


def test_a_host_key_is_kept_once() -> None:
    known = read_entry({"provision_host_keys": ["0e4f ssh-ed25519 AAAA"]})
    assert tasks_that_reach(True, False, known, "first_use", True) == "reach"


@pytest.mark.parametrize(
    ("trust", "keeps", "shares"),
    [("first_use", True, True), ("seeded", True, True), ("none", True, False), ("first_use", False, False)],
)
def test_who_shares_host_keys(trust: str, keeps: bool, shares: bool) -> None:
    assert shares_host_keys(trust, keeps) is shares


@pytest.mark.parametrize(
    ("verify", "before", "notes"),
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
def test_what_is_done_once_is_noted(verify: str, before: dict[str, Any] | None, notes: dict[str, Any]) -> None:
    assert noted_once_reached({"verify": verify}, before) == notes
