# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a host stops before the plan: nothing was bought, what may be billed, and what to do."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import standing
from ansible_collections.compute_index.supply.plugins.module_utils._provision.declaration import Declaration
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import Folder, Place, SharedProject

from provision_samples import machine, machine_id, offer_id

X, M = offer_id(1), machine_id(1)
OWN = [machine(1, "gpu-1", X)]


@pytest.mark.parametrize(
    ("text", "words"),
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
def test_a_host_that_stops_buys_nothing(text: str, words: str) -> None:
    assert words in text and "Nothing was bought" in text and (M in text or X in text)


@pytest.mark.parametrize(
    ("was_sent", "present", "absent"),
    [
        (True, ["so it may be this host's", "remove the registry entry"], ["remove provision_offer_id"]),
        (False, ["remove provision_offer_id"], ["never answered", "remove the registry entry"]),
    ],
)
def test_a_machine_of_another_name_may_be_ours_if_one_was_sent(
    was_sent: bool, present: list[str], absent: list[str]
) -> None:
    text = standing.bought_by_another("gpu-1", "gpu-1", X, OWN, was_sent=was_sent)
    assert all(item in text for item in present) and not any(item in text for item in absent)


@pytest.mark.parametrize("place", [Folder("/vars"), SharedProject("default")])
def test_only_a_registry_of_files_may_be_in_another_folder(place: Place) -> None:
    text = standing.unregistered_namesake(Declaration("gpu-1", "gpu-1", registry=place), OWN)
    assert ("provision_registry_dir" in text) is isinstance(place, Folder) and "provision_adopt: true" in text


@pytest.mark.parametrize(
    ("machines", "would", "begin", "what"),
    [
        (OWN, False, "gpu-1 takes over ", "by its name."),
        (OWN, True, "gpu-1 would take over ", "by its name."),
        ([], True, "gpu-1 would take over ", f"the machines of its offer {X}, since provision_adopt is set."),
    ],
)
def test_what_is_adopted(machines: list[Any], would: bool, begin: str, what: str) -> None:
    text = standing.what_is_adopted("gpu-1", machines, X, would=would)
    assert text.startswith(begin) and text.endswith(what)


def test_a_run_is_not_told_to_take_over_what_it_never_takes() -> None:
    text = standing.unregistered_namesake(Declaration("run-a", "run-a", groups=("supply_run",)), OWN)
    assert "choose another run_name" in text and "provision_adopt" not in text
