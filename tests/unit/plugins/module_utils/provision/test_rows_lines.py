# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last lines of a play: machines with prices and addresses, the next commands, machines that cannot be used."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.rounds import Common
from ansible_collections.compute_index.supply.plugins.module_utils._provision.rows import (
    closing_lines,
    columns,
    configured_lines,
    unusable,
)
from ansible_collections.compute_index.supply.plugins.module_utils._text import LINE

COMMON = Common(registry="registry: host_vars", logins=["ssh -F host_vars/.ssh_config"])
END = "To end {}: compute_index.supply.decommission"


def row(host: str, price: float | None = 2.0, bill: float | None = None) -> dict[str, Any]:
    ends_at = "2026-11-29T15:43:00Z" if bill else None
    ssh = "ssh root@192.0.2.1"
    return {
        "host": host,
        "machines": 1,
        "price_per_hour": price,
        "ansible_host": "192.0.2.1",
        "ssh": ssh,
        "ends_at": ends_at,
        "at_most": bill,
    }


def test_closing_lines_have_table_total_and_commands() -> None:
    assert closing_lines([row("gpu-1"), row("gpu-2", 2.5)], COMMON) == [
        "host      USD/hour  address",
        "gpu-1         2.00  192.0.2.1",
        "gpu-2         2.50  192.0.2.1",
        "in total      4.50  -",
        "registry: host_vars",
        END.format("them"),
        "  -e decommission_hosts=gpu-1,gpu-2",
        "ssh -F host_vars/.ssh_config gpu-1",
    ]


def test_word_of_the_total_is_not_shortened() -> None:
    rows = [{**row(name, 2.0, 16.0), "ssh": "ssh -p 41611 root@198.51.100.1"} for name in ("gpu-1", "gpu-2")]
    lines = closing_lines(rows, Common(registry="registry: host_vars"))
    assert max(map(len, lines[:4])) > LINE and lines[3].startswith("in total ")


def test_closing_lines_of_one_host_have_no_table() -> None:
    assert closing_lines([row("gpu-1")], COMMON) == [
        "gpu-1  2.00 USD/hour  address 192.0.2.1",
        "registry: host_vars",
        END.format("it"),
        "  -e decommission_hosts=gpu-1",
        "ssh -F host_vars/.ssh_config gpu-1",
    ]


@pytest.mark.parametrize(
    ("rows", "total"),
    [
        ([row("a", 2.0, 16.0), row("b", 1.5, 12.0)], "in total      3.50  -                       28.00"),
        # The total bill is known only if each host's bill is.
        ([row("a", 2.0, 16.0), row("b", 1.5)], "in total      3.50  -                           -"),
        ([row("a", None, 16.0), row("b", 1.5)], "in total      1.50  -                           -"),
    ],
)
def test_total_bill_needs_bill_of_each_host(rows: list[dict[str, Any]], total: str) -> None:
    assert any(line.startswith(total) for line in closing_lines(rows, Common()))


@pytest.mark.parametrize(
    ("rows", "has_config", "titles"),
    [
        ([row("a")], True, ["host", "USD/hour", "address"]),
        ([row("a")], False, ["host", "USD/hour", "ssh"]),
        ([], True, ["host", "USD/hour", "address"]),
        # Hosts with and without a lease
        ([row("a"), row("b", bill=16.0)], True, ["host", "USD/hour", "until", "at most", "address"]),
        ([row("a"), {**row("b"), "machines": 2}], True, ["host", "machines", "USD/hour", "address"]),
    ],
)
def test_table_has_only_columns_with_values(rows: list[dict[str, Any]], has_config: bool, titles: list[str]) -> None:
    assert list(columns(rows, has_config=has_config)) == titles


@pytest.mark.parametrize(
    ("hosts", "option"),
    [
        ([f"gpu-{number}" for number in range(1, 51)], "  -e 'decommission_hosts=gpu-[1:50]'"),
        (["a b"], "  -e decommission_hosts=<host>"),  # Ansible would split the name
        ([f"name-{letter}" for letter in "abcdefghij"], "  -e decommission_hosts=<host>"),
    ],
)
def test_end_command_lists_hosts_if_they_fit(hosts: list[str], option: str) -> None:
    assert option in closing_lines([row(host) for host in hosts], COMMON)


def test_check_mode_ends_with_the_total() -> None:
    would = "gpu-1, gpu-2: USD 4.50 per hour, no cap on the bill; offers hold until 2026-11-29 08:31 UTC"
    assert closing_lines([], Common(registry="registry: host_vars", would=would)) == [
        "Without --check this buys gpu-1, gpu-2: USD 4.50 per hour, no cap on",
        "  the bill; offers hold until 2026-11-29 08:31 UTC.",
        "registry: host_vars",
    ]


def test_closing_lines_fit_terminal() -> None:
    rows = [{**row(f"{'x' * 50}-{n}"), "ansible_host": f"{'y' * 60}.example"} for n in range(2)]
    lines = closing_lines(rows, COMMON)
    assert max(map(len, (line for line in lines if not line.startswith(("~", "ssh"))))) <= LINE
    assert f"~ {'y' * 60}.example" in lines, "a shortened address follows below in full"


@pytest.mark.parametrize(
    ("hosts", "rows", "common", "expected"),
    [
        (
            ["gpu-1", "gpu-2"],
            [row("gpu-1"), row("gpu-2", 2.5)],
            COMMON,
            ["Configured: gpu-1, gpu-2, USD 4.50 per hour in total", "ssh -F host_vars/.ssh_config gpu-1"],
        ),
        (["gpu-1"], [row("gpu-1")], Common(), ["Configured: gpu-1, USD 2.00 per hour", "ssh root@192.0.2.1"]),
        # Without the rows of all hosts there is no total.
        (["gpu-1", "gpu-2"], [row("gpu-1")], Common(), ["Configured: gpu-1, gpu-2", "ssh root@192.0.2.1"]),
        (["gpu-1"], [row("gpu-1", None)], Common(), ["Configured: gpu-1", "ssh root@192.0.2.1"]),
        (["a-1", "a-2", "a-3"], [], COMMON, ["Configured: a-[1:3]"]),
    ],
)
def test_configured_lines_have_hosts_price_and_login(
    hosts: list[str], rows: list[dict[str, Any]], common: Common, expected: list[str]
) -> None:
    assert configured_lines(hosts, rows, common) == expected


PLAN = {"may_release": False, "spared": "", "known_hosts_file": "/keys", "registry": ""}
FAILURE = {
    "cause": "SSH cannot work on this computer: Permissions 0666 for 'id_ed25519' are too open.",
    "other_key": False,
    "price_per_hour": "2.5",
    "resource_ids": ["m-1", "m-2"],
    "given_back": "",
}
BILLED = (
    "It is BOUGHT and billed at USD 2.50 per hour. Resource ids: m-1, m-2. Run again to continue, or end it:"
    " compute_index.supply.decommission -e decommission_hosts=gpu-1"
)


@pytest.mark.parametrize(
    ("plan", "failure", "expected_start", "expected_part"),
    [
        ({}, {}, "gpu-1 cannot be used: SSH cannot work on this computer. It is", BILLED),
        ({}, {"cause": "It broke."}, "gpu-1 cannot be used: It broke. It is BOUGHT", BILLED),
        ({}, {"cause": f"{'long ' * 20}."}, f"gpu-1 cannot be used: {'long ' * 11}... It is", BILLED),
        ({"may_release": True}, {"cause": ""}, "gpu-1: Another host has failed, which ends this play for all", BILLED),
        ({}, {"resource_ids": [], "price_per_hour": ""}, "gpu-1 cannot", "an unknown price. Resource ids: none known"),
        ({"spared": "It is protected."}, {}, "gpu-1 cannot", f"It is protected. {BILLED}"),
        # Another host key may be an attacker's: the machine is not given back.
        *(
            ({"may_release": True}, {"other_key": key, "given_back": "Gone."}, "gpu-1 cannot", f"run again. {BILLED}")
            for key in (True, "True")
        ),
        ({"may_release": True}, {"given_back": "It was given back."}, "gpu-1 cannot", "computer. It was given back."),
    ],
)
def test_unusable_machine_is_reported_with_cause_and_bill(
    plan: dict[str, Any], failure: dict[str, Any], expected_start: str, expected_part: str
) -> None:
    text = unusable("gpu-1", {**PLAN, **plan}, {**FAILURE, **failure})
    assert text.startswith(expected_start) and expected_part in text, text
    assert "are too open" not in text, "details that Ansible has already shown are not repeated"
