# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which machines and storage end with a host, and why not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ended import price_and_begin
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ending import (
    Action,
    ApiView,
    End,
    EndRequest,
    entries_without_ids,
    ids_to_read_before_end,
    undecided_offers,
    unknown_and_unread,
    what_ends,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import read_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import (
    Account,
    OwnershipClaim,
    claim_of,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.purchase import LONGEST_POST

OLD, YOUNG = LONGEST_POST + 1, 60.0
NOT_FOUND = {"error_class": "not_found", "msg": "GET answered 404."}


def machine(resource_id: str | None, name: str | None = "h", offer: str | None = "o", **fields: Any) -> dict[str, Any]:
    known = {"resource_id": resource_id, "name": name, "offer_id": offer, "status": "running", "created_at": None}
    return {**known, "price_per_hour": 2.4, **fields}


def volume(**fields: Any) -> dict[str, Any]:
    return machine("v", "data", kind="storage", **fields)


def entry(*ids: str, offer: str = "o", purchase: str = "") -> dict[str, Any]:
    return {
        "provision_procured_offer_id": offer,
        "provision_resource_ids": list(ids),
        "provision_purchase": purchase or ("made" if ids else "sent"),
    }


JOURNAL = entry()
MADE_ENTRY = entry(purchase="made")
WAS_READY = {**MADE_ENTRY, "provision_instances": [{}]}
REFUSED = entry(purchase="refused")


def request_of(registered: dict[str, Any] | None = None, name: str = "h", **fields: Any) -> EndRequest:
    """The request to end the host `h`, whose entry has these variables."""
    return EndRequest("h", name, read_entry(registered), **fields)


def registered_claim(host: str, *ids: str, offer: str = "") -> OwnershipClaim:
    return claim_of(host, host, read_entry(entry(*ids, offer=offer)), by_name=False)


def end_of(
    request: EndRequest,
    machines: list[dict[str, Any]] | None,
    *,
    others: Iterable[OwnershipClaim] = (),
    phase: Any = None,
    forget: Iterable[str] = (),
    **view: Any,
) -> Any:
    """What ends for the host. ``phase``: of the offer `o`, or its whole status; ``others``: claims of other hosts."""
    account = Account.of([request.claim, *others], machines, "GET /resources answered 500.")
    status = phase if isinstance(phase, dict) else {"phase": phase, "resource_ids": []} if phase else {}
    return what_ends(replace(request, forget=frozenset(forget)), ApiView(account, {"o": status}, **view))


NO_ENTRY, BY_NAME = request_of(), request_of(by_name=True)
REGISTERED, TWO_REGISTERED = request_of(entry("r")), request_of(entry("r", "s"))
JOURNALED, MADE = request_of(JOURNAL), request_of(MADE_ENTRY)


def ends(id: str, request: EndRequest, machines: Any, ids: list[str], *, gone: Any = (), **context: Any) -> Any:
    return pytest.param(request, machines, context, Action.END, ids, [*gone], id=id)


def forgets(id: str, request: EndRequest, machines: Any, *, gone: Any = (), **context: Any) -> Any:
    return pytest.param(request, machines, context, Action.FORGET, [], [*gone], id=id)


def does_nothing(id: str, request: EndRequest, machines: Any, **context: Any) -> Any:
    return pytest.param(request, machines, context, Action.NOTHING, [], [], id=id)


def reason(id: str, request: EndRequest, machines: Any, words: list[str], **context: Any) -> Any:
    return pytest.param(request, machines, context, words, id=id)


@pytest.mark.parametrize(
    ("end_request", "machines", "context", "action", "ids", "gone"),
    [
        ends("registered id", REGISTERED, [machine("r")], ["r"]),
        ends("registered id, another name", REGISTERED, [machine("r", "x", None)], ["r"]),
        ends("no offer noted", request_of(entry("r", offer="")), [machine("r")], ["r"]),
        ends(
            "no offer noted, stranger's machine without offer",
            request_of(entry("r", offer="")),
            [machine("r", offer=None), machine("s", "z", None)],
            ["r"],
        ),
        ends("one of two gone", TWO_REGISTERED, [machine("r"), machine("s", status="deleted")], ["r"], gone=["s"]),
        ends("being deleted", REGISTERED, [machine("r", status="deleting")], ["r"]),
        ends("failed", REGISTERED, [machine("r", status="failed")], ["r"]),
        ends("unknown status", REGISTERED, [machine("r", status=None)], ["r"]),
        *(
            forgets(status, REGISTERED, [machine("r", status=status)], gone=["r"])
            for status in ("deleted", "terminated")
        ),
        ends("namesake stays", REGISTERED, [machine("r"), machine("s", offer="x")], ["r"]),
        ends("further machine gone", REGISTERED, [machine("r"), machine("s", "z", status="deleted")], ["r"]),
        ends("no offer by the API", REGISTERED, [machine("r", offer=None)], ["r"]),
        ends("further machine of the purchase", REGISTERED, [machine("r"), machine("s", "z")], ["r", "s"]),
        ends("storage of the purchase stays", REGISTERED, [machine("r"), machine("s", "z", kind="storage")], ["r"]),
        ends("one of two forgotten", TWO_REGISTERED, [machine("r")], ["r"], unknown={"s": "404"}, forget={"s"}),
        # Only the offer is registered.
        ends("journal, offer ready", JOURNALED, [machine("r")], ["r"], phase="ready"),
        ends("journal, offer unknown, machine listed", JOURNALED, [machine("r")], ["r"], phase=NOT_FOUND),
        ends(
            "journal, numbered machines",
            JOURNALED,
            [machine("r", "h-1"), machine("s", "h-2")],
            ["r", "s"],
            phase="going_on",
        ),
        ends(
            "journal, our name and another one, being deleted",
            JOURNALED,
            [machine("r"), machine("s", "x", status="deleting")],
            ["r"],
            phase="ready",
        ),
        ends("made, another name", MADE, [machine("r", "x")], ["r"], phase="ready"),
        ends(
            "made, named by the status only",
            MADE,
            [machine("r", "x", None)],
            ["r"],
            phase={"phase": "ready", "resource_ids": ["r"]},
        ),
        *(
            forgets(f"journal, {phase}, {age}", request_of(JOURNAL, age=age), [], phase=phase)
            for phase in ("unbought", "expired", "failed")
            for age in (OLD, None)
        ),
        forgets(
            "journal, machine gone",
            request_of(JOURNAL, age=YOUNG),
            [machine("r", status="deleted")],
            gone=["r"],
            phase="ready",
        ),
        forgets(
            "journal, another host bought the offer",
            request_of(JOURNAL, age=YOUNG),
            [machine("r", "b")],
            gone=["r"],
            phase="ready",
            others=[registered_claim("b", "r")],
        ),
        forgets(
            "journal, failed, status names storage",
            request_of(JOURNAL, age=OLD),
            [volume(offer=None)],
            phase={"phase": "failed", "resource_ids": ["v"]},
        ),
        forgets(
            "journal, ready, machine forgotten",
            request_of(JOURNAL, age=OLD),
            [],
            phase={"phase": "ready", "resource_ids": ["r"]},
            unknown={"r": "404"},
            forget={"r"},
        ),
        forgets("made, failed", MADE, [], phase="failed"),
        forgets("made, was ready, ended", request_of(WAS_READY), [], phase="ended"),
        # The offer is sold, so a purchase under way cannot arrive any more.
        forgets("journal, failed just now, storage listed", request_of(JOURNAL, age=YOUNG), [volume()], phase="failed"),
        forgets(
            "journal, failed just now, machine forgotten",
            request_of(JOURNAL, age=YOUNG),
            [],
            phase={"phase": "failed", "resource_ids": ["r"]},
            unknown={"r": "404"},
            forget={"r"},
        ),
        forgets("journal, offer forgotten", request_of(JOURNAL, age=OLD), [], phase=NOT_FOUND, forget={"o"}),
        forgets("refused", request_of(REFUSED, age=OLD), []),
        forgets("refused, stranger's machine", request_of(REFUSED, age=OLD), [machine("r", "x")], gone=["r"]),
        # With a registry, a name is no claim.
        does_nothing("no entry", NO_ENTRY, []),
        does_nothing("no entry, another name", NO_ENTRY, [machine("r", "x")]),
        does_nothing("no entry, namesake being deleted", NO_ENTRY, [machine("r", status="deleting")]),
        does_nothing(
            "no entry, namesake of another host", NO_ENTRY, [machine("r")], others=[registered_claim("b", "r")]
        ),
        # Without a registry, the name is the identity.
        ends("name", BY_NAME, [machine("r")], ["r"]),
        ends("name, no offer", BY_NAME, [machine("r", offer=None)], ["r"]),
        ends("name, two machines of one offer", BY_NAME, [machine("r"), machine("s")], ["r", "s"]),
        ends("name, numbered machine of another offer", BY_NAME, [machine("r"), machine("s", "h-1", "x")], ["r"]),
        ends("numbered names", BY_NAME, [machine("r", "h-1"), machine("s", "h-2")], ["r", "s"]),
        ends("numbered names, one gone", BY_NAME, [machine("r", "h-1"), machine("s", "h-2", status="deleted")], ["r"]),
        ends("name, earlier machine gone", BY_NAME, [machine("r"), machine("s", offer="x", status="deleted")], ["r"]),
        ends("name, being deleted", BY_NAME, [machine("r", status="deleting")], ["r"]),
        ends(
            "name, earlier machine being deleted",
            BY_NAME,
            [machine("r"), machine("s", offer="x", status="deleting")],
            ["r"],
        ),
        does_nothing("name, gone", BY_NAME, [machine("r", status="deleted")]),
        does_nothing("name, no machine", BY_NAME, []),
        ends("entry of this run without registry", request_of(entry("r"), by_name=True), [machine("r")], ["r"]),
        # A person names the id.
        ends("given id", request_of(resource_id="r"), [machine("r", "x")], ["r"]),
        ends(
            "given id, purchase without ids",
            request_of(MADE_ENTRY, resource_id="r"),
            [machine("r", "x", None)],
            ["r"],
            phase="ready",
        ),
        forgets("given id, gone", request_of(resource_id="r"), [machine("r", "x", status="deleted")], gone=["r"]),
        forgets(
            "given id is registered and forgotten",
            request_of(entry("r"), resource_id="r"),
            [],
            unknown={"r": "404."},
            forget={"r"},
        ),
        forgets(
            "given id is forgotten, purchase without ids",
            request_of(MADE_ENTRY, resource_id="s"),
            [],
            phase="ready",
            unknown={"s": "404."},
            forget={"s"},
        ),
        ends(
            "given id, not the name",
            request_of(resource_id="r", by_name=True),
            [machine("r", "x"), machine("s")],
            ["r"],
        ),
        ends(
            "given id is one of two registered",
            request_of(entry("r", "s"), resource_id="s"),
            [machine("r"), machine("s")],
            ["r", "s"],
        ),
    ],
)
def test_machines_that_end(
    end_request: EndRequest,
    machines: list[Any],
    context: dict[str, Any],
    action: Action,
    ids: list[str],
    gone: list[str],
) -> None:
    found = end_of(end_request, machines, **context)
    assert (found.action, list(found.ids), list(found.gone)) == (action, ids, gone), found.reason
    assert found.reason == ""
    # No machine of a protected host ends, but its entry is removed if its machines are gone.
    protected = end_of(replace(end_request, protection="It is protected."), machines, **context)
    stop = End(Action.STOP, reason="Nothing was ended for h. It is protected.")
    assert protected == (stop if action is Action.END else found)


@pytest.mark.parametrize(
    ("machines", "price_per_hour"),
    [
        ([("deleted", 5.0)], 5.0),
        ([("deleted", None)], 3.0),
        ([("deleted", 5.0), ("running", 4.0)], 9.0),
        ([("deleted", None), ("running", 4.0)], 4.0),
    ],
)
def test_machine_that_had_ended_counts_at_its_last_price(
    machines: list[tuple[str, float | None]], price_per_hour: float
) -> None:
    listed = [machine(f"r{n}", status=status, price_per_hour=price) for n, (status, price) in enumerate(machines)]
    ids = [item["resource_id"] for item in listed]
    request = request_of({**entry(*ids), "provision_price_per_hour": 3.0})
    assert price_and_begin(request.entry, end_of(request, listed))["price_per_hour"] == price_per_hour


NOT_LISTED_YET = "Offer o is bought and may be billed, but the API lists no machine of it yet. Run again later."
SHARED = (registered_claim("copy", "r", offer="x"),)


@pytest.mark.parametrize(
    ("end_request", "machines", "context", "words"),
    [
        reason(
            "list unreadable",
            REGISTERED,
            None,
            ["answered 500", "r may be billed at", "Check token, api_url and network, and run again."],
        ),
        reason(
            "id of two hosts",
            REGISTERED,
            [machine("r")],
            ["copy, h", "several hosts", "r (", "USD 2.40"],
            others=SHARED,
        ),
        reason(
            "offer of two hosts",
            REGISTERED,
            [machine("r"), machine("s", "b")],
            ["b, h", "r (called h"],
            others=[registered_claim("b", "s")],
        ),
        reason(
            "two journals with one offer",
            JOURNALED,
            [],
            ["b, h: several hosts claim it: o."],
            others=[registered_claim("b", offer="o")],
            phase="ready",
        ),
        reason(
            "further machine of another host, registered one unreadable",
            REGISTERED,
            [machine("s")],
            ["r does not end"],
            others=[registered_claim("b", "s")],
            unread={"r": "answered 500."},
        ),
        reason(
            "id unknown to the API",
            REGISTERED,
            [],
            ["answered 404", "decommission_forget=r", "right account"],
            unknown={"r": "GET /resources/r answered 404."},
        ),
        reason(
            "another id is forgotten", REGISTERED, [], ["decommission_forget=r"], unknown={"r": "404"}, forget={"s"}
        ),
        reason("page unreadable", REGISTERED, [], ["answered 500", "Run again"], unread={"r": "answered 500."}),
        reason(
            "forgotten id is known to the API",
            REGISTERED,
            [machine("r")],
            ["cannot be forgotten", "r (", "USD 2.40"],
            forget={"r"},
        ),
        reason(
            "another offer",
            REGISTERED,
            [machine("r", offer="x")],
            ["its offer is x, not that of the registry", "offer o", "r ("],
        ),
        reason(
            "another offer, one id unknown to the API",
            TWO_REGISTERED,
            [machine("r", offer="x")],
            ["with resources r, s (unknown to the API)."],
            unknown={"s": "404"},
        ),
        reason(
            "further machine without id",
            REGISTERED,
            [machine("r"), machine(None, "z")],
            ["gives no usable id for some of its machines: a machine without an id", "support"],
        ),
        reason(
            "id unknown, further machine listed",
            REGISTERED,
            [machine("s", "z")],
            ["s (", "it belongs to the host's offer, but the registry does not name it"],
            unknown={"r": "404"},
        ),
        *(
            reason(
                f"machine without id, {state}",
                request,
                [machine(None)],
                ["a machine without an id", "support"],
                phase="ready",
            )
            for state, request in {
                "made": MADE,
                "journal": JOURNALED,
                "no registry": BY_NAME,
            }.items()
        ),
        reason(
            "id unknown, namesake listed",
            REGISTERED,
            [machine("s", offer="x")],
            ["r (unknown to the API)", "s (", "whose registry names another machine"],
            unknown={"r": "404"},
        ),
        reason(
            "id forgotten, namesake listed",
            REGISTERED,
            [machine("s", offer="x")],
            ["s ("],
            unknown={"r": "404"},
            forget={"r"},
        ),
        reason(
            "no offer noted, id unknown, namesake listed",
            request_of(entry("r", offer="")),
            [machine("s", offer="x")],
            ["names offer (none) with resources r (unknown to the API)."],
            unknown={"r": "404"},
        ),
        # A machine of another offer seems to belong to a purchase without ids.
        reason(
            "status names machine of another offer",
            MADE,
            [machine("r", "train", "x")],
            ["r (", "it says that it was bought with offer x"],
            phase={"phase": "ready", "resource_ids": ["r"]},
        ),
        reason(
            "machine of another offer, not named by the status",
            MADE,
            [machine("r", "train", "x")],
            ["no machine of it yet"],
            phase="ready",
        ),
        # Only the offer is registered.
        reason(
            "journal, machine with another name",
            JOURNALED,
            [machine("r", "database")],
            ["names offer o with resources (none).", "it is called database, and the registry names only its offer"],
            phase="ready",
        ),
        reason(
            "journal, machine without name", JOURNALED, [machine("r", None)], ["it is called nothing"], phase="ready"
        ),
        reason(
            "journal, our name and another one",
            JOURNALED,
            [machine("r"), machine("s", "x")],
            ["it is called x"],
            phase="ready",
        ),
        reason(
            "journal, only another name, being deleted",
            request_of(JOURNAL, age=OLD),
            [machine("r", "x", status="deleting")],
            ["it is called x"],
            phase="ended",
        ),
        reason(
            "journal, machines of two hosts",
            request_of(JOURNAL, age=OLD),
            [machine("r"), machine("s", "x")],
            ["b, h", "several hosts", "r (", "s ("],
            phase="failed",
            others=[registered_claim("b", "s")],
        ),
        reason(
            "journal, named by the status only, another name",
            JOURNALED,
            [machine("r", "x", None)],
            ["it is called x"],
            phase={"phase": "ready", "resource_ids": ["r"]},
        ),
        *(
            reason(phase, request_of(JOURNAL, age=OLD), [], [NOT_LISTED_YET], phase=phase)
            for phase in ("going_on", "ready", "ended")
        ),
        *(
            reason(
                f"going_on, {request.entry.resource_ids}",
                request,
                [],
                ["(r)", "lists no machine of it yet"],
                phase={"phase": "going_on", "resource_ids": ["r"]},
                unknown={"r": "404"},
                forget={"r"},
            )
            for request in (JOURNALED, REGISTERED)
        ),
        *(
            reason(f"made, {phase}", request_of(MADE_ENTRY, age=OLD), [], ["lists no machine of it yet"], phase=phase)
            for phase in ("unbought", "expired")
        ),
        *(
            reason(f"{phase}, {age}", request_of(JOURNAL, age=age), [], [f"again in {left} minutes"], phase=phase)
            for phase in ("unbought", "expired", "failed")
            for age, left in ((YOUNG, 29), (LONGEST_POST - 1, 1), (-99.0, 30))
        ),
        reason("refused just now", request_of(REFUSED, age=YOUNG), [], ["29 minutes"]),
        reason("refused, namesake exists", request_of(REFUSED, age=OLD), [machine("r")], ["r (", "USD 2.40"]),
        reason("unknown offer", JOURNALED, [], ["answered 404", "decommission_forget=o"], phase=NOT_FOUND),
        reason(
            "unknown offer forgotten too early",
            request_of(JOURNAL, age=YOUNG),
            [],
            ["29 minutes"],
            phase=NOT_FOUND,
            forget={"o"},
        ),
        reason(
            "status unreadable",
            JOURNALED,
            [],
            ["500", "Run again"],
            phase={"error_class": "unavailable", "msg": "answered 500."},
        ),
        reason(
            "failed, machine unknown to the API",
            request_of(JOURNAL, age=OLD),
            [],
            ["decommission_forget=r"],
            phase={"phase": "failed", "resource_ids": ["r"]},
            unknown={"r": "404"},
        ),
        # No entry, or no registry
        reason(
            "no entry, namesake",
            NO_ENTRY,
            [machine("r")],
            ["r (", "USD 2.40", "decommission_resource_id=r", "provision_adopt"],
        ),
        reason("no entry, failed namesake", NO_ENTRY, [machine("r", status="failed")], ["r (", "failed"]),
        reason("no entry, namesake without id", NO_ENTRY, [machine(None)], ["decommission_resource_id=<id>"]),
        reason(
            "name of two offers", BY_NAME, [machine("r"), machine("s", offer="x")], ["r (", "s (", "several offers"]
        ),
        reason(
            "name of two machines without offer",
            BY_NAME,
            [machine("r", offer=None), machine("s", offer=None)],
            ["several offers"],
        ),
        reason(
            "one name, two hosts",
            BY_NAME,
            [machine("r")],
            ["b, h", "several hosts"],
            others=[OwnershipClaim("b", "h", by_name=True)],
        ),
        # A person names the id.
        reason(
            "given id unknown to the API",
            request_of(resource_id="r"),
            [],
            ["r answered 404", "right account?"],
            unknown={"r": "r answered 404."},
        ),
        reason(
            "given id is registered and unknown to the API",
            request_of(entry("r"), resource_id="r"),
            [],
            ["The registry names r", "decommission_forget=r"],
            unknown={"r": "404."},
        ),
        reason(
            "given id cannot be forgotten",
            request_of(resource_id="r"),
            [],
            ["right account?"],
            unknown={"r": "404."},
            forget={"r"},
        ),
        reason(
            "given id of another host",
            request_of(resource_id="r"),
            [machine("r")],
            ["b, h", "several hosts"],
            others=[registered_claim("b", "r")],
        ),
        reason(
            "given id is not the registered one",
            request_of(entry("r"), resource_id="s"),
            [machine("r")],
            ["is s", "names r"],
        ),
        reason("made, was ready, still ready", request_of(WAS_READY), [], [NOT_LISTED_YET], phase="ready"),
        reason(
            "given id, open purchase",
            request_of(JOURNAL, resource_id="s"),
            [machine("s", offer=None)],
            ["is s", "none known"],
            phase="ready",
        ),
        reason(
            "given id of another offer",
            request_of(MADE_ENTRY, resource_id="s"),
            [machine("s", offer="p")],
            ["its offer is p"],
            phase="ready",
        ),
        reason(
            "given id unknown, purchase without ids",
            request_of(MADE_ENTRY, resource_id="s"),
            [],
            ["for h. 404. Is the token of the right account?"],
            phase="ready",
            unknown={"s": "404."},
        ),
        reason(
            "made, no machine names the offer",
            MADE,
            [machine("s", offer=None)],
            ["lists no machine of it yet", "-e decommission_hosts=h -e decommission_resource_id=<id>"],
            phase="ready",
        ),
    ],
)
def test_host_stops_with_reason(
    end_request: EndRequest, machines: Any, context: dict[str, Any], words: list[str]
) -> None:
    found = end_of(end_request, machines, **context)
    assert (found.action, found.machines) == (Action.STOP, ()), found
    assert found.reason.startswith("Nothing was ended for h.")
    for word in words:
        assert word in found.reason


@pytest.mark.parametrize(("end_request", "may_name_id"), [(MADE, True), (JOURNALED, False)])
def test_machine_of_open_purchase_cannot_be_named_by_id(end_request: EndRequest, may_name_id: bool) -> None:
    found = end_of(end_request, [], phase="ready")
    assert ("-e decommission_resource_id=<id>" in found.reason) is may_name_id


UNREAD: dict[str, Any] = {"unread": {"r": "GET /resources/r answered 500."}}
NOT_READ = ["GET /resources/r answered 500.", "r does not end", "USD 2.40 per hour", "support"]
TWO_OF_OFFER = {"phase": "ready", "resource_ids": ["r", "s"]}


@pytest.mark.parametrize(
    ("end_request", "machines", "context", "words"),
    [
        reason("listed", TWO_REGISTERED, [machine("r"), machine("s")], NOT_READ, **UNREAD),
        reason(
            "not listed",
            TWO_REGISTERED,
            [machine("s")],
            ["answered 500", "r does not end", "an unknown price"],
            **UNREAD,
        ),
        reason(
            "gone by the list only", TWO_REGISTERED, [machine("r", status="deleted"), machine("s")], NOT_READ, **UNREAD
        ),
        reason(
            "unreadable page is no proof for forgetting",
            TWO_REGISTERED,
            [machine("s")],
            ["r does not end"],
            **UNREAD,
            forget={"r"},
        ),
        reason(
            "unknown to the API",
            TWO_REGISTERED,
            [machine("s")],
            ["The registry names r", "It answered 404.", "decommission_forget=r", "right account"],
            unknown={"r": "It answered 404."},
        ),
        reason(
            "unknown to the API since an end began",
            replace(TWO_REGISTERED, entry=replace(TWO_REGISTERED.entry, reaped_at="2026-12-01T06:00:00Z")),
            [machine("s")],
            ["It answered 404. A run began to end it at 2026-12-01 06:00 UTC. It may still be billed."],
            unknown={"r": "It answered 404."},
        ),
        reason("registered one unreadable", REGISTERED, [machine("s")], ["r does not end"], **UNREAD),
        reason(
            "further machine, not registered", request_of(entry("s")), [machine("r"), machine("s")], NOT_READ, **UNREAD
        ),
        reason("journal", JOURNALED, [machine("r"), machine("s")], NOT_READ, **UNREAD, phase="ready"),
        reason("named by the status only", MADE, [machine("s")], ["r does not end"], **UNREAD, phase=TWO_OF_OFFER),
        reason(
            "named by the status only, unknown to the API",
            MADE,
            [machine("s")],
            ["The offer's status names r, which the API does not know: 404.", "decommission_forget=r"],
            unknown={"r": "404."},
            phase=TWO_OF_OFFER,
        ),
        reason("without a registry", BY_NAME, [machine("r"), machine("s")], NOT_READ, **UNREAD),
    ],
)
def test_other_machines_end_if_api_does_not_show_one(
    end_request: EndRequest, machines: list[Any], context: dict[str, Any], words: list[str]
) -> None:
    found = end_of(end_request, machines, **context)
    assert (found.action, found.ids, found.in_doubt, found.forgotten) == (Action.END, ("s",), ("r",), ())
    is_gone = any(item["status"] == "deleted" for item in machines)
    assert ("decommission_forget=r." in found.reason) is ("unknown" in context or is_gone)
    for word in words:
        assert word in found.reason


@pytest.mark.parametrize(
    ("machines", "others", "words"),
    [
        # The list proves that it belongs to someone else.
        pytest.param([machine("r", offer="x"), machine("s")], (), "its offer is x", id="another offer"),
        pytest.param([machine("r"), machine("s")], (registered_claim("b", "r"),), "several hosts", id="another host"),
        pytest.param([machine("r"), machine("s", status="deleted")], (), "answered 500. So r", id="no other machine"),
    ],
)
def test_machine_with_unreadable_page_may_stop_the_host(machines: Any, others: Any, words: str) -> None:
    found = end_of(request_of(entry("r", "s")), machines, others=others, **UNREAD)
    assert found.action is Action.STOP and words in found.reason


@pytest.mark.parametrize(("phase", "pending"), [("going_on", True), ("ready", False), ("failed", False)])
@pytest.mark.parametrize(
    ("end_request", "status"), [(REGISTERED, "running"), (REGISTERED, "deleted"), (JOURNALED, "deleted")]
)
def test_end_is_pending_while_offer_is_under_way(
    end_request: EndRequest, status: str, phase: str, pending: bool
) -> None:
    found = end_of(end_request, [machine("r", status=status)], phase=phase)
    assert (found.action, found.pending) == (Action.END if status == "running" else Action.FORGET, pending)


def test_id_that_a_person_forgets_is_reported() -> None:
    found = end_of(request_of(entry("r")), [], unknown={"r": "404"}, forget={"r"})
    assert (found.action, found.forgotten) == (Action.FORGET, ("r",))


def test_name_shared_with_host_of_another_project_ends_nothing() -> None:
    twin = "host a-gpu-1 of project team"
    request = request_of(name="team-a-gpu-1", by_name=True, twin=twin)
    found = end_of(request, [machine("r", "team-a-gpu-1")])
    assert found.action is Action.STOP and twin in found.reason and "r (called team-a-gpu-1" in found.reason
    assert end_of(request, []).action is Action.NOTHING
    assert end_of(replace(request, resource_id="r"), [machine("r", "team-a-gpu-1")]).ids == ("r",)


DENIED = {**REFUSED, "provision_refused_status": 409}
NOTED = {"resource_id": "v", "offer_id": "o"}


@pytest.mark.parametrize(
    ("registered", "machines", "storage"),
    [
        pytest.param(entry("r"), [machine("r"), volume()], ["v"], id="registered machine"),
        pytest.param(MADE_ENTRY, [machine("r"), volume()], ["v"], id="made without ids"),
        pytest.param(MADE_ENTRY, [volume()], ["v"], id="made without machine"),
        pytest.param(JOURNAL, [machine("r", "h"), volume()], ["v"], id="journal, machine with the name"),
        pytest.param(
            JOURNAL, [machine("r", "h", status="deleted"), volume()], ["v"], id="journal, machine with the name, gone"
        ),
        pytest.param(
            {**JOURNAL, "provision_refused_status": 409},
            [machine("r", "h", status="deleted"), volume()],
            ["v"],
            id="journal with a refusal, machine with the name, gone",
        ),
        # Another project has bought the offer, and keeps its storage.
        pytest.param(JOURNAL, [machine("r", "x", status="deleted"), volume()], [], id="journal, stranger's machine"),
        pytest.param(JOURNAL, [volume()], [], id="journal, no machine"),
        pytest.param(DENIED, [volume()], [], id="refused"),
        pytest.param(DENIED, [machine("r", "x"), volume()], [], id="refused, stranger's machine"),
        pytest.param({**DENIED, "provision_storage": [NOTED]}, [volume()], ["v"], id="refused, storage noted"),
        pytest.param({**JOURNAL, "provision_storage": [NOTED]}, [volume()], ["v"], id="journal, storage noted"),
    ],
)
def test_storage_of_offer_belongs_to_host_that_bought_it(
    registered: dict[str, Any], machines: list[dict[str, Any]], storage: list[str]
) -> None:
    found = end_of(request_of(registered, age=OLD), machines, phase="failed")
    assert found.action in (Action.END, Action.FORGET), found.reason
    assert [item.resource_id for item in found.storage] == storage


def test_storage_of_offer_that_another_host_bought_is_not_the_hosts() -> None:
    listed = [machine("r", "h"), volume()]
    found = end_of(request_of(JOURNAL, age=OLD), listed, phase="failed", others=[registered_claim("b", "r")])
    assert (found.action, found.storage) == (Action.FORGET, ())


def test_storage_of_host_without_registry_is_unregistered() -> None:
    found = end_of(BY_NAME, [machine("r"), volume()])
    assert (found.action, found.storage) == (Action.END, ())
    assert [item.resource_id for item in found.unregistered_storage] == ["v"]


def test_stopped_host_leaves_no_storage() -> None:
    found = end_of(REGISTERED, [machine("r", offer="x"), volume()])
    assert (found.action, found.storage) == (Action.STOP, ())


def test_affected_storage_is_not_the_hosts_even_if_machine_uses_it() -> None:
    """Only the first look showed that it existed before the purchase."""
    listed = [machine("r", linked_resources=[{"resource_id": "v", "kind": "storage"}]), volume(offer=None)]
    affected = {**entry("r"), "provision_affected_ids": ["v"]}
    assert [item.resource_id for item in end_of(request_of(entry("r")), listed).storage] == ["v"]
    assert end_of(request_of(affected), listed).storage == ()


@pytest.mark.parametrize(
    ("registered", "listed", "is_undecided"),
    [
        ({**entry("r"), "provision_instances": [{}]}, ["r"], False),
        ({**entry("r"), "provision_instances": [{}]}, [], True),
        ({**entry("r", "s"), "provision_instances": [{}]}, ["r"], True),
        ({**entry("r"), "provision_adopted": True}, ["r"], False),
        ({**MADE_ENTRY, "provision_instances": [{}]}, [], True),  # no id noted
        (entry("r"), ["r"], True),  # never ready
        (entry(), [], True),
        (REFUSED, [], False),
    ],
)
def test_undecided_offers_lack_listed_ids_or_were_never_ready(
    registered: dict[str, Any], listed: list[str], is_undecided: bool
) -> None:
    assert set(undecided_offers([read_entry(registered)], listed)) == ({"o"} if is_undecided else set())


def test_entries_without_ids() -> None:
    assert list(entries_without_ids([request_of(entry()), EndRequest("b", "b", read_entry(entry("r")))])) == ["h"]


@pytest.mark.parametrize(
    ("registered", "named_by_status", "ids"),
    [
        pytest.param(None, (), {"r", "r1"}, id="names, no machine registered"),
        pytest.param(entry("s"), (), {"s"}, id="registered machine"),
        pytest.param(entry("s", offer="q"), (), {"s", "x", "y"}, id="machines of the offer"),
        pytest.param(entry(offer="q"), (), {"r", "r1", "x", "y"}, id="names and machines of the offer"),
        pytest.param(entry("s"), ("t",), {"s", "t"}, id="named by the status"),
        pytest.param({**entry("s"), "provision_storage": [NOTED]}, (), {"s", "v"}, id="storage"),
    ],
)
def test_ids_to_read_before_end(registered: Any, named_by_status: tuple[str, ...], ids: set[str]) -> None:
    """The list may still show a machine that has ended as running."""
    listed = [machine("r", "h", "p"), machine("r1", "h-1", "p"), machine("x", "hh", "q"), machine("y", None, "q")]
    assert ids_to_read_before_end([request_of(registered).claim], named_by_status, listed) == ids


def test_id_is_unknown_if_page_and_list_do_not_know_it() -> None:
    errors = {"a": ("not_found", "404"), "b": ("not_found", "404"), "c": ("unavailable", "503"), "d": ("auth", "401")}
    assert unknown_and_unread(errors, [machine("b"), machine("c")], ["c"]) == ({"a": "404"}, {"c": "503", "d": "401"})
