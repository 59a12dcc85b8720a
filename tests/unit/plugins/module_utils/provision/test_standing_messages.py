# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages of hosts that stop before the plan: what may be billed, that nothing was bought, and what to do."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import standing
from ansible_collections.compute_index.supply.plugins.module_utils._provision.declaration import Declaration
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import TimeLimit
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import Folder, Place, SharedProject

from provision_samples import machine, machine_id, offer_id

X, M = offer_id(1), machine_id(1)
OWN = [machine(1, "gpu-1", X)]


@pytest.mark.parametrize(
    ("message", "expected_part"),
    [
        (
            standing.claimed_twice("gpu-1", ["gpu-2"], X, [M]),
            f"gpu-1 and gpu-2 claim the same offer {X} with machine {M}",
        ),
        (standing.claimed_twice("gpu-1", ["gpu-2"], "", [M]), f"claim the same machine {M}"),
        (standing.claimed_twice("gpu-1", ["gpu-2"], X, []), f"claim the same offer {X}, which"),
        (
            standing.unregistered_namesake(Declaration("gpu-1", "gpu-1", registry=Folder("/vars")), OWN),
            "and not in /vars: run there",
        ),
    ],
)
def test_stop_messages_name_ids_and_that_nothing_was_bought(message: str, expected_part: str) -> None:
    assert expected_part in message and "Nothing was bought" in message and (M in message or X in message)


@pytest.mark.parametrize(
    ("was_sent", "present", "absent"),
    [
        (True, ["so it may be this host's", "remove the registry entry"], ["remove provision_offer_id"]),
        (False, ["remove provision_offer_id"], ["never answered", "remove the registry entry"]),
    ],
)
def test_bought_by_another_depends_on_unanswered_purchase(
    was_sent: bool, present: list[str], absent: list[str]
) -> None:
    message = standing.bought_by_another(Declaration("gpu-1", "gpu-1"), "gpu-1", X, OWN, was_sent=was_sent)
    assert all(item in message for item in present) and not any(item in message for item in absent)
    assert "set provision_adopt: true; if it is not this host's, remove" in message


@pytest.mark.parametrize("registry", [Folder("/vars"), SharedProject("default")])
def test_namesake_message_names_other_folder_only_for_files(registry: Place) -> None:
    message = standing.unregistered_namesake(Declaration("gpu-1", "gpu-1", registry=registry), OWN)
    assert ("provision_registry_dir" in message) is isinstance(registry, Folder) and "provision_adopt: true" in message


@pytest.mark.parametrize(
    ("host", "machines", "would", "expected_start", "expected_end"),
    [
        ({}, OWN, False, "gpu-1 takes over ", "by its name."),
        (
            {"registry": Folder("/vars"), "lease": TimeLimit(seconds=60.0)},
            OWN,
            True,
            "gpu-1 would take over ",
            "by its name.",
        ),
        (
            {"registry": Folder("/vars")},
            OWN,
            False,
            "gpu-1 takes over ",
            "extend -e extend_hosts=gpu-1 -e extend_until=<time>.",
        ),
        ({}, [], True, "gpu-1 would take over ", f"the machines of its offer {X}, since provision_adopt is set."),
    ],
)
def test_adoption_message_names_machines_or_offer(
    host: dict[str, Any], machines: list[Any], would: bool, expected_start: str, expected_end: str
) -> None:
    """Also how to give a machine a lease: the entry that noted one may be lost."""
    message = standing.what_is_adopted(Declaration("gpu-1", "gpu-1", **host), machines, X, would=would)
    assert message.startswith(expected_start) and message.endswith(expected_end)


def test_messages_for_run_do_not_suggest_adopt() -> None:
    run = Declaration("run-a", "run-a", groups=("supply_run",))
    bought = standing.bought_by_another(run, "run-a", X, OWN, was_sent=True)
    for message in (standing.unregistered_namesake(run, OWN), bought):
        assert "choose another run_name" in message and "provision_adopt" not in message
