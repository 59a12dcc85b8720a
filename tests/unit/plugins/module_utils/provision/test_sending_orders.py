# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Digests of an order: they show whether two orders differ, and do not reveal their contents."""

from __future__ import annotations

import contextlib
import hashlib
import re
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.sending import (
    boot_mark,
    check_sealed,
    noted_order,
    order_digests,
    ordered_otherwise,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.waiting import NO_MARK
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import entry, offer_id

X = offer_id(1)
TOKEN = "t0ken"
ORDER = {"offer_id": X, "ssh_public_key": "ssh-ed25519 A", "resource_name": "gpu-1", "cloud_init": "#!/bin/sh"}


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({}, ""),
        ({"offer_id": offer_id(2)}, ""),  # the plan itself names the offer
        ({"cloud_init": "#!/bin/sh\n"}, "other user data (cloud_init)"),
        ({"cloud_init": None}, "other user data (cloud_init)"),
        (
            {"ssh_public_key": "ssh-ed25519 B", "resource_name": "gpu-2"},
            "another resource_name and another ssh_public_key",
        ),
        ({"cluster_name": "gpu-1"}, "another cluster_name"),
    ],
)
def test_check_sealed_names_differing_parts_of_order(changes: dict[str, Any], parts: str) -> None:
    order = {name: value for name, value in {**ORDER, **changes}.items() if value is not None}
    digests = order_digests(order, TOKEN, {})
    check_sealed({}, digests)  # without a plan
    with pytest.raises(ValueError, match=re.escape(f"quoted with {parts}.")) if parts else contextlib.nullcontext():
        check_sealed(order_digests(ORDER, TOKEN, {}), digests)
    with pytest.raises(ValueError, match="another token"):
        check_sealed(order_digests(ORDER, "of yesterday", {}), digests)


def test_user_data_with_seeded_host_key_have_no_digest() -> None:
    note = {"provision_bootstrap_host_key": "ssh-ed25519 H"}
    digests = [order_digests({**ORDER, "cloud_init": text}, TOKEN, note) for text in ("one", "two")]
    assert digests[0] == digests[1] and "cloud_init" not in digests[0]


@given(st.text(), st.text(min_size=8))
def test_digests_are_keyed_with_token(secret: str, token: str) -> None:
    """A plain digest of user data or token would let a reader of the registry test guesses."""
    digests = order_digests({**ORDER, "cloud_init": secret}, token, {})
    unkeyed = {hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for text in (secret, token)}
    assert unkeyed.isdisjoint(digests.values())
    assert digests != order_digests({**ORDER, "cloud_init": secret}, f"{token}x", {})
    assert all(len(value) == 64 for value in digests.values()), "the length does not depend on the secret"


@pytest.mark.parametrize(("user_data", "mark"), [("#!/bin/sh", True), (f"# {NO_MARK}", None), ("", None), (None, None)])
def test_boot_mark_is_true_if_user_data_leave_mark(user_data: str | None, mark: bool | None) -> None:
    assert boot_mark(user_data) is mark


BEFORE = order_digests({**ORDER, "cloud_init": "#!/bin/sh\ndate"}, TOKEN, {})


@pytest.mark.parametrize(
    ("purchase", "noted_digests", "warns"),
    [
        *[("sent", BEFORE, True), ("made", BEFORE, True), ("refused", BEFORE, False)],
        ("sent", order_digests(ORDER, TOKEN, {}), False),
        ("sent", order_digests({**ORDER, "resource_name": "gpu-2"}, TOKEN, {}), True),
        ("sent", order_digests({**ORDER, "resource_name": "gpu-2"}, "of yesterday", {}), False),
        *(("sent", value, False) for value in (None, "", 7, [], {"token": 1}, {"token": None})),
    ],
)
def test_repeated_purchase_with_another_order_warns(purchase: str, noted_digests: Any, warns: bool) -> None:
    """A person may have written anything in place of the digests."""
    own_entry = entry(X, purchase=purchase, provision_ordered=noted_digests)
    warnings = ordered_otherwise(own_entry, noted_order(order_digests(ORDER, TOKEN, {}), "#!/bin/sh"))
    reason = "with another key, name or user data: its machine was or will be bought as first ordered."
    assert warnings == ([f"Offer {X} was ordered before {reason}"] if warns else [])
    assert ordered_otherwise(own_entry, {}) == [], "a run that only settles the purchase has no order"


def test_first_order_stays_noted() -> None:
    first = noted_order(BEFORE, "#!/bin/sh\ndate")
    assert first == {"provision_ordered": BEFORE, "provision_boot_mark": True}
    assert entry(X, purchase="sent", **first).first_order == first
    no_order = {"provision_ordered": None, "provision_boot_mark": None}
    assert entry(X, purchase="sent").first_order == no_order
