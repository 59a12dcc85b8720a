# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which claims count in sums, the state of a claim once its purchase is noted, and purchases that were made late."""

from __future__ import annotations

import itertools
import re

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.claims import (
    BUYING,
    COUNTED,
    ENDED,
    LIVE,
    OPEN,
    OVER,
    STATES,
    STRAY,
    VOID,
    came_late,
    counts,
    is_held,
    needs_settling,
    state_once_made,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import Machine
from ansible_collections.compute_index.supply.plugins.module_utils._registry._statements import SCHEMA

from provision_samples import machine, offer_id

# state of the claim, whether it gets new machines, whether its host has no other claim, state of a rival; new state
NEW_STATES = {
    "buying": (BUYING, True, True, None, LIVE),
    "buying, and no machine is known yet": (BUYING, False, True, None, LIVE),
    "noted before": (LIVE, False, True, None, LIVE),
    "further machine": (LIVE, True, True, None, LIVE),
    "stray": (STRAY, True, True, None, STRAY),
    "freed too early": (VOID, True, True, None, LIVE),
    "freed too early, and the host has bought another": (VOID, True, False, None, STRAY),
    "row lost": (None, True, True, None, LIVE),
    "row lost, and the host has bought another": (None, True, False, None, STRAY),
    "ended, and noted again": (ENDED, False, True, None, ENDED),
    "ended, and an unknown machine": (ENDED, True, True, None, STRAY),
    "row lost, and another host is buying the offer": (None, True, True, BUYING, LIVE),
    "void, and another host is buying the offer": (VOID, True, True, BUYING, LIVE),
    "another host is buying the offer, and ours has bought another": (VOID, True, False, BUYING, STRAY),
    "another host has bought the offer": (None, True, True, LIVE, None),
    "another host has bought and ended the offer": (VOID, True, True, ENDED, None),
}


@pytest.mark.parametrize(
    ("state", "adds", "name_is_free", "rival", "new_state"), NEW_STATES.values(), ids=NEW_STATES.keys()
)
def test_state_once_made(
    state: str | None, adds: bool, name_is_free: bool, rival: str | None, new_state: str | None
) -> None:
    assert state_once_made(state, adds=adds, name_is_free=name_is_free, rival=rival) == new_state


def test_ended_claim_of_adopted_machine_is_live_or_stray_again() -> None:
    assert state_once_made(ENDED, adds=False, name_is_free=True, adopted=True) == LIVE
    assert state_once_made(ENDED, adds=False, name_is_free=False, adopted=True) == STRAY


def test_new_machine_always_belongs_to_a_claim_that_counts() -> None:
    """Either to this claim, or to the rival."""
    for state, free, rival in itertools.product((None, *STATES), (True, False), (None, *STATES)):
        new_state = state_once_made(state, adds=True, name_is_free=free, rival=rival if rival != VOID else None)
        assert new_state in COUNTED or (new_state is None and rival not in (None, VOID, BUYING))


def test_host_never_has_two_open_claims() -> None:
    for state, adds in itertools.product((None, VOID, ENDED), (True, False)):
        assert state_once_made(state, adds=adds, name_is_free=False) not in OPEN


# state, whether it is marked as sent, whether its run holds it; whether it counts, whether any run may settle it
COUNTING = {
    "claimed just now": (BUYING, False, True, True, False),
    "its run died before the mark": (BUYING, False, False, False, False),
    "its purchase is under way": (BUYING, True, True, True, False),
    "its run died after the mark": (BUYING, True, False, True, True),
    "bought": (LIVE, True, False, True, False),
    "moved into this registry": (LIVE, False, False, True, False),
    "stray": (STRAY, True, False, True, False),
    "nothing was bought": (VOID, True, True, False, False),
    "ended": (ENDED, True, False, False, False),
}


@pytest.mark.parametrize(
    ("state", "is_sent", "is_held", "is_counted", "may_be_settled"), COUNTING.values(), ids=COUNTING.keys()
)
def test_claim_counts_while_it_may_have_bought(
    state: str, is_sent: bool, is_held: bool, is_counted: bool, may_be_settled: bool
) -> None:
    assert counts(state, is_sent=is_sent, is_held=is_held) is is_counted
    assert needs_settling(state, is_sent=is_sent, is_held=is_held) is may_be_settled


@pytest.mark.parametrize(
    ("state", "same_epoch", "expected"),
    [
        (BUYING, True, True),
        (LIVE, True, True),
        (BUYING, False, False),
        (LIVE, False, False),
        (STRAY, True, False),
        (VOID, True, False),
        (ENDED, True, False),
        (None, True, False),
    ],
)
def test_claim_is_held_while_open_under_its_own_epoch(state: str | None, same_epoch: bool, expected: bool) -> None:
    assert is_held(state, same_epoch=same_epoch) is expected


@pytest.mark.parametrize(
    ("found", "refused", "expected"),
    [
        (machine(1, "gpu-1", offer_id(1)), None, True),
        (machine(1, "gpu-1-2", offer_id(1)), None, True),
        (machine(1, "gpu-1"), None, True),
        (machine(1, "gpu-1", offer_id(2)), None, False),
        (machine(1, "gpu-2", offer_id(1)), None, False),
        (machine(1, None, offer_id(1)), None, False),
        (machine(1, "gpu-1", offer_id(1), status="deleted"), None, False),
        (machine(1, "gpu-1", offer_id(1), status="failed"), None, False),
        (None, None, False),  # unknown to the API
        # Refused purchases bought nothing, so the machine is probably someone else's; after 429 the offer may be sold.
        (machine(1, "gpu-1", offer_id(1)), 409, False),
        (machine(1, "gpu-1", offer_id(1)), 429, True),
    ],
)
def test_freed_claim_bought_live_machine_of_its_name_after_all(
    found: Machine | None, refused: int | None, expected: bool
) -> None:
    assert came_late(found, offer_id(1), "gpu-1", refused) is expected


def test_database_schema_has_the_same_states() -> None:
    lists = [tuple(re.findall(r"'(\w+)'", states)) for states in re.findall(r"state IN \(([^)]*)\)", SCHEMA)]
    assert lists == [STATES, OPEN, OVER, COUNTED, COUNTED]
