# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to machines: addresses, users and ports from the API. Only plain values are accepted."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._machine import connection
from ansible_collections.compute_index.supply.plugins.module_utils._machine.connection import connection_of, machines
from ansible_collections.compute_index.supply.plugins.module_utils._machine.connection import parse_ssh_command as parse
from hypothesis import given
from hypothesis import strategies as st

from samples import RESOURCE_ID, SECOND_RESOURCE_ID, instance, resource

NO_TARGET = (None, None, None)
PLAIN_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9._-]+)?")
PLAIN_USER = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("ssh root@203.0.113.7", ("203.0.113.7", None, "root")),
        ("ssh 203.0.113.7", ("203.0.113.7", None, None)),
        ("ssh gpu-1.example.com", ("gpu-1.example.com", None, None)),
        ("/usr/bin/ssh root@203.0.113.7", ("203.0.113.7", None, "root")),
        ("  ssh   root@203.0.113.7  ", ("203.0.113.7", None, "root")),
        ("ssh root@203.0.113.7\n-p 22022\n", ("203.0.113.7", 22022, "root")),
        # the port
        ("ssh root@203.0.113.7 -p 22022", ("203.0.113.7", 22022, "root")),
        ("ssh -p 22022 root@203.0.113.7", ("203.0.113.7", 22022, "root")),
        ("ssh -p22022 root@203.0.113.7", ("203.0.113.7", 22022, "root")),
        ("ssh root@203.0.113.7 -p22022", ("203.0.113.7", 22022, "root")),
        ("ssh -4Np 22022 root@203.0.113.7", ("203.0.113.7", 22022, "root")),
        ("ssh -p 1 -p 2 root@203.0.113.7", ("203.0.113.7", 1, "root")),
        ("ssh root@203.0.113.7 -p", ("203.0.113.7", None, "root")),
        ("ssh root@203.0.113.7 -p ssh", ("203.0.113.7", None, "root")),
        ("ssh root@203.0.113.7 -p 0", ("203.0.113.7", None, "root")),
        ("ssh root@203.0.113.7 -p 65536", ("203.0.113.7", None, "root")),
        ("ssh root@203.0.113.7 -p 65535", ("203.0.113.7", 65535, "root")),
        ("ssh root@203.0.113.7 -p -22", ("203.0.113.7", None, "root")),
        ("ssh root@203.0.113.7 -p \u0662\u0662", ("203.0.113.7", None, "root")),
        # the user
        ("ssh -l ubuntu 203.0.113.7", ("203.0.113.7", None, "ubuntu")),
        ("ssh 203.0.113.7 -lubuntu", ("203.0.113.7", None, "ubuntu")),
        ("ssh -l ubuntu root@203.0.113.7", ("203.0.113.7", None, "ubuntu")),
        ("ssh 'a b'@203.0.113.7", NO_TARGET),
        ("ssh -l -oProxyCommand=id 203.0.113.7", ("203.0.113.7", None, None)),
        ("ssh first@second@203.0.113.7", NO_TARGET),
        ("ssh @203.0.113.7", NO_TARGET),
        # other options
        ("ssh -i ~/.ssh/id -o StrictHostKeyChecking=no root@203.0.113.7", ("203.0.113.7", None, "root")),
        ("ssh -i id root@203.0.113.7 -A -p 22022 -v", ("203.0.113.7", 22022, "root")),
        ("ssh -J jump@bastion -L 8080:localhost:80 root@203.0.113.7", ("203.0.113.7", None, "root")),
        ("ssh -tt root@203.0.113.7", ("203.0.113.7", None, "root")),
        ("ssh -- root@203.0.113.7", ("203.0.113.7", None, "root")),
        ("ssh -o HostName=198.51.100.1 root@203.0.113.7", ("203.0.113.7", None, "root")),
        # a command to run
        ("ssh root@203.0.113.7 nvidia-smi", ("203.0.113.7", None, "root")),
        ("ssh root@203.0.113.7 -p 22022 docker run -p 80:80 -l x", ("203.0.113.7", 22022, "root")),
        ("ssh root@203.0.113.7 'uptime; id'", ("203.0.113.7", None, "root")),
        # IPv6 and URLs
        ("ssh root@2001:db8::1", ("2001:db8::1", None, "root")),
        ("ssh root@[2001:db8::1] -p 22022", ("2001:db8::1", 22022, "root")),
        ("ssh ::1", ("::1", None, None)),
        ("ssh ::ffff:203.0.113.7", ("::ffff:203.0.113.7", None, None)),
        ("ssh root@fe80::1%eth0", ("fe80::1%eth0", None, "root")),
        ("ssh ssh://-oProxyCommand=id", NO_TARGET),
        # no ssh command, or values that are not plain
        ("", NO_TARGET),
        ("ssh", NO_TARGET),
        ("ssh -p 22", NO_TARGET),
        ("ssh ssh://root@203.0.113.7:22022", NO_TARGET),
        ("ssh root@", NO_TARGET),
        ("root@203.0.113.7", NO_TARGET),
        ("sshpass -p x ssh root@203.0.113.7", NO_TARGET),
        ("scp root@203.0.113.7", NO_TARGET),
        ("sh -c 'ssh root@203.0.113.7'", NO_TARGET),
        ("ssh root@'203.0.113.7", NO_TARGET),
        ('ssh "root@203.0.113.7', NO_TARGET),
        ("ssh root@203.0.113.7\\", NO_TARGET),
        ("ssh -oProxyCommand=id", NO_TARGET),
        ("ssh -- -oProxyCommand=id", NO_TARGET),
        ("ssh root@-oProxyCommand=id", NO_TARGET),
        ("ssh 'root@203.0.113.7 -oProxyCommand=id'", NO_TARGET),
        ("ssh 'root@203.0.113.7\n'", NO_TARGET),
        ("ssh 'root@203.0.113.7\nid'", NO_TARGET),
        ("ssh root@$(id)", NO_TARGET),
        ("ssh root@203.0.113.7;id", NO_TARGET),
        ("ssh root@203.0.113.7, nvidia-smi", NO_TARGET),
        ("ssh root@h\u00f6st", NO_TARGET),
        ("ssh root@{{ lookup('pipe','id') }}", NO_TARGET),
        ("ssh root@" + "a" * 254, NO_TARGET),
        (None, NO_TARGET),
        (7, NO_TARGET),
        ([], NO_TARGET),
        ({"ssh": "root@203.0.113.7"}, NO_TARGET),
    ],
    ids=lambda value: repr(value)[:60] if not isinstance(value, tuple) else "",
)
def test_parse_ssh_command(command: Any, expected: tuple[Any, ...]) -> None:
    assert tuple(parse(command)) == expected


WORDS = ["ssh", "-p", "-p22", "-o", "Port=22", "-l", "user", "-oProxyCommand=id", "--", "203.0.113.7", "[::1]", "::1"]
CHARACTERS = [*"@'\"\\\n -%:{\u00f6\x00", "$(id)", "{{", "ssh://", "root@", ":22022"]
PIECES = st.sampled_from([*WORDS, *CHARACTERS])


@given(st.text() | st.lists(PIECES).map("".join) | st.lists(PIECES).map(lambda words: "ssh " + " ".join(words)))
def test_parse_ssh_command_returns_only_plain_values(command: str) -> None:
    host, port, user = parse(command)
    assert host is None or PLAIN_HOST.fullmatch(host)
    assert port is None or 0 <= port < 65536
    assert user is None or PLAIN_USER.fullmatch(user)
    if host is None:
        assert (port, user) == (None, None)


ANY = st.none() | st.booleans() | st.integers(-1, 70000) | st.floats() | st.text(max_size=12) | st.lists(st.integers())


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(("ssh_command", "external_ip", "ssh_port"), ANY)),
    st.fixed_dictionaries({}, optional=dict.fromkeys(("ssh_command", "external_ip", "ssh_port"), ANY)),
)
def test_connection_of_returns_only_plain_values(instance_fields: dict[str, Any], access: dict[str, Any]) -> None:
    found = connection_of(instance_fields, {"access": access})
    if found is not None:
        assert PLAIN_HOST.fullmatch(found["ansible_host"])
        assert found["ansible_port"].__class__ is int and 0 < found["ansible_port"] < 65536
        assert PLAIN_USER.fullmatch(found["ansible_user"])


# One machine


@pytest.mark.parametrize(
    ("instance_fields", "access", "expected"),
    [
        ({}, {}, None),
        ({"external_ip": None, "ssh_command": None}, {"external_ip": None}, None),
        ({"external_ip": "203.0.113.7"}, {}, ("203.0.113.7", 22, "root")),
        ({"external_ip": " 203.0.113.7 "}, {}, ("203.0.113.7", 22, "root")),
        ({"external_ip": "[2001:db8::1]"}, {}, ("2001:db8::1", 22, "root")),
        ({"external_ip": "-oProxyCommand=id"}, {}, None),
        ({"external_ip": "203.0.113.7\nansible_user: x"}, {}, None),
        ({"external_ip": ["203.0.113.7"]}, {}, None),
        ({}, {"external_ip": "203.0.113.7"}, ("203.0.113.7", 22, "root")),
        ({}, {"ssh_command": "ssh ubuntu@203.0.113.7 -p 22022"}, ("203.0.113.7", 22022, "ubuntu")),
        ({"ssh_command": "ssh ubuntu@203.0.113.7"}, {}, ("203.0.113.7", 22, "ubuntu")),
        ({"ssh_command": "ssh a@203.0.113.7", "external_ip": "203.0.113.8"}, {}, ("203.0.113.7", 22, "a")),
        ({"ssh_command": "rubbish", "external_ip": "203.0.113.8"}, {}, ("203.0.113.8", 22, "root")),
        ({"external_ip": "203.0.113.7"}, {"external_ip": "203.0.113.8"}, ("203.0.113.7", 22, "root")),
        # the port
        ({"external_ip": "203.0.113.7"}, {"ssh_port": 22022}, ("203.0.113.7", 22022, "root")),
        ({"external_ip": "203.0.113.7", "ssh_port": 23}, {"ssh_port": 24}, ("203.0.113.7", 23, "root")),
        ({"ssh_command": "ssh a@203.0.113.7 -p 25", "ssh_port": 23}, {"ssh_port": 24}, ("203.0.113.7", 25, "a")),
        ({"ssh_command": "ssh a@203.0.113.7"}, {"ssh_port": 22022}, ("203.0.113.7", 22022, "a")),
        ({"external_ip": "203.0.113.7"}, {"ssh_command": "ssh b@x -p 26"}, ("203.0.113.7", 26, "b")),
        ({"external_ip": "203.0.113.7", "ssh_port": "22022"}, {}, ("203.0.113.7", 22022, "root")),
        ({"external_ip": "203.0.113.7", "ssh_port": 22.5}, {}, ("203.0.113.7", 22, "root")),
        ({"external_ip": "203.0.113.7", "ssh_port": float("inf")}, {}, ("203.0.113.7", 22, "root")),
        ({"external_ip": "203.0.113.7", "ssh_port": True}, {}, ("203.0.113.7", 22, "root")),
        ({"external_ip": "203.0.113.7", "ssh_port": None}, {"ssh_port": 0}, ("203.0.113.7", 22, "root")),
        ({"external_ip": "203.0.113.7", "ssh_port": -22}, {"ssh_port": "x"}, ("203.0.113.7", 22, "root")),
        ({"external_ip": "203.0.113.7", "ssh_port": " 22"}, {"ssh_port": {}}, ("203.0.113.7", 22, "root")),
    ],
    ids=str,
)
def test_connection_of(instance_fields: Any, access: Any, expected: Any) -> None:
    found = connection_of(instance_fields, {"access": access})
    assert (found and tuple(found.values())) == expected


def test_connection_uses_ansible_variable_names() -> None:
    assert connection_of(instance(), {}) == {
        "ansible_host": "203.0.113.7",
        "ansible_port": 22,
        "ansible_user": "root",
    }


# Machines of an offer

R1, R2 = RESOURCE_ID, SECOND_RESOURCE_ID
A, B = "203.0.113.7", "203.0.113.8"
DISK = resource(R2, None, resource_type="block_disk", kind="storage")


def hosts_and_ids(instances: list[Any], resources: list[Any]) -> list[tuple[Any, Any]]:
    return [(machine["ansible_host"], machine["resource_id"]) for machine in machines(instances, resources)]


@pytest.mark.parametrize(
    ("instances", "resources", "expected"),
    [
        pytest.param([], [], [], id="nothing"),
        pytest.param([instance(A)], [], [(A, None)], id="no resources"),
        pytest.param([instance(A, resource_id=R1)], [], [(A, R1)], id="no resources, but an id"),
        pytest.param([], [resource(R1, A), resource(R2, B)], [(A, R1), (B, R2)], id="no instances"),
        pytest.param(
            [instance(B, resource_id=R2), instance(A, resource_id=R1)],
            [resource(R1, A), resource(R2, B)],
            [(B, R2), (A, R1)],
            id="by resource_id",
        ),
        pytest.param(
            [instance(B, instance_id=R2), instance(A, instance_id=R1)],
            [resource(R1, A), resource(R2, B)],
            [(B, R2), (A, R1)],
            id="by instance_id",
        ),
        pytest.param(
            [instance(A, resource_id=R2)],
            [resource(R1, A), resource(R2, B)],
            [(A, R2)],
            id="the id takes precedence over the address",
        ),
        pytest.param(
            [instance(B), instance(A)], [resource(R1, A), resource(R2, B)], [(B, R2), (A, R1)], id="by address"
        ),
        pytest.param(
            [instance(B)], [resource(R1, A), resource(R2, B)], [(B, R2)], id="by address, with fewer instances"
        ),
        pytest.param(
            [instance(A), instance(A)],
            [resource(R1, A), resource(R2, A)],
            [(A, R1), (A, R2)],
            id="by position, since the address is shared",
        ),
        pytest.param(
            [instance(None), instance(None)],
            [resource(R1, A), resource(R2, B)],
            [(A, R1), (B, R2)],
            id="by position, without addresses",
        ),
        pytest.param([instance(A)], [resource(R1, B), resource(R2, B)], [(A, None)], id="no match"),
        pytest.param([instance(A)], [resource(R1, A), resource(R2, A)], [(A, None)], id="two matches"),
        pytest.param(
            [instance(A, instance_id="i-1")], [resource(R1, None)], [(A, None)], id="not by position with another id"
        ),
        pytest.param(
            [instance(A, instance_id="i-1")], [resource(R1, A)], [(A, R1)], id="by address with the vendor's id"
        ),
        pytest.param([instance(A)], [resource(None, A)], [(A, None)], id="a resource without an id"),
        pytest.param([instance(None)], [resource(R1, A), DISK], [(A, R1)], id="by position, without storage"),
        pytest.param([], [resource(R1, A), DISK], [(A, R1)], id="no instances, without storage"),
        pytest.param(
            [instance(A, resource_id=R1), instance(None, resource_id=R2)],
            [resource(R1, A), DISK],
            [(A, R1)],
            id="storage among the instances",
        ),
        pytest.param(
            [instance(None, instance_id=R2)], [resource(R1, A), DISK], [(A, R1)], id="only an instance of storage"
        ),
        pytest.param(
            [instance(None)], [resource(R1, None), resource(R2, B)], [(None, None)], id="no match by a missing address"
        ),
        pytest.param([instance(None, instance_id="")], [resource(R1, A)], [(A, R1)], id="by position with an empty id"),
        pytest.param([], [resource(R1, A, status="deleting"), resource(R2, B)], [(B, R2)], id="one is being deleted"),
        pytest.param([instance(A)], [resource(R1, A, status="deleted")], [], id="deleted, by the resource"),
        pytest.param([instance(A, status="deleted")], [resource(R1, A)], [(A, R1)], id="deleted, only by the instance"),
        pytest.param([instance(A, status="Terminated")], [], [], id="deleted, by an instance without a resource"),
        pytest.param([instance(A)], [resource(R1, A, status="failed")], [(None, R1)], id="a failed machine's address"),
        pytest.param(
            [], [resource(R1, A, resource_type="warp")], [(None, R1)], id="unknown resource type without an instance"
        ),
        pytest.param(
            [instance(A)],
            [resource(R1, None, resource_type="warp")],
            [(A, R1)],
            id="unknown resource type with an instance",
        ),
    ],
)
def test_instances_are_matched_to_resources(instances: Any, resources: Any, expected: Any) -> None:
    assert hosts_and_ids(instances, resources) == expected


def test_resource_is_matched_to_at_most_one_instance() -> None:
    # The first instance has the position of the resource with the second instance's address.
    assert hosts_and_ids([instance(None), instance(A)], [resource(R1, A), resource(R2, B)]) == [(None, None), (A, R1)]


def test_machine_has_fields_of_instance_and_resource() -> None:
    [machine] = machines(
        [instance(A, gpu_uuid="GPU-1")], [resource(R1, A, access={"ssh_port": 22022, "external_ip": A})]
    )
    assert machine == {
        "external_ip": A,
        "ssh_command": f"ssh root@{A}",
        "status": "running",
        "gpu_uuid": "GPU-1",
        "name": "trainer",
        "resource_id": R1,
        "ansible_host": A,
        "ansible_port": 22022,
        "ansible_user": "root",
    }


def test_empty_instance_has_all_keys() -> None:
    assert machines([{}], []) == [
        dict.fromkeys(("status", "name", "resource_id", "ansible_host", "ansible_port", "ansible_user"))
    ]


def test_connection_variables_in_an_instance_are_ignored() -> None:
    [machine] = machines([{"ansible_host": "evil", "ansible_user": "-x", "ansible_port": 1}], [])
    assert (machine["ansible_host"], machine["ansible_user"], machine["ansible_port"]) == (None, None, None)


@pytest.mark.parametrize("value", [[], {}, {"id": R1}, [R1], 7, True])
def test_id_that_is_not_text_is_ignored(value: Any) -> None:
    assert hosts_and_ids([instance(A, resource_id=value)], []) == [(A, None)]
    assert hosts_and_ids([instance(A, resource_id=value)], [resource(R1, A)]) == [(A, R1)]


def test_with_connection_adds_connection_variables() -> None:
    found = connection.with_connection(resource(access={"external_ip": A, "ssh_port": 22022}))
    assert (found["ansible_host"], found["ansible_port"], found["ansible_user"]) == (A, 22022, "root")
    assert (found["resource_id"], found["name"]) == (R1, "trainer")


@pytest.mark.parametrize("access", [{}, {"external_ip": None}, {"external_ip": "-oProxyCommand=id"}])
def test_with_connection_gives_none_without_a_plain_address(access: Any) -> None:
    found = connection.with_connection(resource(access=access))
    assert (found["ansible_host"], found["ansible_port"], found["ansible_user"]) == (None, None, None)
