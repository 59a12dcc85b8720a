# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exactly the machines that are a host's end, or nothing does, and the reason says what to do."""

from __future__ import annotations

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


def machine(key: str | None, name: str | None = "h", offer: str | None = "o", **fields: Any) -> dict[str, Any]:
    shown = {"resource_id": key, "name": name, "offer_id": offer, "status": "running", "created_at": None}
    return {**shown, "price_per_hour": 2.4, **fields}


def entry(*ids: str, offer: str = "o", purchase: str = "") -> dict[str, Any]:
    return {
        "provision_procured_offer_id": offer,
        "provision_resource_ids": list(ids),
        "provision_purchase": purchase or ("made" if ids else "sent"),
    }


JOURNAL = entry()
MADE = entry(purchase="made")


def asked(registered: dict[str, Any] | None = None, name: str = "h", **more: Any) -> EndRequest:
    return EndRequest("h", name, read_entry(registered), **more)


def owner(host: str, *ids: str, offer: str = "") -> OwnershipClaim:
    return claim_of(host, host, read_entry(entry(*ids, offer=offer)), by_name=False)


def ending(
    one: EndRequest,
    machines: list[dict[str, Any]] | None,
    *,
    others: tuple[OwnershipClaim, ...] = (),
    phase: Any = None,
    **more: Any,
) -> Any:
    account = Account.of([one.claim, *others], machines, "GET /resources answered 500.")
    status = phase if isinstance(phase, dict) else {"phase": phase, "resource_ids": []} if phase else {}
    forget = more.pop("forget", ())
    return what_ends(replace(one, forget=frozenset(forget)), ApiView(account, {"o": status}, **more))


@pytest.mark.parametrize(
    ("one", "machines", "context", "action", "ids", "gone"),
    [
        pytest.param(asked(entry("r")), [machine("r")], {}, Action.END, ["r"], [], id="by id"),
        pytest.param(asked(entry("r")), [machine("r", "x", None)], {}, Action.END, ["r"], [], id="whatever its name"),
        pytest.param(asked(entry("r", offer="")), [machine("r")], {}, Action.END, ["r"], [], id="no offer noted"),
        pytest.param(
            asked(entry("r", "s")), [machine("r"), machine("s", status="deleted")], {}, Action.END, ["r"], ["s"],
            id="one is gone",
        ),
        pytest.param(asked(entry("r")), [machine("r", status="deleting")], {}, Action.END, ["r"], [], id="on its way"),
        pytest.param(asked(entry("r")), [machine("r", status="failed")], {}, Action.END, ["r"], [], id="failed"),
        pytest.param(asked(entry("r")), [machine("r", status=None)], {}, Action.END, ["r"], [], id="unknown state"),
        *(
            pytest.param(asked(entry("r")), [machine("r", status=word)], {}, Action.FORGET, [], ["r"], id=word)
            for word in ("deleted", "terminated")
        ),
        pytest.param(
            asked(entry("r")), [machine("r"), machine("s", offer="x")], {}, Action.END, ["r"], [], id="a namesake stays"
        ),
        pytest.param(
            asked(entry("r")), [machine("r"), machine("s", "z", status="deleted")], {}, Action.END, ["r"], [],
            id="a sibling that is gone",
        ),
        pytest.param(
            asked(entry("r")), [machine("r", offer=None)], {}, Action.END, ["r"], [], id="a volume was bought for it",
        ),
        pytest.param(
            asked(entry("r")), [machine("r"), machine("s", "z")], {}, Action.END, ["r", "s"], [],
            id="a further one of the purchase",
        ),
        pytest.param(
            asked(entry("r")), [machine("r"), machine("s", "z", kind="storage")], {}, Action.END, ["r"], [],
            id="storage of the purchase stays",
        ),
        pytest.param(
            asked(entry("r", "s")), [machine("r")], {"unknown": {"s": "404"}, "forget": {"s"}}, Action.END, ["r"], [],
            id="one is forgotten",
        ),
        # The journal of a run that did not get far
        pytest.param(asked(JOURNAL), [machine("r")], {"phase": "ready"}, Action.END, ["r"], [], id="bought"),
        pytest.param(asked(JOURNAL), [machine("r")], {"phase": NOT_FOUND}, Action.END, ["r"], [], id="but listed"),
        pytest.param(
            asked(JOURNAL), [machine("r", "h-1"), machine("s", "h-2")], {"phase": "going_on"}, Action.END, ["r", "s"],
            [],
            id="bought, numbered",
        ),
        pytest.param(
            asked(entry(purchase="made")), [machine("r", "x")], {"phase": "ready"}, Action.END, ["r"], [],
            id="answered with yes, names not kept",
        ),
        pytest.param(
            asked(entry(purchase="made")), [machine("r", "x", None)],
            {"phase": {"phase": "ready", "resource_ids": ["r"]}},
            Action.END, ["r"], [], id="answered with yes, machines name no offer",
        ),
        *(
            pytest.param(asked(JOURNAL, age=age), [], {"phase": phase}, Action.FORGET, [], [], id=f"{phase}, {age}")
            for phase in ("unbought", "expired", "failed")
            for age in (OLD, None)
        ),
        pytest.param(
            asked(JOURNAL, age=YOUNG), [machine("r", status="deleted")], {"phase": "ready"}, Action.FORGET, [], ["r"],
            id="bought and ended",
        ),
        pytest.param(
            asked(JOURNAL, age=YOUNG), [machine("r", "b")], {"phase": "ready", "others": (owner("b", "r"),)},
            Action.FORGET, [], ["r"], id="another host of ours was faster",
        ),
        pytest.param(
            asked(JOURNAL, age=OLD), [], {"phase": NOT_FOUND, "forget": {"o"}}, Action.FORGET, [], [],
            id="offer forgotten",
        ),
        pytest.param(asked(entry(purchase="refused"), age=OLD), [], {}, Action.FORGET, [], [], id="refused"),
        pytest.param(
            asked(entry(purchase="refused"), age=OLD), [machine("r", "x")], {}, Action.FORGET, [], ["r"],
            id="refused, a stranger has it",
        ),
        # With a registry a name is no claim
        pytest.param(asked(), [], {}, Action.NOTHING, [], [], id="nothing"),
        pytest.param(asked(), [machine("r", "x")], {}, Action.NOTHING, [], [], id="another name"),
        pytest.param(asked(), [machine("r", status="deleting")], {}, Action.NOTHING, [], [], id="a namesake that ends"),
        pytest.param(
            asked(), [machine("r")], {"others": (owner("b", "r"),)}, Action.NOTHING, [], [], id="somebody's namesake"
        ),
        # Without one it is the identity
        pytest.param(asked(by_name=True), [machine("r")], {}, Action.END, ["r"], [], id="name"),
        pytest.param(asked(by_name=True), [machine("r", offer=None)], {}, Action.END, ["r"], [], id="name, no offer"),
        pytest.param(asked(by_name=True), [machine("r"), machine("s")], {}, Action.END, ["r", "s"], [], id="one offer"),
        pytest.param(
            asked(by_name=True), [machine("r"), machine("s", "h-1", "x")], {}, Action.END, ["r"], [],
            id="a number of another offer",
        ),
        pytest.param(
            asked(by_name=True), [machine("r", "h-1"), machine("s", "h-2")], {}, Action.END, ["r", "s"], [],
            id="numbered",
        ),
        pytest.param(
            asked(by_name=True), [machine("r", "h-1"), machine("s", "h-2", status="deleted")], {}, Action.END, ["r"],
            [],
            id="numbered, one is left",
        ),
        pytest.param(
            asked(by_name=True), [machine("r"), machine("s", offer="x", status="deleted")], {}, Action.END, ["r"], [],
            id="an earlier one of the name is gone",
        ),
        pytest.param(
            asked(by_name=True), [machine("r", status="deleted")], {}, Action.NOTHING, [], [], id="name, gone"
        ),
        pytest.param(asked(by_name=True), [], {}, Action.NOTHING, [], [], id="no such name"),
        pytest.param(
            asked(entry("r"), by_name=True), [machine("r")], {}, Action.END, ["r"], [], id="facts of this run"
        ),
        # By its id
        pytest.param(asked(resource_id="r"), [machine("r", "x")], {}, Action.END, ["r"], [], id="id"),
        pytest.param(
            asked(MADE, resource_id="r"), [machine("r", "x", None)], {"phase": "ready"}, Action.END, ["r"], [],
            id="id, of a purchase whose machine nobody names",
        ),
        pytest.param(
            asked(resource_id="r"), [machine("r", "x", status="deleted")], {}, Action.FORGET, [], ["r"], id="id, gone"
        ),
        pytest.param(
            asked(resource_id="r", by_name=True), [machine("r", "x"), machine("s")], {}, Action.END, ["r"], [],
            id="id, not the name",
        ),
        pytest.param(
            asked(entry("r", "s"), resource_id="s"), [machine("r"), machine("s")], {}, Action.END, ["r", "s"], [],
            id="an id that the registry names, too",
        ),
    ],
)  # fmt: skip
def test_what_ends(
    one: EndRequest, machines: list[Any], context: dict[str, Any], action: Action, ids: list[str], gone: list[str]
) -> None:
    found = ending(one, machines, **context)
    assert (found.action, list(found.ids), list(found.gone)) == (action, ids, gone), found.reason
    assert found.reason == ""
    # Of a protected host no machine ends; what is gone is forgotten as usual.
    stops = End(Action.STOP, reason="Nothing was ended for h. It is protected.")
    guarded = ending(replace(one, protection="It is protected."), machines, **context)
    assert guarded == (stops if action is Action.END else found)


@pytest.mark.parametrize(
    ("words", "prices", "highest"),
    [("deleted", [5.0], 5.0), ("deleted", [None], 3.0), ("deleted running", [5.0, 4.0], 9.0),
     ("deleted running", [None, 4.0], 4.0)],
)  # fmt: skip
def test_what_had_ended_before_was_billed_at_its_last_price(words: str, prices: list[Any], highest: float) -> None:
    billed = dict(zip("rs", prices, strict=False))
    one = asked({**entry(*billed), "provision_price_per_hour": 3.0})
    states = dict(zip(billed, words.split(), strict=True))
    machines = [machine(key, status=states[key], price_per_hour=price) for key, price in billed.items()]
    assert price_and_begin(one.entry, ending(one, machines))["price_per_hour"] == highest


SHARED = (owner("copy", "r", offer="x"),)


@pytest.mark.parametrize(
    ("one", "machines", "context", "words"),
    [
        pytest.param(asked(entry("r")), None, {}, ["answered 500", "Run again"], id="no list"),
        pytest.param(
            asked(entry("r")), [machine("r")], {"others": SHARED}, ["copy, h", "several hosts", "r (", "USD 2.40"],
            id="shared",
        ),
        pytest.param(
            asked(entry("r")), [machine("r"), machine("s", "b")], {"others": (owner("b", "s"),)},
            ["b, h", "r (called h"],
            id="an offer of two hosts",
        ),
        pytest.param(
            asked(JOURNAL), [], {"others": (owner("b", offer="o"),), "phase": "ready"}, ["b, h", "o"], id="two journals"
        ),
        pytest.param(
            asked(entry("r")), [], {"unknown": {"r": "GET /resources/r answered 404."}},
            ["answered 404", "decommission_forget=r", "right account"], id="unknown",
        ),
        pytest.param(
            asked(entry("r")), [], {"unknown": {"r": "404"}, "forget": {"s"}}, ["decommission_forget=r"],
            id="another is",
        ),
        pytest.param(
            asked(entry("r")), [], {"unread": {"r": "answered 500."}}, ["answered 500", "Run again"], id="error"
        ),
        pytest.param(
            asked(entry("r")), [machine("r")], {"forget": {"r"}}, ["cannot be forgotten", "r (", "USD 2.40"],
            id="refuted",
        ),
        pytest.param(
            asked(entry("r")), [machine("r", offer="x")], {},
            ["its offer is x, not that of the registry", "offer o", "r ("],
            id="another offer",
        ),
        pytest.param(
            asked(entry("r")), [machine("r"), machine(None, "z")], {}, ["a machine without an id"],
            id="one without an id",
        ),
        *(
            pytest.param(
                one, [machine(None)], {"phase": "ready"}, ["a machine without an id", "support"],
                id=f"only one without an id, {what}",
            )
            for what, one in {
                "made": asked(entry(purchase="made")),
                "never answered": asked(JOURNAL),
                "no registry": asked(by_name=True),
            }.items()
        ),
        pytest.param(
            asked(entry("r")), [machine("s", offer="x")], {"unknown": {"r": "404"}},
            ["r (unknown to the API)", "s (", "whose registry names another machine"], id="a namesake",
        ),
        pytest.param(
            asked(entry("r")), [machine("s", offer="x")], {"unknown": {"r": "404"}, "forget": {"r"}}, ["s ("],
            id="a namesake is not forgotten",
        ),
        # A colleague's machine that was linked to the offer of a purchase without an id
        pytest.param(
            asked(entry(purchase="made")), [machine("r", "train", "x")],
            {"phase": {"phase": "ready", "resource_ids": ["r"]}},
            ["r (", "it says that it was bought with offer x"], id="another offer's machine, named by the status",
        ),
        pytest.param(
            asked(entry(purchase="made")), [machine("r", "train", "x")], {"phase": "ready"}, ["no machine of it yet"],
            id="another offer's machine, linked",
        ),
        # Journals
        pytest.param(
            asked(JOURNAL), [machine("r", "database")], {"phase": "ready"},
            ["it is called database, and the registry names only its offer"], id="a stranger",
        ),
        pytest.param(asked(JOURNAL), [machine("r", None)], {"phase": "ready"}, ["it is called nothing"], id="nameless"),
        pytest.param(
            asked(JOURNAL), [machine("r"), machine("s", "x")], {"phase": "ready"}, ["it is called x"], id="ours and not"
        ),
        pytest.param(
            asked(JOURNAL), [machine("r", "x", None)], {"phase": {"phase": "ready", "resource_ids": ["r"]}},
            ["it is called x"], id="no offer said",
        ),
        *(
            pytest.param(asked(JOURNAL, age=OLD), [], {"phase": phase}, ["lists no machine of it yet"], id=phase)
            for phase in ("going_on", "ready", "ended")
        ),
        *(
            pytest.param(
                one, [],
                {"phase": {"phase": "going_on", "resource_ids": ["r"]}, "unknown": {"r": "404"}, "forget": {"r"}},
                ["(r)", "lists no machine of it yet"], id=f"under way, {one.entry.resource_ids}",
            )
            for one in (asked(JOURNAL), asked(entry("r")))
        ),
        *(
            pytest.param(
                asked(entry(purchase="made"), age=OLD), [], {"phase": phase}, ["lists no machine of it yet"],
                id=f"made, {phase}",
            )
            for phase in ("unbought", "expired")
        ),
        *(
            pytest.param(
                asked(JOURNAL, age=age), [], {"phase": phase}, [f"again in {left} minutes"], id=f"{phase}, {age}"
            )
            for phase in ("unbought", "expired", "failed")
            for age, left in ((YOUNG, 29), (LONGEST_POST - 1, 1), (-99.0, 30))
        ),
        pytest.param(asked(entry(purchase="refused"), age=YOUNG), [], {}, ["29 minutes"], id="refused, young"),
        pytest.param(
            asked(entry(purchase="refused"), age=OLD), [machine("r")], {}, ["r (", "USD 2.40"],
            id="refused, bought all the same",
        ),
        pytest.param(
            asked(JOURNAL), [], {"phase": NOT_FOUND}, ["answered 404", "decommission_forget=o"], id="unknown offer"
        ),
        pytest.param(
            asked(JOURNAL, age=YOUNG), [], {"phase": NOT_FOUND, "forget": {"o"}}, ["29 minutes"],
            id="unknown offer, young",
        ),
        pytest.param(
            asked(JOURNAL), [], {"phase": {"error_class": "unavailable", "msg": "answered 500."}}, ["500", "Run again"],
            id="no status",
        ),
        pytest.param(
            asked(JOURNAL, age=OLD), [], {"phase": {"phase": "failed", "resource_ids": ["r"]}, "unknown": {"r": "404"}},
            ["decommission_forget=r"], id="failed, its machine is unknown",
        ),
        # Names
        pytest.param(
            asked(), [machine("r")], {}, ["r (", "USD 2.40", "decommission_resource_id=r", "provision_adopt"],
            id="unclaimed",
        ),
        pytest.param(asked(), [machine("r", status="failed")], {}, ["r (", "failed"], id="unclaimed and failed"),
        pytest.param(
            asked(by_name=True), [machine("r"), machine("s", offer="x")], {}, ["r (", "s (", "several offers"], id="two"
        ),
        pytest.param(
            asked(by_name=True), [machine("r", offer=None), machine("s", offer=None)], {}, ["several offers"],
            id="two, no offer",
        ),
        pytest.param(
            asked(by_name=True), [machine("r")], {"others": (OwnershipClaim("b", "h", by_name=True),)},
            ["b, h", "several hosts"],
            id="one name, two hosts",
        ),
        # Ids
        pytest.param(
            asked(resource_id="r"), [], {"unknown": {"r": "r answered 404."}}, ["r answered 404", "right account?"],
            id="no id",
        ),
        pytest.param(
            asked(resource_id="r"), [], {"unknown": {"r": "404."}, "forget": {"r"}}, ["right account?"],
            id="not forgotten",
        ),
        pytest.param(
            asked(resource_id="r"), [machine("r")], {"others": (owner("b", "r"),)}, ["b, h", "several hosts"],
            id="another's",
        ),
        pytest.param(asked(entry("r"), resource_id="s"), [machine("r")], {}, ["is s", "names r"], id="another id"),
        pytest.param(
            asked(JOURNAL, resource_id="s"), [machine("s", offer=None)], {"phase": "ready"}, ["is s", "none known"],
            id="of an open purchase",
        ),
        pytest.param(
            asked(MADE, resource_id="s"), [machine("s", offer="p")], {"phase": "ready"}, ["its offer is p"],
            id="of another offer",
        ),
        pytest.param(
            asked(MADE, resource_id="s"), [], {"phase": "ready", "unknown": {"s": "404."}}, ["right account?"],
            id="unknown, of a purchase",
        ),
        pytest.param(
            asked(MADE), [machine("s", offer=None)], {"phase": "ready"},
            ["lists no machine of it yet", "-e decommission_hosts=h -e decommission_resource_id=<id>"], id="no id told",
        ),
    ],
)  # fmt: skip
def test_what_ends_nothing_and_why(one: EndRequest, machines: Any, context: dict[str, Any], words: list[str]) -> None:
    found = ending(one, machines, **context)
    assert (found.action, found.machines) == (Action.STOP, ()), found
    assert found.reason.startswith("Nothing was ended for h.")
    for word in words:
        assert word in found.reason


UNREAD = {"unread": {"r": "GET /resources/r answered 500."}}
NOT_READ = ["GET /resources/r answered 500.", "r does not end", "USD 2.40 per hour", "support"]
TWO_OF_OFFER = {"phase": "ready", "resource_ids": ["r", "s"]}


@pytest.mark.parametrize(
    ("one", "machines", "context", "words"),
    [
        pytest.param(asked(entry("r", "s")), [machine("r"), machine("s")], UNREAD, NOT_READ, id="listed"),
        pytest.param(
            asked(entry("r", "s")), [machine("s")], UNREAD, ["answered 500", "r does not end", "an unknown price"],
            id="not listed",
        ),
        pytest.param(
            asked(entry("r", "s")), [machine("r", status="deleted"), machine("s")], UNREAD, NOT_READ,
            id="the list says that it is gone",
        ),
        pytest.param(
            asked(entry("r", "s")), [machine("s")], {**UNREAD, "forget": {"r"}}, ["r does not end"],
            id="no proof that the API does not know it",
        ),
        pytest.param(
            asked(entry("r", "s")), [machine("s")], {"unknown": {"r": "It answered 404."}},
            ["The registry names r", "It answered 404.", "decommission_forget=r", "right account"],
            id="unknown to the API",
        ),
        pytest.param(
            asked(entry("s")), [machine("r"), machine("s")], UNREAD, NOT_READ, id="a further machine of the purchase"
        ),
        pytest.param(
            asked(JOURNAL), [machine("r"), machine("s")], {**UNREAD, "phase": "ready"}, NOT_READ,
            id="of a journal",
        ),
        pytest.param(
            asked(MADE), [machine("s")], {**UNREAD, "phase": TWO_OF_OFFER}, ["r does not end"],
            id="only the status names it",
        ),
        pytest.param(
            asked(MADE), [machine("s")], {"unknown": {"r": "404."}, "phase": TWO_OF_OFFER},
            ["The offer's status names r, which the API does not know: 404.", "decommission_forget=r"],
            id="only the status names it, and the API does not know it",
        ),
        pytest.param(asked(by_name=True), [machine("r"), machine("s")], UNREAD, NOT_READ, id="without a registry"),
    ],
)  # fmt: skip
def test_a_machine_that_the_api_does_not_show_does_not_keep_the_others_from_ending(
    one: EndRequest, machines: list[Any], context: dict[str, Any], words: list[str]
) -> None:
    found = ending(one, machines, **context)
    assert (found.action, found.ids, found.in_doubt, found.forgotten) == (Action.END, ("s",), ("r",), ())
    for word in words:
        assert word in found.reason


@pytest.mark.parametrize(
    ("machines", "others", "words"),
    [
        # Its list proves that it is somebody else's, though its page cannot be read.
        pytest.param([machine("r", offer="x"), machine("s")], (), "its offer is x", id="of another offer"),
        pytest.param([machine("r"), machine("s")], (owner("b", "r"),), "several hosts", id="of another host"),
        pytest.param([machine("r"), machine("s", status="deleted")], (), "answered 500. So r", id="nothing else runs"),
    ],
)
def test_a_machine_whose_page_cannot_be_read_may_stop_the_end(machines: Any, others: Any, words: str) -> None:
    found = ending(asked(entry("r", "s")), machines, others=others, **UNREAD)
    assert found.action is Action.STOP and words in found.reason


@pytest.mark.parametrize(("phase", "pending"), [("going_on", True), ("ready", False), ("failed", False)])
def test_an_offer_under_way_may_bring_more(phase: str, pending: bool) -> None:
    assert ending(asked(entry("r")), [machine("r")], phase=phase).pending is pending


def test_what_a_person_forgets_is_said() -> None:
    found = ending(asked(entry("r")), [], unknown={"r": "404"}, forget={"r"})
    assert (found.action, found.forgotten) == (Action.FORGET, ("r",))


def test_a_name_that_a_host_of_another_project_has_as_well_ends_nothing() -> None:
    """Only an id does, which a person names, or the play that has bought the machine."""
    twin = "host a-gpu-1 of project team"
    one = asked(name="team-a-gpu-1", by_name=True, twin=twin)
    found = ending(one, [machine("r", "team-a-gpu-1")])
    assert found.action is Action.STOP and twin in found.reason and "r (called team-a-gpu-1" in found.reason
    assert ending(one, []).action is Action.NOTHING
    by_id = asked(name="team-a-gpu-1", by_name=True, twin=twin, resource_id="r")
    assert ending(by_id, [machine("r", "team-a-gpu-1")]).ids == ("r",)


REFUSED = {**entry(purchase="refused"), "provision_refused_status": 409}
NOTED = {"resource_id": "v", "offer_id": "o"}


def volume(key: str = "v", **fields: Any) -> dict[str, Any]:
    return machine(key, "data", kind="storage", **fields)


@pytest.mark.parametrize(
    ("registered", "machines", "storage"),
    [
        pytest.param(entry("r"), [machine("r"), volume()], ["v"], id="of what was bought"),
        pytest.param(entry(purchase="made"), [machine("r"), volume()], ["v"], id="of a purchase without ids"),
        pytest.param(JOURNAL, [machine("r", "h"), volume()], ["v"], id="never answered, and the machine has its name"),
        pytest.param(
            JOURNAL, [machine("r", "h", status="deleted"), volume()], ["v"], id="never answered, and it is gone"
        ),
        pytest.param(
            {**JOURNAL, "provision_refused_status": 409},
            [machine("r", "h", status="deleted"), volume()],
            ["v"],
            id="refused by a gateway, and a machine that is gone had its name",
        ),
        # Another project has bought the offer, and keeps its storage.
        pytest.param(JOURNAL, [machine("r", "x", status="deleted"), volume()], [], id="a stranger has bought it"),
        pytest.param(JOURNAL, [volume()], [], id="nothing shows who has bought it"),
        pytest.param(REFUSED, [volume()], [], id="refused"),
        pytest.param(REFUSED, [machine("r", "x"), volume()], [], id="refused, and a stranger has bought it"),
        pytest.param({**REFUSED, "provision_storage": [NOTED]}, [volume()], ["v"], id="noted before it failed"),
        pytest.param({**JOURNAL, "provision_storage": [NOTED]}, [volume()], ["v"], id="noted"),
    ],
)
def test_storage_of_an_offer_is_the_hosts_only_if_the_host_has_bought_it(
    registered: dict[str, Any], machines: list[dict[str, Any]], storage: list[str]
) -> None:
    found = ending(asked(registered, age=OLD), machines, phase="failed")
    assert found.action in (Action.END, Action.FORGET), found.reason
    assert [item.resource_id for item in found.storage] == storage


def test_storage_that_a_purchase_only_touched_stays_another_s() -> None:
    """Now that it is linked to the machine, only the first look tells that it was there before."""
    linked = machine("r", linked_resources=[{"resource_id": "v", "kind": "storage"}])
    registered = {**entry("r"), "provision_affected_ids": ["v"]}
    assert [item.resource_id for item in ending(asked(entry("r")), [linked, volume(offer=None)]).storage] == ["v"]
    assert ending(asked(registered), [linked, volume(offer=None)]).storage == ()


@pytest.mark.parametrize(
    ("registered", "listed", "is_asked_for"),
    [
        ({**entry("r"), "provision_instances": [{}]}, ["r"], False),  # all is known
        ({**entry("r"), "provision_instances": [{}]}, [], True),
        ({**entry("r", "s"), "provision_instances": [{}]}, ["r"], True),
        ({**entry("r"), "provision_adopted": True}, ["r"], False),
        ({**entry(purchase="made"), "provision_instances": [{}]}, [], True),  # its machine has no id
        (entry("r"), ["r"], True),  # it was never ready
        (entry(), [], True),
        (entry(purchase="refused"), [], False),
    ],
)
def test_whose_offers_are_asked_for(registered: dict[str, Any], listed: list[str], is_asked_for: bool) -> None:
    assert undecided_offers([read_entry(registered)], listed) == ({"o"} if is_asked_for else set())


def test_only_the_status_names_the_machines_of_an_entry_without_ids() -> None:
    assert list(entries_without_ids([asked(entry()), EndRequest("b", "b", read_entry(entry("r")))])) == ["h"]


@pytest.mark.parametrize("action", Action)
def test_a_purchase_ends_with_machines_or_without(action: Action) -> None:
    assert End(action).ends is (action in (Action.END, Action.FORGET))


@pytest.mark.parametrize(
    ("registered", "read"), [(None, {"r", "r1"}), (entry("s"), {"s"})], ids=["no machine", "another machine"]
)
def test_what_a_name_alone_gives_a_host_is_read_by_its_id(registered: dict[str, Any] | None, read: set[str]) -> None:
    """The list may be behind an end of it: it would be called running, and in the host's way."""
    listed = [machine("r", "h", "p"), machine("r1", "h-1", "p"), machine("x", "hh", "q"), machine("y", None, "q")]
    assert ids_to_read_before_end([asked(registered).claim], (), listed) == read


def test_only_what_neither_a_page_nor_the_list_knows_is_unknown() -> None:
    errors = {"a": ("not_found", "404"), "b": ("not_found", "404"), "c": ("unavailable", "503"), "d": ("auth", "401")}
    assert unknown_and_unread(errors, {"b", "c"}) == ({"a": "404"}, {"c": "503", "d": "401"})
