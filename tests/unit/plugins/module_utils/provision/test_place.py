# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Places of registry entries: their differences, and how plans carry them."""

from __future__ import annotations

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import (
    NOWHERE,
    Folder,
    Place,
    SharedProject,
    place_of,
    place_of_purchase,
    prefix_of,
    twin_of,
)

FOLDER, SHARED = Folder("/inventory/host_vars"), SharedProject("red")


def test_of_two_projects_whose_machines_have_one_name_one_has_a_twin() -> None:
    """However a name is split into a project and a host, at most one of the two hosts is accepted."""
    parts = ["team", "a", "gpu", "1"]
    cuts = [("-".join(parts[:cut]), "-".join(parts[cut:])) for cut in range(1, len(parts))]
    assert {prefix_of(project) + host for project, host in cuts} == {"team-a-gpu-1"}
    assert [cut for cut in cuts if not twin_of(*cut, "team-a-gpu-1")] == [("team", "a-gpu-1")]
    assert twin_of("team-a", "gpu-1", "team-a-gpu-1") == "host a-gpu-1 of project team"
    assert not twin_of("team-a", "gpu-1", "mine") and not twin_of("default", "a-b", "a-b")


@pytest.mark.parametrize("place", [NOWHERE, FOLDER, SHARED, Folder("/shared:red"), SharedProject("shared:x")])
def test_a_plan_carries_it_as_text(place: Place) -> None:
    assert place_of(place.text) == place and hash(place_of(place.text)) == hash(place)


@pytest.mark.parametrize(
    ("place", "exists", "sums", "keys", "facts", "file", "where", "ssh"),
    [
        (NOWHERE, False, False, False, False, "", "", ""),
        (
            *(FOLDER, True, False, False, False),
            *["/inventory/host_vars/gpu-1/compute_index_supply.yml"] * 2,
            "/inventory/host_vars/.ssh_config",
        ),
        (SHARED, True, True, True, True, "", "the shared registry", ""),
    ],
)
def test_how_places_differ(
    place: Place, exists: bool, sums: bool, keys: bool, facts: bool, file: str, where: str, ssh: str
) -> None:
    assert (bool(place), place.keeps_sums, place.keeps_host_keys, place.hands_facts) == (exists, sums, keys, facts)
    assert (place.entry_file("gpu-1"), place.entry_place("gpu-1"), place.ssh_config) == (file, where, ssh)


def test_paths_of_this_controller_mean_nothing_to_others() -> None:
    facts = {"ansible_host": "192.0.2.1", "provision_identity_file": "/home/me/.ssh/id"}
    assert FOLDER.noted_facts(facts) == facts
    assert SHARED.noted_facts(facts) == {"ansible_host": "192.0.2.1"}


def test_the_place_of_a_purchase_is_where_its_registry_keeps_all_hosts() -> None:
    assert place_of_purchase("postgresql://db", "team", "") == SharedProject("team")
    assert place_of_purchase("postgresql://db", None, None) == SharedProject("default")
    assert place_of_purchase(None, "team", "/r/host_vars/gpu-1/compute_index_supply.yml") == Folder("/r/host_vars")
    assert place_of_purchase("", None, None) == NOWHERE
