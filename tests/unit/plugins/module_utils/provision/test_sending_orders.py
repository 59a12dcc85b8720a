# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The digests of an order: they distinguish two orders, and reveal nothing of their contents."""

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
    ("changes", "words"),
    [
        ({}, ""),
        ({"offer_id": offer_id(2)}, ""),  # the plan names it
        ({"cloud_init": "#!/bin/sh\n"}, "other user data (cloud_init)"),
        ({"cloud_init": None}, "other user data (cloud_init)"),
        (
            {"ssh_public_key": "ssh-ed25519 B", "resource_name": "gpu-2"},
            "another resource_name and another ssh_public_key",
        ),
        ({"cluster_name": "gpu-1"}, "another cluster_name"),
    ],
)
def test_in_which_parts_an_order_differs_from_its_plan(changes: dict[str, Any], words: str) -> None:
    now = {name: value for name, value in {**ORDER, **changes}.items() if value is not None}
    digests = order_digests(now, TOKEN, {})
    check_sealed({}, digests)  # there is no plan
    with pytest.raises(ValueError, match=re.escape(f"quoted with {words}.")) if words else contextlib.nullcontext():
        check_sealed(order_digests(ORDER, TOKEN, {}), digests)
    with pytest.raises(ValueError, match="another token"):
        check_sealed(order_digests(ORDER, "of yesterday", {}), digests)


def test_user_data_with_a_host_key_of_this_run_are_not_compared() -> None:
    seeded = {"provision_bootstrap_host_key": "ssh-ed25519 H"}
    runs = [order_digests({**ORDER, "cloud_init": text}, TOKEN, seeded) for text in ("one", "two")]
    assert runs[0] == runs[1] and "cloud_init" not in runs[0]


@given(st.text(), st.text(min_size=8))
def test_who_has_only_the_registry_cannot_try_guesses(secret: str, token: str) -> None:
    """For no secret is a digest of it alone, or of the token alone, kept."""
    noted = order_digests({**ORDER, "cloud_init": secret}, token, {})
    plain = {hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for text in (secret, token)}
    assert plain.isdisjoint(noted.values())
    assert noted != order_digests({**ORDER, "cloud_init": secret}, f"{token}x", {})
    assert all(len(value) == 64 for value in noted.values()), "as long for any secret"


@pytest.mark.parametrize(("user_data", "mark"), [("#!/bin/sh", True), (f"# {NO_MARK}", None), ("", None), (None, None)])
def test_which_user_data_leave_a_mark(user_data: str | None, mark: bool | None) -> None:
    assert boot_mark(user_data) is mark


BEFORE = order_digests({**ORDER, "cloud_init": "#!/bin/sh\ndate"}, TOKEN, {})


@pytest.mark.parametrize(
    ("purchase", "first", "is_told"),
    [
        *[("sent", BEFORE, True), ("made", BEFORE, True), ("refused", BEFORE, False)],
        ("sent", order_digests(ORDER, TOKEN, {}), False),
        ("sent", order_digests({**ORDER, "resource_name": "gpu-2"}, TOKEN, {}), True),
        ("sent", order_digests({**ORDER, "resource_name": "gpu-2"}, "of yesterday", {}), False),
        *(("sent", value, False) for value in (None, "", 7, [], {"token": 1}, {"token": None})),
    ],
)
def test_another_order_of_a_purchase_that_is_noted_is_told(purchase: str, first: Any, is_told: bool) -> None:
    """This holds for anything that a person has written there instead of digests."""
    known = entry(X, purchase=purchase, provision_ordered=first)
    texts = ordered_otherwise(known, noted_order(order_digests(ORDER, TOKEN, {}), "#!/bin/sh"))
    words = "with another key, name or user data: its machine was or will be bought as first ordered."
    assert texts == ([f"Offer {X} was ordered before {words}"] if is_told else [])
    assert ordered_otherwise(known, {}) == [], "a run that settles the purchase of another one orders nothing"


def test_what_was_ordered_first_stays_noted() -> None:
    first = noted_order(BEFORE, "#!/bin/sh\ndate")
    assert first == {"provision_ordered": BEFORE, "provision_boot_mark": True}
    assert entry(X, purchase="sent", **first).first_order == first
    nothing = {"provision_ordered": None, "provision_boot_mark": None}
    assert entry(X, purchase="sent").first_order == nothing
