# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Places of registry entries, and how plans carry them."""

from __future__ import annotations

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import (
    NOWHERE,
    Folder,
    Place,
    SharedProject,
    another_project,
    place_of,
    place_of_purchase,
    prefix_of,
    twin_of,
    why_not_imported,
)

from provision_samples import entry

FOLDER, SHARED = Folder("/inventory/host_vars"), SharedProject("red")


def test_twin_of_names_the_other_project_with_the_same_machine_name() -> None:
    """A name can be split into project and host in several ways; exactly one of them is accepted."""
    parts = ["team", "a", "gpu", "1"]
    cuts = [("-".join(parts[:cut]), "-".join(parts[cut:])) for cut in range(1, len(parts))]
    assert {prefix_of(project) + host for project, host in cuts} == {"team-a-gpu-1"}
    assert [cut for cut in cuts if not twin_of(*cut, "team-a-gpu-1")] == [("team", "a-gpu-1")]
    assert twin_of("team-a", "gpu-1", "team-a-gpu-1") == "host a-gpu-1 of project team"
    assert not twin_of("team-a", "gpu-1", "mine") and not twin_of("default", "a-b", "a-b")


@pytest.mark.parametrize("place", [NOWHERE, FOLDER, SHARED, Folder("/shared:red"), SharedProject("shared:x")])
def test_place_survives_as_text(place: Place) -> None:
    assert place_of(place.text) == place and hash(place_of(place.text)) == hash(place)


@pytest.mark.parametrize(
    ("place", "exists", "keeps_sums", "keeps_keys", "hands_facts", "file", "entry_place", "ssh_config"),
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
def test_properties_of_each_place(
    place: Place,
    exists: bool,
    keeps_sums: bool,
    keeps_keys: bool,
    hands_facts: bool,
    file: str,
    entry_place: str,
    ssh_config: str,
) -> None:
    assert bool(place) is exists
    assert (place.keeps_sums, place.keeps_host_keys, place.hands_facts) == (keeps_sums, keeps_keys, hands_facts)
    assert (place.entry_file("gpu-1"), place.entry_place("gpu-1"), place.ssh_config) == (file, entry_place, ssh_config)


def test_noted_facts_in_a_shared_registry_omit_paths() -> None:
    facts = {"ansible_host": "192.0.2.1", "provision_identity_file": "/home/me/.ssh/id"}
    assert FOLDER.noted_facts(facts) == facts
    assert SHARED.noted_facts(facts) == {"ansible_host": "192.0.2.1"}


def test_place_of_purchase_by_url_or_file() -> None:
    assert place_of_purchase("postgresql://db", "team", "") == SharedProject("team")
    assert place_of_purchase("postgresql://db", None, None) == SharedProject("default")
    assert place_of_purchase(None, "team", "/r/host_vars/gpu-1/compute_index_supply.yml") == Folder("/r/host_vars")
    assert place_of_purchase("", None, None) == NOWHERE


@pytest.mark.parametrize(("project", "prefix"), [("default", ""), ("", ""), (None, ""), ("red", "red-")])
def test_prefix_of_default_project_is_empty(project: str | None, prefix: str) -> None:
    assert prefix_of(project) == prefix


@pytest.mark.parametrize(
    ("path", "noted", "is_refused"),
    [("/r/f.yml", "blue", True), ("/r/f.yml", "red", False), ("/r/f.yml", "", False), ("", "blue", False)],
)
def test_file_of_another_project_is_refused(path: str, noted: str, is_refused: bool) -> None:
    known = entry("o", ["m"], "made", provision_project=noted)
    refusal = another_project("gpu-1", path, known, "red")
    assert refusal.startswith("/r/f.yml was written for gpu-1 of the project blue,") if is_refused else refusal == ""


@pytest.mark.parametrize(
    ("offer", "purchase", "in_registry", "is_refused"),
    [
        ("o", "made", "", True),
        ("o", "sent", "another", True),
        ("o", "made", "o", False),
        ("o", "refused", "", False),
        ("", "", "", False),
    ],
)
def test_file_whose_purchase_the_shared_registry_lacks_stops_its_host(
    offer: str, purchase: str, in_registry: str, is_refused: bool
) -> None:
    assert bool(why_not_imported("/r/f.yml", entry(offer, purchase=purchase), in_registry)) is is_refused
