# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an order is remembered by: it tells two orders apart, and nothing of what they contain."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.boot import NO_MARK
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.sending import (
    OrderDigests,
    differing_parts,
    order_digests,
)
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import entry, offer_id

X = offer_id(1)
TOKEN = "t0ken"
ORDER = {"offer_id": X, "ssh_public_key": "ssh-ed25519 A", "resource_name": "gpu-1", "cloud_init": "#!/bin/sh"}


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({}, []),
        ({"offer_id": offer_id(2)}, []),  # the entry names it
        ({"cloud_init": "#!/bin/sh\n"}, ["cloud_init"]),
        ({"cloud_init": None}, ["cloud_init"]),
        ({"ssh_public_key": "ssh-ed25519 B", "resource_name": "gpu-2"}, ["resource_name", "ssh_public_key"]),
        ({"cluster_name": "gpu-1"}, ["cluster_name"]),
    ],
)
def test_in_which_parts_two_orders_differ(changes: dict[str, Any], parts: list[str]) -> None:
    now = {name: value for name, value in {**ORDER, **changes}.items() if value is not None}
    assert differing_parts(order_digests(ORDER, TOKEN, {}), order_digests(now, TOKEN, {})) == parts
    assert differing_parts(order_digests(ORDER, "of yesterday", {}), order_digests(now, TOKEN, {})) == []
    assert differing_parts({}, order_digests(now, TOKEN, {})) == []


def test_user_data_with_a_host_key_of_this_run_are_not_compared() -> None:
    seeded = {"provision_bootstrap_host_key": "ssh-ed25519 H"}
    runs = [order_digests({**ORDER, "cloud_init": text}, TOKEN, seeded) for text in ("one", "two")]
    assert runs[0] == runs[1] and "cloud_init" not in runs[0]


@given(st.text(), st.text(min_size=8))
def test_who_has_only_the_registry_cannot_try_guesses(secret: str, token: str) -> None:
    """Whatever the secret, no digest of it alone, nor of the token alone, is kept."""
    noted = order_digests({**ORDER, "cloud_init": secret}, token, {})
    plain = {hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for text in (secret, token)}
    assert plain.isdisjoint(noted.values())
    assert noted != order_digests({**ORDER, "cloud_init": secret}, f"{token}x", {})
    assert all(len(value) == 64 for value in noted.values()), "as long for any secret"


@pytest.mark.parametrize(("purchase", "is_told"), [("sent", True), ("made", True), ("refused", False)])
def test_only_what_may_have_been_bought_counts(purchase: str, is_told: bool) -> None:
    first, now = (OrderDigests.of({**ORDER, "cloud_init": text}, TOKEN, {}) for text in ("#!/bin/sh", f"# {NO_MARK}"))
    assert (first.leaves_mark, now.leaves_mark) == (True, False)
    noted = entry(X, purchase=purchase, **first.to_note(Entry()))
    texts = now.warnings(noted)
    assert bool(texts) is is_told
    assert all(f"Offer {X} was first ordered with another cloud_init." in text for text in texts)
    kept = now.to_note(noted)
    assert kept == {"provision_ordered": (first if is_told else now).digests, "provision_boot_mark": is_told or None}


def test_of_what_an_earlier_version_has_ordered_the_next_order_is_kept() -> None:
    now = OrderDigests.of(ORDER, TOKEN, {})
    assert now.to_note(entry(X, purchase="sent")) == {"provision_ordered": now.digests, "provision_boot_mark": True}


@pytest.mark.parametrize("value", [None, "", 7, [], {"token": 1}, {"token": None}])
def test_what_a_person_has_written_says_nothing(value: Any) -> None:
    assert OrderDigests.of(ORDER, TOKEN, {}).warnings(entry(X, purchase="sent", provision_ordered=value)) == []
