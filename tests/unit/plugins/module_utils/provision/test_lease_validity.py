# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``valid_to`` is shown if it comes before the end of the lease, and changes nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import (
    auditing,
    lease,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.auditing import audit_by_owners
from ansible_collections.compute_index.supply.plugins.module_utils._provision.candidates import Case
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import (
    Clock,
    end_of_machine,
    end_of_offer,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import OwnershipClaim
from ansible_collections.compute_index.supply.plugins.module_utils._provision.planning import (
    BUY,
    LATER,
    STOP,
    WAIT,
    Plan,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.quote import quoted
from ansible_collections.compute_index.supply.plugins.module_utils._provision.rows import Lifetime, lease_warnings
from ansible_collections.compute_index.supply.plugins.module_utils._provision.standing import HostState, Standing
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import noted_offer

from provision_samples import entry, host, machine, machine_id, offer, offer_id

NOON = 1_800_000_000.0
HOUR = 3600.0


def at(hours: float) -> str:
    return lease.utc_rounded_up(NOON + hours * HOUR)


@pytest.mark.parametrize(
    ("fields", "hours"),
    [
        ({}, None),
        ({"valid_to": None}, None),
        ({"valid_to": "soon"}, None),
        ({"valid_to": 7}, None),
        ({"valid_to": at(4)}, 4),
        ({"valid_to": at(4), "expires_at": at(0.5)}, 4),
        ({"valid_to": at(0.5), "expires_at": at(0.5)}, None),  # until then it can be bought
        ({"valid_to": at(0.4), "expires_at": at(0.5)}, None),
    ],
)
def test_until_when_the_machines_of_an_offer_are_there(fields: dict[str, Any], hours: float | None) -> None:
    assert end_of_offer(fields) == (None if hours is None else NOON + hours * HOUR)
    noted = noted_offer({**offer(1), **fields})
    assert end_of_offer(noted) == end_of_offer(fields), "also once the offer's own expiry is forgotten"


@pytest.mark.parametrize(
    ("fields", "is_known"),
    [
        ({"valid_to": at(1)}, True),
        ({"valid_to": at(0)}, False),
        ({"valid_to": at(-1)}, False),
        ({"valid_to": at(1), "status": "deleting"}, False),
        ({"valid_to": at(1), "status": None}, True),
        ({}, False),
    ],
)
def test_until_when_a_machine_is_there(fields: dict[str, Any], is_known: bool) -> None:
    assert (end_of_machine({"status": "running", **fields}, NOON) is not None) is is_known


def told(case: Case, draft: Plan) -> list[str]:
    return [text for text in lease_warnings([case], [draft], {}, Clock.of(NOON, 0.0)) if "By the API" in text]


@pytest.mark.parametrize(
    ("term", "hours", "said"),
    [
        ("8h", 4, "the offer of gpu-1 ends at 2027-01-15 12:00 UTC, before its lease (2027-01-15 16:00 UTC)."),
        ("8h", 8, ""),
        ("8h", 9, ""),
        ("", 4, "the offer of gpu-1 ends at 2027-01-15 12:00 UTC."),
        ("8h", -1, ""),
        ("8h", None, ""),
    ],
)
def test_a_plan_tells_which_end_comes_first(term: str, hours: float | None, said: str) -> None:
    case = Case(host(lease=term), entry(), Standing(HostState.FREE))
    valid = {} if hours is None else {"valid_to": at(hours)}
    assert told(case, Plan("gpu-1", BUY, offer_id(1), valid, price_per_hour=2.0)) == (
        [f"By the API, {said}"] if said else []
    )
    for action in (STOP, LATER):
        assert told(case, Plan("gpu-1", action, offer_id(1), valid)) == []


def test_what_a_host_has_is_told_as_well() -> None:
    noted = {"provision_leased": "8h", "provision_ends_at": at(8), "provision_journaled_at": at(0)}
    owned = entry(offer_id(1), [machine_id(1)], "made", **noted, provision_offer={"valid_to": at(6)})
    draft = Plan("gpu-1", WAIT, offer_id(1), price_per_hour=2.0)
    by_offer = Case(host(lease="8h"), owned, Standing(HostState.READY, offer_id(1)))
    assert ["the machine of gpu-1 ends at 2027-01-15 14:00 UTC, before" in text for text in told(by_offer, draft)] == [
        True
    ]
    seen = Standing(HostState.READY, offer_id(1), machines=(machine(1, valid_to=at(5)),))
    assert ["ends at 2027-01-15 13:00 UTC" in text for text in told(Case(host(lease="8h"), owned, seen), draft)] == [
        True
    ]


def test_a_quote_publishes_it_and_counts_the_whole_lease() -> None:
    draft = Plan("gpu-1", BUY, offer_id(1), {**offer(1), "valid_to": at(4)}, price_per_hour=2.0)
    lives = {"gpu-1": Lifetime(NOON + 8 * HOUR, 16.0)}
    quote = quoted([draft], "", lives)["ansible_stats"]["data"]["quote"]["hosts"]["gpu-1"]
    assert (quote["valid_to"], quote["ends_at"], quote["at_most"]) == (at(4), at(8), 16.0)


@pytest.mark.parametrize(
    ("valid_to", "ends_at", "said"),
    [
        (at(4), at(8), "gpu-1 {id} ends at 2027-01-15 12:00 UTC, before its lease (2027-01-15 16:00 UTC)."),
        (at(4), "", "gpu-1 {id} ends at 2027-01-15 12:00 UTC."),
        (at(9), at(8), ""),
        (at(-1), at(8), ""),
        (None, at(8), ""),
    ],
)
def test_an_audit_shows_machines_that_end_before_their_leases(valid_to: str | None, ends_at: str, said: str) -> None:
    claim = OwnershipClaim("gpu-1", "gpu-1", offer_id(1), frozenset({machine_id(1)}))
    found = audit_by_owners([machine(1, "gpu-1", offer_id(1), valid_to=valid_to)], [claim], {"gpu-1"}, NOON)
    (row,) = found.claimed
    assert row["valid_to"] == (valid_to if valid_to and valid_to > at(0) else None)
    lines = auditing.audit_lines(found, [(ends_at, "gpu-1", 16.0)] if ends_at else [])
    expected = [f"By the API, {said.format(id=machine_id(1))}"] if said else []
    assert [line for line in lines if line.startswith("By the API")] == expected
