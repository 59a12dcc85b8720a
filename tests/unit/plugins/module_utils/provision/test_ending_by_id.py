# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of resources by their ids: whether they are gone, which are deleted again, and which no host owns."""

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
def test_sentences_name_kind_and_price_of_resource(resource: Any, sentence: str, billed: str) -> None:
    assert ending_by_id.describe_deletion(M, resource, "is deleted") == sentence
    assert ending_by_id.still_billed(resource) == billed


UNKNOWN = ApiError("HTTP 404.", "not_found")
BUSY, DENIED = ApiError("HTTP 503.", "unavailable", transient=True), ApiError("HTTP 401.", "auth")
LISTED = [DISK, MACHINE]


@pytest.mark.parametrize(
    ("accepted", "page", "account_list", "second_page", "seconds_left", "reason"),
    [
        # The resource's own page decides.
        (False, "deleted", None, None, 60, ""),
        (False, "terminated", None, None, 60, ""),
        (True, "running", None, None, 60, "the API still says 'running'"),
        (True, "deleting", None, None, 0, "the API still says 'deleting'"),
        (True, None, None, None, 60, "the API gives no state"),
        # A 404 proves nothing before a deletion was accepted, or if the list has the resource.
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
        # A transient error is a reason to look again; any other is raised.
        (True, BUSY, None, None, 0, "HTTP 503"),
        (True, DENIED, None, None, 60, DENIED),
    ],
)
def test_why_not_gone(
    accepted: bool,
    page: Any,
    account_list: Any,
    second_page: Any,
    seconds_left: float,
    reason: str | Exception,
) -> None:
    """``account_list`` and ``second_page`` are None if they must not be read."""

    def answer(status: Any) -> Any:
        return status if isinstance(status, ApiError) else {**MACHINE, "status": status}

    def read_list() -> Any:
        return pytest.fail("the list was read") if account_list is None else account_list

    def look_again() -> Any:
        return pytest.fail("the page was read again") if second_page is None else answer(second_page)

    facts: dict[str, Any] = {"resource_id": M, "resource": None, "accepted": accepted}
    try:
        found: Any = ending_by_id.why_not_gone(facts, answer(page), read_list, look_again, seconds_left)
    except ApiError as error:
        found = error
    assert found == reason
    last = page if second_page is None else second_page
    assert facts["resource"] == (None if isinstance(last, ApiError) else answer(last))


PRICE = "It may still be billed at USD 2.00 per hour."
FORGET = f"forget it: decommission with -e decommission_forget={M}."
FORCE = "If it must end: decommission with -e decommission_force=true; its effects are not documented."


@pytest.mark.parametrize(
    ("error_class", "may_force", "message"),
    [
        ("auth", True, PRICE),
        ("conflict", False, PRICE),
        ("conflict", True, f"{PRICE} {FORCE}"),
    ],
)
def test_message_after_failed_deletion_names_price(error_class: str, may_force: bool, message: str) -> None:
    facts = {"resource_id": M, "resource": MACHINE}
    assert ending_by_id.billed_after_error(facts, error_class, may_force=may_force) == message


def test_message_about_unknown_resource_says_how_to_forget_it() -> None:
    assert ending_by_id.billed_after_error({"resource_id": M, "resource": MACHINE}, "not_found").endswith(FORGET)
    assert ending_by_id.not_deleted(M, "not_found").endswith(FORGET)
    assert ending_by_id.not_deleted(M, "auth") == "Nothing was deleted."


def plan(*ids: str, **fields: Any) -> dict[str, Any]:
    """The plan of a host that ends; a person forgets its storage N."""
    return {
        **{"force": False, "wait": 600.0, "check_mode": False, "ids": list(ids)},
        **{"storage_ends": [N], "storage_lost": [N]},
        **fields,
    }


@pytest.mark.parametrize(
    ("fields", "jobs"),
    [
        ({"storage_lost": []}, [(M, False, []), (N, False, [M])]),
        ({}, [(M, False, []), (N, True, [M])]),
        ({"check_mode": True}, [(M, True, []), (N, True, [M])]),
    ],
)
def test_forgotten_ids_and_check_mode_are_only_looked_at(fields: Any, jobs: Any) -> None:
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
def test_storage_is_due_once_its_machines_have_ended(fields: Any, answers: Any, due: Any) -> None:
    items = ending_by_id.jobs([plan(M, **fields)])
    assert [item["resource_id"] for item in ending_by_id.due_jobs(items, answers, {7})] == due


def test_no_job_is_due_once_the_play_was_killed() -> None:
    items = ending_by_id.jobs([plan(M)])
    assert ending_by_id.due_jobs(items, {}, {7}) and ending_by_id.due_jobs(items, {}, {7, 1}) == []


JOB = {"resource_id": M, "wait": 600.0, "looks_only": False}
ACCEPTED = {"accepted": True, "billing_stopped": False}
FAILED = {"accepted": False, "billing_stopped": False, "failed": True}


@pytest.mark.parametrize(
    ("job", "answer", "is_retried", "is_waited_for"),
    [
        (JOB, ACCEPTED, False, True),
        (JOB, {**ACCEPTED, "billing_stopped": True}, False, False),
        (JOB, FAILED, True, False),
        ({**JOB, "looks_only": True}, ACCEPTED, False, False),
        ({**JOB, "looks_only": True}, FAILED, False, False),
    ],
)
def test_failed_deletions_are_retried_and_accepted_ones_waited_for(
    job: Any, answer: Any, is_retried: bool, is_waited_for: bool
) -> None:
    assert ending_by_id.jobs_to_retry([job], {M: answer}) == ([job] if is_retried else [])
    assert ending_by_id.seconds_to_wait([job], {M: answer}) == ({M: 600.0} if is_waited_for else {})


@pytest.mark.parametrize(
    ("answer", "passed", "seconds_left"),
    [
        ({"waits": True}, 0.0, {M: 600.0}),
        ({"waits": True}, 599.0, {M: 1.0}),
        ({"waits": True}, 600.0, {}),
        ({"failed": True}, 0.0, {}),
        (OVER, 0.0, {}),
    ],
)
def test_remaining_waits(answer: Any, passed: float, seconds_left: Any) -> None:
    assert ending_by_id.remaining_waits({M: answer}, {M: 600.0}, passed) == seconds_left


def test_answer_after_look_fails_until_resource_is_gone() -> None:
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


def listed(resource_id: str = "r", name: str | None = "n", offer: str | None = "o", **fields: Any) -> dict[str, Any]:
    """A machine in the list of the account."""
    known = {"resource_id": resource_id, "name": name, "offer_id": offer, "status": "running", "vendor": "v"}
    return {**known, "price_per_hour": 2.0, **fields}


@pytest.mark.parametrize(
    ("machines", "claims", "objection"),
    [
        pytest.param([listed()], [], "", id="no claim"),
        pytest.param([listed()], [OwnershipClaim("n", "n")], "", id="name with registry"),
        pytest.param([listed()], [OwnershipClaim("n", "n", by_name=True)], "is owned by n", id="name without registry"),
        pytest.param([listed()], [OwnershipClaim("h", "x", resource_ids=frozenset("r"))], "is owned by h", id="id"),
        pytest.param(
            [listed("R")], [OwnershipClaim("h", "x", resource_ids=frozenset("r"))], "is owned by h", id="id in capitals"
        ),
        pytest.param(
            [listed(status="deleted")],
            [OwnershipClaim("h", "x", resource_ids=frozenset("r"))],
            "is owned by h",
            id="id, gone",
        ),
        pytest.param([], [OwnershipClaim("h", "x", resource_ids=frozenset("r"))], "is owned by h", id="id, not listed"),
        pytest.param([listed()], [OwnershipClaim("h", "x", "o", bought=True)], "is owned by h", id="bought offer"),
        pytest.param(
            [listed()],
            [OwnershipClaim("h", "n", "o", unanswered=True)],
            "is owned by h",
            id="unanswered offer and name",
        ),
        pytest.param(
            [listed()],
            [OwnershipClaim("h", "x", "o", unanswered=True)],
            "h may have bought",
            id="unanswered offer without name",
        ),
        pytest.param([listed()], [OwnershipClaim("h", "n", "o")], "", id="offer and name, purchase refused so far"),
        pytest.param([listed()], [OwnershipClaim("h", "x", "p", unanswered=True)], "", id="another offer"),
        pytest.param(
            [listed(offer=None)],
            [OwnershipClaim("h", "n", "o", unanswered=True)],
            "h may have bought",
            id="name without offer",
        ),
        pytest.param(
            [listed(name="n-2", offer=None)],
            [OwnershipClaim("h", "n", "o", bought=True)],
            "h may have bought",
            id="numbered name without offer",
        ),
        pytest.param(
            [listed(offer=None)], [OwnershipClaim("h", "x", "o", unanswered=True)], "", id="another name without offer"
        ),
        pytest.param(
            [listed(offer="p")], [OwnershipClaim("h", "n", "o", unanswered=True)], "", id="name with another offer"
        ),
        pytest.param(
            [listed(), listed(OTHER)],
            [OwnershipClaim("h", "x", "o", frozenset({OTHER}), bought=True)],
            "is owned by h",
            id="further machine of a purchase",
        ),
        pytest.param(
            [listed()],
            [OwnershipClaim("a", "x", resource_ids=frozenset("r")), OwnershipClaim("b", "y", "o", bought=True)],
            "is owned by a",
            id="id beats offer",
        ),
    ],
)
def test_machine_that_no_host_owns_may_end_by_id(
    machines: list[dict[str, Any]], claims: list[OwnershipClaim], objection: str
) -> None:
    found = ending_by_id.why_not_by_id("r", machines, claims)
    assert objection in found if objection else found == ""
    assert "Nothing was ended." in found or not objection


@pytest.mark.parametrize(("resource_id", "option"), [("r", ""), ("s", " -e decommission_storage=end")])
def test_objection_names_command_that_ends_machine_or_storage(resource_id: str, option: str) -> None:
    claims = [OwnershipClaim("h", "x", resource_ids=frozenset("r"), storage_ids=frozenset("s"))]
    command = f"compute_index.supply.decommission -e decommission_hosts=h{option}."
    found = ending_by_id.why_not_by_id(resource_id, [listed(resource_id)], claims)
    assert found.endswith(f"Nothing was ended. To end all that the host has: {command}")


def test_objection_sends_to_people_of_another_project() -> None:
    claims = [OwnershipClaim("h of project red", "x", resource_ids=frozenset("r"))]
    found = ending_by_id.why_not_by_id("r", [listed()], claims)
    assert found.endswith(
        "is owned by h of project red, says the registry. Nothing was ended. Ask the people of that project."
    )


@pytest.mark.parametrize(
    ("claim", "advice"),
    [
        (
            OwnershipClaim("h", "n", "o", bought=True),
            "decommission -e decommission_hosts=h -e decommission_resource_id=r.",
        ),
        (OwnershipClaim("h", "n", "o", unanswered=True), "-e audit_settle=true, then run this"),
    ],
)
def test_objection_says_how_to_end_machine_that_host_may_have_bought(claim: OwnershipClaim, advice: str) -> None:
    assert advice in ending_by_id.why_not_by_id("r", [listed(offer=None)], [claim])


@pytest.mark.parametrize("seed", range(300))
def test_registered_machine_never_ends_by_id_in_random_accounts(seed: int) -> None:
    """Machines also stay if a purchase of their offer is registered."""
    dice = random.Random(seed)
    ids, offers = [f"r{number}" for number in range(6)], ["o1", "o2", "o3"]
    machines = [listed(item, dice.choice(["a", "b", None]), dice.choice([*offers, None])) for item in ids]
    claims = []
    for host in ("h1", "h2", "h3"):
        owned = frozenset(dice.sample(ids, dice.randrange(3)))
        bought = bool(owned) or dice.random() < 0.5
        claims.append(OwnershipClaim(host, "a", dice.choice([*offers, ""]), owned, not bought, bought=bought))
    purchases_without_ids = [claim for claim in claims if claim.offer_id and not claim.resource_ids]
    for item in machines:
        of_same_offer = {m["resource_id"] for m in machines if m["offer_id"] and m["offer_id"] == item["offer_id"]}
        is_registered = any(item["resource_id"] in claim.resource_ids for claim in claims)
        is_of_registered_offer = any(claim.offer_id and claim.offer_id == item["offer_id"] for claim in claims)
        # A purchase without known machines may have bought a machine that names no offer.
        may_be_bought = item["offer_id"] is None and item["name"] == "a" and bool(purchases_without_ids)
        objection = ending_by_id.why_not_by_id(item["resource_id"], machines, claims)
        assert objection or not (is_registered or is_of_registered_offer or may_be_bought), (item, claims)
        # The owner of one machine of an offer also owns the others.
        has_registered_sibling = any(claim.resource_ids & of_same_offer for claim in claims)
        reasons = (is_registered, is_of_registered_offer, has_registered_sibling, may_be_bought)
        assert not objection or any(reasons), (item, claims)


def test_reason_must_have_five_characters() -> None:
    assert ending_by_id.check_reason(" left by\n a test ") == "left by a test"
    assert ending_by_id.check_reason("a\nbcd") == "a bcd"
    with pytest.raises(ValueError, match="must say why"):
        ending_by_id.check_reason(" ab \n c")


STRAY = OwnershipClaim("h (stray 1)", "h", "o", frozenset("r"), bought=True)
OWN = OwnershipClaim("h", "h", "p", frozenset("s"))


@pytest.mark.parametrize(
    ("resource_id", "strays", "may_end"),
    [
        pytest.param("r", {STRAY.host}, True, id="stray of this project"),
        pytest.param("r", (), False, id="stray of another project"),
        pytest.param("s", {STRAY.host}, False, id="host's own machine"),
    ],
)
def test_stray_of_this_project_may_end_by_id(resource_id: str, strays: Any, may_end: bool) -> None:
    machines = [listed("r"), listed("s", offer="p")]
    assert (ending_by_id.why_not_by_id(resource_id, machines, [STRAY, OWN], strays) == "") is may_end


@pytest.mark.parametrize(("would", "verb"), [(True, "would end"), (False, "ends")])
def test_lines_of_orphan_end_have_reason_and_user(would: bool, verb: str) -> None:
    end = ending_by_id.end_for_workflow(listed(), "left by a test", "me")
    (_machine, line) = ending_by_id.lines_of_orphan_end(listed(), end, would=would)
    assert line == f"No host known here owns it. It {verb} for me: left by a test"
