# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file for ``ssh -F`` with the machines of a registry. Some tests let ssh itself read it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._machine.connection import (
    Machine,
    render,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import (
    facts_of_machine,
    read_entry,
    ssh_machines,
)
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import machine_id, offer_id

X, M, N = offer_id(1), machine_id(1), machine_id(2)
needs_ssh = pytest.mark.skipif(not shutil.which("ssh"), reason="needs ssh")


def machine(name: str = "gpu-1", **fields: Any) -> Machine:
    connection = {"ansible_host": "192.0.2.1", "ansible_port": 2222, "ansible_user": "root"}
    return Machine(
        **{
            "name": name,
            "connection": {**connection, **fields.pop("connection", {})},
            "alias": M,
            "trust": "accept-new",
            "known_hosts": "/a/.known_hosts",
            **fields,
        }
    )


def rendered(*machines: Machine) -> str:
    """The file for these machines, one for each host."""
    return render([[each] for each in machines]) or ""


def read_by_ssh(text: str, name: str, folder: Path) -> dict[str, str]:
    """The options that ssh reads from the file for a host."""
    file = folder / "config"
    file.write_text(text)
    command = ["ssh", "-T", "-G", "-F", str(file), name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not done.stderr
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


def test_render() -> None:
    text = rendered(machine(identity="/home/me/key"), machine("gpu-2", trust="no"))
    assert text.splitlines()[1:] == [
        "",
        "Host gpu-1",
        "  HostName 192.0.2.1",
        "  Port 2222",
        "  User root",
        f"  HostKeyAlias {M}",
        "  StrictHostKeyChecking accept-new",
        '  UserKnownHostsFile "/a/.known_hosts"',
        '  IdentityFile "/home/me/key"',
        "",
        "Host gpu-2",
        "  HostName 192.0.2.1",
        "  Port 2222",
        "  User root",
        f"  HostKeyAlias {M}",
        "  StrictHostKeyChecking no",
        '  UserKnownHostsFile "/dev/null"',
    ]
    assert render([]) is None and render([[]]) is None


PATHS = ["/a b/k", "/a\tb/k", "/it's/k", "/100%/k", "/%h/%%/k", "/$HOME/k", "/a\\b/k", "/# a/k", "/~/k", "/ümläut/k"]
PATHS += ["/a=b,c;d&e|f/k", "/a*b?[c]/k", "/!x/k", "/ends with a blank /k "]


@needs_ssh
@pytest.mark.parametrize("path", PATHS)
def test_ssh_reads_quoted_paths(path: str, tmp_path: Path) -> None:
    options = read_by_ssh(rendered(machine(known_hosts=path, identity=path)), "gpu-1", tmp_path)
    assert (options["userknownhostsfile"], options["identityfile"]) == (path, path.replace("%", "%%"))
    assert (options["hostname"], options["port"], options["user"]) == ("192.0.2.1", "2222", "root")
    assert (options["hostkeyalias"], options["stricthostkeychecking"]) == (M, "accept-new")


@needs_ssh
@pytest.mark.parametrize("address", ["host.example", "2001:db8::1", "fe80::1%eth0"])
@pytest.mark.parametrize("name", ["gpu-1", "GPU_1.eu", "7", "ümläut"])
def test_ssh_finds_the_address_by_host_name(name: str, address: str, tmp_path: Path) -> None:
    options = read_by_ssh(
        rendered(machine("other"), machine(name, connection={"ansible_host": address})), name, tmp_path
    )
    assert options["hostname"] == address
    assert read_by_ssh(rendered(machine(name)), f"{name}x", tmp_path)["hostname"] == f"{name}x".lower()


ODD_MACHINES: list[Machine] = [
    *(machine(name) for name in ("*", "gpu-?", "!gpu-1", "a b", "a\nProxyCommand id", 'a"b', "%h", "-oX", "a,b", "")),
    *(machine("gpu-1", connection={"ansible_host": each}) for each in ("x\n  ProxyCommand id", "-x", "a b", None, 7)),
    *(machine("gpu-1", connection={"ansible_port": each}) for each in ("22\n", "x", 0, None, True)),
    *(machine("gpu-1", connection={"ansible_user": each}) for each in ("root\n  ProxyCommand id", "a b", None)),
    *(machine("gpu-1", alias=each) for each in ("x\n  ProxyCommand id", "a b", "")),
    *(machine("gpu-1", trust=each) for each in ("ask", "no\n  ProxyCommand id")),
    *(machine("gpu-1", known_hosts=each) for each in ('/a"b', "/a\n  ProxyCommand id", "/${HOME}", "")),
]


@pytest.mark.parametrize("odd", ODD_MACHINES)
def test_machine_with_odd_value_is_left_out(odd: Machine) -> None:
    assert rendered(odd, machine("gpu-2")) == rendered(machine("gpu-2"))
    assert render([[odd]]) is None


def test_unreadable_identity_file_is_left_out() -> None:
    assert "IdentityFile" not in rendered(machine(identity='/a"b'))


@given(st.lists(st.text(max_size=8), max_size=6), st.text(max_size=20))
def test_no_value_adds_an_option(values: list[str], name: str) -> None:
    texts = dict(zip(("alias", "trust", "known_hosts", "identity"), values, strict=False))
    words = {"Host", "HostName", "Port", "User", "HostKeyAlias", "StrictHostKeyChecking", "UserKnownHostsFile"}
    for line in rendered(machine(name, connection=dict(zip(("ansible_host",), values, strict=False)), **texts)).split(
        "\n"
    ):
        assert not line or line.startswith("#") or line.split()[0] in words | {"IdentityFile"}


# From the registry


@pytest.mark.parametrize(("trust", "word"), [("first_use", "accept-new"), ("seeded", "yes"), ("none", "no")])
def test_ssh_machines_of_entry(trust: str, word: str) -> None:
    connections = [
        {"resource_id": each, "ansible_host": f"192.0.2.{number}", "ansible_port": 22, "ansible_user": "root"}
        for number, each in enumerate((M, N, None), 1)
    ]
    entry = read_entry(
        {**facts_of_machine(X, [M, N], connections, 2.0, trust, "/a/k", "/key"), "provision_identity_file": "/key"}
    )
    found = ssh_machines("ray", entry, "/a/k")
    assert [each.name for each in found] == ["ray", "ray-1", "ray-2"]
    assert [each.alias for each in found] == [M, N, "ray-2"]
    assert {(each.trust, each.known_hosts, each.identity) for each in found} == {(word, "/a/k", "/key")}
    assert [each.connection["ansible_host"] for each in found] == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]


@pytest.mark.parametrize("variables", [{}, {"provision_procured_offer_id": X, "provision_resource_ids": [M]}])
def test_host_without_connection_has_no_ssh_machines(variables: dict[str, Any]) -> None:
    assert ssh_machines("gpu-1", read_entry(variables), "/a/k") == []


def test_alias_is_the_offer_id_if_the_entry_has_no_resource_ids() -> None:
    entry = read_entry({"provision_procured_offer_id": X, "provision_instances": [{"ansible_host": "192.0.2.1"}]})
    assert [each.alias for each in ssh_machines("gpu-1", entry, "/a/k")] == [X]
