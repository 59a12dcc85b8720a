# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether one resource has ended, how that reads, and which of many are told again and waited for."""

from __future__ import annotations

import random
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import ApiError
from ansible_collections.compute_index.supply.plugins.module_utils._provision import ending_by_id
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import OwnershipClaim

from provision_samples import machine, machine_id

M, N = machine_id(1), machine_id(2)
MACHINE = {**machine(1, "gpu-1"), "kind": "machine"}
DISK = {**machine(2, "data", status="available"), "kind": "storage"}
OVER = {"billing_stopped": True}


@pytest.mark.parametrize(
    ("resource", "sentence", "billed"),
    [
        (MACHINE, f"Machine {M} is deleted", "It may still be billed at USD 2.00 per hour."),
        (DISK, f"Storage {M} is deleted with all its data", "It may still be billed at USD 2.00 per hour."),
        (None, f"Resource {M} is deleted", "It may still be billed at an unknown price."),
    ],
)
def test_a_sentence_says_what_ends_and_what_may_be_billed(resource: Any, sentence: str, billed: str) -> None:
    assert (ending_by_id.describe_deletion(M, resource, "is deleted"), ending_by_id.still_billed(resource)) == (
        sentence,
        billed,
    )


UNKNOWN = ApiError("HTTP 404.", "not_found")
BUSY, DENIED = ApiError("HTTP 503.", "unavailable", transient=True), ApiError("HTTP 401.", "auth")
LISTED = [DISK, MACHINE]


@pytest.mark.parametrize(
    ("accepted", "page", "listed", "again", "left", "why"),
    [
        # Its own page says what it is.
        (False, "deleted", None, None, 60, ""),
        (False, "terminated", None, None, 60, ""),
        (True, "running", None, None, 60, "the API still says 'running'"),
        (True, "deleting", None, None, 0, "the API still says 'deleting'"),
        (True, None, None, None, 60, "the API gives no state"),
        # A 404 proves nothing before a deletion was accepted, nor if the list has the resource.
        (False, UNKNOWN, None, None, 60, UNKNOWN),
        (True, UNKNOWN, [], None, 60, ""),
        (True, UNKNOWN, [DISK], None, 60, ""),
        (True, UNKNOWN, [DISK, {**MACHINE, "status": "deleted"}], None, 60, ""),
        (True, UNKNOWN, BUSY, None, 60, "HTTP 503"),
        (True, UNKNOWN, DENIED, None, 60, "HTTP 401"),
        (True, UNKNOWN, LISTED, UNKNOWN, 60, "the API does not find it, but lists it"),
        (True, UNKNOWN, LISTED, UNKNOWN, 0, ""),
        (True, UNKNOWN, LISTED, "running", 60, "the API still says 'running'"),
        (True, UNKNOWN, LISTED, "deleted", 60, ""),
        (True, UNKNOWN, LISTED, BUSY, 60, "HTTP 503"),
        (True, UNKNOWN, LISTED, DENIED, 60, DENIED),
        # What may pass is looked past.
        (True, BUSY, None, None, 0, "HTTP 503"),
        (True, DENIED, None, None, 60, DENIED),
    ],
)
def test_only_an_end_in_the_api_is_an_end(
    accepted: bool, page: Any, listed: Any, again: Any, left: float, why: str | Exception
) -> None:
    """None: it is not asked for."""

    def answer(of: Any) -> Any:
        return of if isinstance(of, ApiError) else {**MACHINE, "status": of}

    facts: dict[str, Any] = {"resource_id": M, "resource": None, "accepted": accepted}
    asked = (lambda: listed or [] if listed is not None else pytest.fail("the list")), lambda: answer(again)
    try:
        found: Any = ending_by_id.why_not_gone(facts, answer(page), *asked, left)
    except ApiError as error:
        found = error
    assert found == why
    last = page if again is None else again
    assert facts["resource"] == (None if isinstance(last, ApiError) else answer(last))


@pytest.mark.parametrize(
    ("error_class", "words"),
    [("not_found", f"decommission_forget={M}"), ("auth", "It may still be billed at USD 2.00 per hour.")],
)
def test_what_may_be_billed_of_one_that_cannot_be_read(error_class: str, words: str) -> None:
    assert words in ending_by_id.billed_after_error({"resource_id": M, "resource": MACHINE}, error_class)


def plan(*ids: str, **fields: Any) -> dict[str, Any]:
    """What ends of a host; its disk N is forgotten."""
    return {
        **{"force": False, "wait": 600.0, "check_mode": False, "ids": list(ids)},
        **{"storage_ends": [N], "storage_lost": [N]},
        **fields,
    }


@pytest.mark.parametrize(
    ("fields", "jobs"),
    [
        ({"storage_lost": []}, [(M, False, []), (N, False, [M])]),
        ({}, [(M, False, []), (N, True, [M])]),  # what is forgotten is only looked at
        ({"check_mode": True}, [(M, True, []), (N, True, [M])]),
    ],
)
def test_what_is_deleted_and_what_is_only_looked_at(fields: Any, jobs: Any) -> None:
    found = ending_by_id.jobs([plan(M, **fields)])
    assert [(item["resource_id"], item["looks_only"], item["after"]) for item in found] == jobs


@pytest.mark.parametrize(
    ("fields", "answers", "due"),
    [
        ({"storage_lost": []}, {}, [M]),
        ({"storage_lost": []}, {M: OVER}, [N]),
        ({"storage_lost": []}, {M: {"billing_stopped": False}}, []),
        ({"storage_lost": []}, {M: OVER, N: OVER}, []),
        ({"check_mode": True}, {}, [M, N]),
    ],
)
def test_storage_ends_once_its_machines_have(fields: Any, answers: Any, due: Any) -> None:
    items = ending_by_id.jobs([plan(M, **fields)])
    assert [item["resource_id"] for item in ending_by_id.due_jobs(items, answers, {7})] == due
    assert ending_by_id.due_jobs(items, answers, {7, 1}) == []


ITEM = {"resource_id": M, "wait": 600.0, "looks_only": False}
GOES_ON = {"accepted": True, "billing_stopped": False}


@pytest.mark.parametrize(
    ("item", "answer", "is_told", "is_waited_for"),
    [
        (ITEM, GOES_ON, False, True),
        (ITEM, {**GOES_ON, "billing_stopped": True}, False, False),
        (ITEM, {"accepted": False, "billing_stopped": False, "failed": True}, True, False),
        ({**ITEM, "looks_only": True}, GOES_ON, False, False),
        ({**ITEM, "looks_only": True}, {"accepted": False, "billing_stopped": False, "failed": True}, False, False),
    ],
)
def test_what_is_told_once_more_and_what_is_waited_for(
    item: Any, answer: Any, is_told: bool, is_waited_for: bool
) -> None:
    assert ending_by_id.jobs_to_retry([item], {M: answer}) == ([item] if is_told else [])
    assert ending_by_id.seconds_to_wait([item], {M: answer}) == ({M: 600.0} if is_waited_for else {})


@pytest.mark.parametrize(
    ("answer", "passed", "left"),
    [
        ({"waits": True}, 0.0, {M: 600.0}),
        ({"waits": True}, 599.0, {M: 1.0}),
        ({"waits": True}, 600.0, {}),
        ({"failed": True}, 0.0, {}),
        (OVER, 0.0, {}),
    ],
)
def test_how_long_an_end_is_waited_for(answer: Any, passed: float, left: Any) -> None:
    assert ending_by_id.remaining_waits({M: answer}, {M: 600.0}, passed) == left


def test_a_look_that_shows_no_end_fails_until_another_one_does() -> None:
    facts = {"resource_id": M, "resource": MACHINE, "billing_stopped": False}
    late = ending_by_id.answer_after_look(facts, "the API still says 'running'", 600.0)
    assert (late["failed"], late["waits"], late["error_class"]) == (True, True, "unavailable")
    assert "is not gone after 600 seconds" in late["msg"] and ending_by_id.without_failure(late) == facts
    assert ending_by_id.answer_after_look(facts, "", 600.0) == {
        **facts,
        "billing_stopped": True,
        "msg": f"Machine {M} is deleted.",
    }


OTHER = "other"


def machine(key: str = "r", name: str | None = "n", offer: str | None = "o", **fields: Any) -> dict[str, Any]:
    shown = {"resource_id": key, "name": name, "offer_id": offer, "status": "running", "vendor": "v"}
    return {**shown, "price_per_hour": 2.0, **fields}


@pytest.mark.parametrize(
    ("machines", "claims", "said"),
    [
        pytest.param([machine()], [], "", id="nobody's"),
        pytest.param([machine()], [OwnershipClaim("n", "n")], "", id="with a registry a name is no claim"),
        pytest.param([machine()], [OwnershipClaim("n", "n", by_name=True)], "is owned by n", id="without one it is"),
        pytest.param([machine()], [OwnershipClaim("h", "x", resource_ids=frozenset("r"))], "is owned by h", id="by id"),
        pytest.param(
            [machine("R")], [OwnershipClaim("h", "x", resource_ids=frozenset("r"))], "is owned by h", id="in capitals"
        ),
        pytest.param(
            [machine(status="deleted")],
            [OwnershipClaim("h", "x", resource_ids=frozenset("r"))],
            "is owned by h",
            id="gone",
        ),
        pytest.param([], [OwnershipClaim("h", "x", resource_ids=frozenset("r"))], "is owned by h", id="not listed"),
        pytest.param(
            [machine()], [OwnershipClaim("h", "x", "o", bought=True)], "is owned by h", id="of an offer that was bought"
        ),
        pytest.param(
            [machine()], [OwnershipClaim("h", "n", "o", unanswered=True)], "is owned by h", id="by offer and name"
        ),
        pytest.param(
            [machine()],
            [OwnershipClaim("h", "x", "o", unanswered=True)],
            "h may have bought",
            id="the API keeps no names",
        ),
        pytest.param([machine()], [OwnershipClaim("h", "x", "p", unanswered=True)], "", id="another offer"),
        pytest.param(
            [machine(offer=None)],
            [OwnershipClaim("h", "n", "o", unanswered=True)],
            "h may have bought",
            id="no offer is told",
        ),
        pytest.param(
            [machine(name="n-2", offer=None)],
            [OwnershipClaim("h", "n", "o", bought=True)],
            "h may have bought",
            id="a cluster",
        ),
        pytest.param(
            [machine(offer=None)], [OwnershipClaim("h", "x", "o", unanswered=True)], "", id="no offer and another name"
        ),
        pytest.param(
            [machine(offer="p")], [OwnershipClaim("h", "n", "o", unanswered=True)], "", id="another offer of the name"
        ),
        pytest.param(
            [machine(), machine(OTHER)],
            [OwnershipClaim("h", "x", "o", frozenset({OTHER}), bought=True)],
            "is owned by h",
            id="a further machine of a purchase",
        ),
        pytest.param(
            [machine()],
            [OwnershipClaim("a", "x", resource_ids=frozenset("r")), OwnershipClaim("b", "y", "o", bought=True)],
            "is owned by a",
            id="an id counts more",
        ),
    ],
)
def test_only_what_no_host_owns_may_end(
    machines: list[dict[str, Any]], claims: list[OwnershipClaim], said: str
) -> None:
    objection = ending_by_id.why_not_by_id("r", machines, claims)
    assert said in objection if said else objection == ""
    assert "Nothing was ended." in objection or not said


def test_the_way_to_end_storage_of_a_host_is_no_end_of_its_machine_alone() -> None:
    claims = [OwnershipClaim("h", "x", resource_ids=frozenset("r"), storage_ids=frozenset("s"))]
    of_storage, of_machine = (ending_by_id.why_not_by_id(key, [machine(key)], claims) for key in ("s", "r"))
    way = "compute_index.supply.decommission -e decommission_hosts=h"
    assert of_machine.endswith(f"Nothing was ended. To end all that the host has: {way}.")
    assert of_storage.endswith(f"To end all that the host has: {way} -e decommission_storage=end.")


def test_what_a_host_may_have_bought_ends_with_it_once_nothing_is_open() -> None:
    claims = [OwnershipClaim("h", "n", "o", bought=True)]
    named = "decommission -e decommission_hosts=h -e decommission_resource_id=r."
    assert named in ending_by_id.why_not_by_id("r", [machine(offer=None)], claims)
    unanswered = [OwnershipClaim("h", "n", "o", unanswered=True)]
    assert "audit_settle: true, and then this" in ending_by_id.why_not_by_id("r", [machine(offer=None)], unanswered)


@pytest.mark.parametrize("seed", range(300))
def test_no_machine_that_a_registry_names_ends_by_its_id(seed: int) -> None:
    """Of random accounts: whoever has an id in a registry, or bought its offer, is in the way."""
    dice = random.Random(seed)
    ids, offers = [f"r{number}" for number in range(6)], ["o1", "o2", "o3"]
    machines = [machine(key, dice.choice(["a", "b", None]), dice.choice([*offers, None])) for key in ids]
    claims = []
    for host in ("h1", "h2", "h3"):
        owned = frozenset(dice.sample(ids, dice.randrange(3)))
        bought = bool(owned) or dice.random() < 0.5
        claims.append(OwnershipClaim(host, "a", dice.choice([*offers, ""]), owned, not bought, bought=bought))
    for each in machines:
        together = {m["resource_id"] for m in machines if m["offer_id"] and m["offer_id"] == each["offer_id"]}
        named = any(each["resource_id"] in claim.resource_ids for claim in claims)
        bought_with = any(claim.offer_id and claim.offer_id == each["offer_id"] for claim in claims)
        # What says of no offer may be what a purchase has bought of which no machine is known.
        open_ = [claim for claim in claims if claim.offer_id and not claim.resource_ids]
        may_be = each["offer_id"] is None and each["name"] == "a" and bool(open_)
        objection = ending_by_id.why_not_by_id(each["resource_id"], machines, claims)
        assert objection or not (named or bought_with or may_be), (each, claims)
        # Machines of one offer belong together: whose the others are is in the way, too.
        siblings = any(claim.resource_ids & together for claim in claims)
        assert not objection or named or bought_with or siblings or may_be, (each, claims)


def test_a_reason_says_something() -> None:
    assert ending_by_id.check_reason(" left by\n a test ") == "left by a test"
    with pytest.raises(ValueError, match="must say why"):
        ending_by_id.check_reason(" ab \n c")


def test_what_was_bought_beside_a_hosts_own_machine_ends_by_its_id() -> None:
    stray, own = (
        OwnershipClaim("h (stray 1)", "h", "o", frozenset("r"), bought=True),
        OwnershipClaim("h", "h", "p", frozenset("s")),
    )
    machines = [machine(), machine("s", offer="p")]
    assert ending_by_id.why_not_by_id("r", machines, [stray, own], {stray.host}) == ""
    ends = ending_by_id.end_for_workflow(machine(), "left by a test", "me")
    (_machine, told) = ending_by_id.lines_of_orphan_end(machine(), ends, would=True)
    assert told == "No host owns it. It would end for me: left by a test"
    # Of another project, or of the host itself, nothing ends so.
    assert ending_by_id.why_not_by_id("r", machines, [stray, own]) and ending_by_id.why_not_by_id(
        "s", machines, [stray, own], {stray.host}
    )
