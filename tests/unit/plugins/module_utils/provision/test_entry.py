# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading of registry entries, which people may have written."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import (
    CONNECTION,
    Entry,
    read_entry,
    run_in_words,
)
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import entry, machine_id, offer_id

X, M, N = offer_id(1), machine_id(1), machine_id(2)


@pytest.mark.parametrize(
    ("known", "is_empty", "is_open", "is_made", "is_refused"),
    [
        (entry(), True, False, False, False),
        (entry(purchase="made"), True, False, False, False),
        (entry(purchase="refused"), True, False, False, True),
        (entry(X), False, True, False, False),
        (entry(X, purchase="sent"), False, True, False, False),
        (entry(X, purchase="a word of a later version"), False, True, False, False),
        (entry(X, purchase="made"), False, False, True, False),
        (entry(X, purchase="refused"), False, False, False, True),
        # Machine ids prove a purchase.
        (entry(X, [M], "refused"), False, False, True, False),
        (entry(X, [M], "sent"), False, False, True, False),
        (entry("", [M]), False, False, True, False),
    ],
)
def test_entry_is_empty_open_made_or_refused(
    known: Entry, is_empty: bool, is_open: bool, is_made: bool, is_refused: bool
) -> None:
    assert (known.is_empty, known.is_open, known.is_made, known.is_refused) == (is_empty, is_open, is_made, is_refused)


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        (None, ()),
        ([], ()),
        ("", ()),
        ("  ", ()),
        (["", None, "  "], ()),
        (M, (M,)),
        (f" {M.upper()} ", (M,)),
        ([M, M.upper()], (M,)),
        ([1], ("1",)),
        (7, ("7",)),
        (1.5, ("1.5",)),
        (True, ()),
        ((M,), (M,)),
    ],
)
def test_handwritten_ids_are_read(value: Any, ids: tuple[str, ...]) -> None:
    assert read_entry({"provision_resource_ids": value}).resource_ids == ids


@pytest.mark.parametrize(
    ("value", "price"),
    [(2, 2.0), ("2.50", 2.5), (None, None), (True, None), ("free", None), (-1, None), ("-0.5", None), ("nan", None)],
)
def test_invalid_price_is_unknown(value: Any, price: float | None) -> None:
    assert read_entry({"provision_price_per_hour": value}).price_per_hour == price


def test_offer_id_is_read_without_blanks_in_lower_case() -> None:
    assert entry(f" {X.upper()} ").offer_id == X


@pytest.mark.parametrize(
    ("fields", "was_ready"),
    [
        ({}, False),
        ({"provision_instances": []}, False),
        ({"provision_instances": ["no mapping"]}, False),
        ({"provision_instances": [{"ansible_host": "192.0.2.1"}]}, True),
        # An adopted machine may be in use.
        ({"provision_adopted": True}, True),
    ],
)
def test_registered_or_adopted_machine_was_ready(fields: dict[str, Any], was_ready: bool) -> None:
    assert entry(X, [M], **fields).was_ready is was_ready


@pytest.mark.parametrize(
    ("noted", "project", "is_another"),
    [
        ({"provision_resource_name": "gpu-1"}, "default", False),
        ({"provision_resource_name": "gpu-1"}, "a", True),
        ({"provision_resource_name": "a-gpu-1", "provision_project": "a"}, "a", False),
        ({"provision_resource_name": "a-gpu-1", "provision_project": "a"}, "b", True),
        ({"provision_resource_name": "a-gpu-1", "provision_project": "a"}, "default", True),
        # The entry was adopted or handwritten.
        ({}, "a", False),
    ],
)
def test_entry_with_purchase_may_be_of_another_project(noted: dict[str, Any], project: str, is_another: bool) -> None:
    assert entry(X, [M], "made", **noted).is_of_another_project(project) is is_another
    assert not entry(X, [], "refused", **noted).is_of_another_project(project)
    assert not entry(**noted).is_of_another_project(project)


@pytest.mark.parametrize(
    ("known", "is_unanswered"),
    [
        (entry(X, purchase="sent"), True),
        (entry(X, purchase="sent", provision_refused_status=409), False),
        (entry(X, purchase="made"), False),
        (entry(), False),
    ],
)
def test_purchase_is_unanswered_while_open_and_not_refused(known: Entry, is_unanswered: bool) -> None:
    assert known.is_unanswered is is_unanswered


@pytest.mark.parametrize(
    ("fields", "machines"),
    [
        ({}, (M, N)),
        ({"provision_storage": [{"resource_id": N}]}, (M,)),
        ({"provision_affected_ids": [N]}, (M,)),
        # An entry of kept storage names the storage as its resource.
        ({"provision_storage": [{"resource_id": N}], "provision_storage_of": "gpu-1"}, (M, N)),
    ],
)
def test_storage_ids_are_no_machines(fields: dict[str, Any], machines: tuple[str, ...]) -> None:
    assert entry(X, [M, N], **fields).resource_ids == machines


@pytest.mark.parametrize(("ids", "is_missing"), [([M], True), ([], False)])
def test_only_entry_with_machines_can_be_missing(ids: list[str], is_missing: bool) -> None:
    assert entry(X, ids, provision_missing_at="2026-01-31T12:00:00Z").is_missing is is_missing


def test_storage_is_kept_since_its_machine_ended() -> None:
    items = [{"resource_id": M}, {"resource_id": N, "kept_since": "2026-01-31T12:00:00Z"}]
    assert [item.resource_id for item in entry(X, provision_storage=items).kept_storage] == [N]


@pytest.mark.parametrize(
    ("noted", "end"),
    [
        ("2026-01-31T12:00:00Z", 1_769_860_800.0),
        ("2026-01-31T13:00+01:00", 1_769_860_800.0),
        ("2026-01-31T12:00:00", None),  # a person may mean local time
        ("tomorrow", None),
        ("", None),
    ],
)
def test_lease_end_is_time_with_zone(noted: str, end: float | None) -> None:
    assert read_entry({"provision_ends_at": noted}).lease_end == end


def test_unquoted_time_is_read_although_yaml_parses_it() -> None:
    moment = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
    assert entry(X, provision_ends_at=moment).ends_at == "2026-01-31T12:00:00+00:00"


@pytest.mark.parametrize(
    ("holder", "words"),
    [
        (
            {"user": "alice", "host": "bastion", "job": "7", "process": 4711},
            "alice at bastion (AWX job 7, process 4711)",
        ),
        ({"user": "alice", "host": "bastion"}, "alice at bastion"),
        ({}, "someone at an unknown computer"),
    ],
)
def test_run_in_words(holder: dict[str, Any], words: str) -> None:
    assert run_in_words(holder) == words


def test_missing_variables_are_read_as_empty_entry() -> None:
    assert read_entry(None) == read_entry({}) == Entry(connection=dict.fromkeys(CONNECTION))


_words = st.sampled_from(["", "sent", "made", "refused", X, M, M.upper(), " ", "-1", "{{ 1 }}"])
_anything = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | _words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_words, inner, max_size=2),
    max_leaves=4,
)
_names = st.sampled_from(
    [
        *("provision_procured_offer_id", "provision_resource_ids", "provision_purchase", "provision_price_per_hour"),
        *("provision_instances", "provision_groups", "provision_offer", "provision_verified", "provision_adopted"),
    ]
)


@given(st.dictionaries(_names, _anything))
def test_arbitrary_entry_is_either_open_or_made_or_frees_its_host(variables: dict[str, Any]) -> None:
    known = read_entry(variables)
    assert all(known.resource_ids)
    assert known.price_per_hour is None or known.price_per_hour >= 0
    assert known.is_open + known.is_made + (known.is_empty or known.is_refused) == 1
    assert known.may_have_bought == (known.is_open or known.is_made)


@pytest.mark.parametrize("ids", [[None], [""], True, None, []])
def test_invalid_ids_prove_no_purchase(ids: Any) -> None:
    known = read_entry({"provision_procured_offer_id": X, "provision_resource_ids": ids})
    assert known.is_open and not known.is_made and known.may_have_bought
