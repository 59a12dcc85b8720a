# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide what ends for all hosts of a play at once, and later note in the registry what has ended for certain."""

from __future__ import annotations

import contextlib
import typing as t
import uuid
from dataclasses import replace

from .._ansible import steps
from .._ansible.operation import Failure, Params, Result, on_api
from .._api.client import ApiError, SupplyApi
from .._provision import ended as endings
from .._provision import ending, lease, moving, reaping
from .._provision.ended import NotEnded
from .._provision.ending import Action, ApiView, End, EndRequest
from .._provision.entry import Entry, read_entry
from .._provision.lease import Clock
from .._provision.ownership import Account, OwnershipClaim, machines_among, not_gone, refreshed
from .._provision.place import NOWHERE, Place, place_of
from .._provision.reaping import SweptHost
from .._provision.rounds import Ended, Ends
from .._provision.spending import Bill
from .._provision.standing import ids_to_prove
from .._registry._protocol import Registry, RegistryError, Unwritable, retry_if_changed
from .._text import joined
from ._registries import Registries, RegistrySnapshot, claim_by_name, update_ssh_config, with_registries
from .reading import List, Listing, ask_with_storage, offer_statuses, read_by_id

BLANK: Result = {"changed": False}
BLANK_ENDED: Result = {"changed": False, "left": [], "usd": None, "cost": "", "storage": []}

_Noted = tuple[bool, list[t.Optional[Bill]]]


@with_registries
def end(api: SupplyApi, registries: Registries, params: Params, check_mode: bool) -> Result:
    """Return what ends for each of ``hosts``. A host that must not end gets the reason in its plan, and fails later."""
    hosts = params["hosts"]
    decided = [*params["decided"], *params["ids"]]
    if params["forbidden"]:
        stop = End(Action.STOP, reason=params["forbidden"])
        return _result([endings.end_plan(host, Entry(), NOWHERE, stop, None, check_mode) for host in hosts], decided)
    places = registries.places(params)
    snapshot = RegistrySnapshot(registries, places.values())
    forget = frozenset(resource_id.strip().lower() for resource_id in params["forget"])
    requests = [
        endings.end_request(host, _entry(host, places[host["host"]], snapshot), places[host["host"]], forget)
        for host in hosts
    ]
    seen = _ask_api(api, requests, _other_claims(params, places, snapshot), forget)
    clock = registries.clock()  # once the API has answered, which tells its time
    requests = [endings.with_age(request, clock) for request in requests]
    left = [*seen.account.unclaimed, *not_gone(seen.account.storage)]
    moved = registries.ended_bills(places.values(), left)
    known = dict.fromkeys(places.values())
    ends, all_ends = [], ending.hosts_ending_only_storage(requests)
    for raw, request in zip(hosts, requests):
        place, is_checked = places[request.host], endings.is_checked(raw, check_mode)
        trouble = endings.why_nothing_ends(
            raw,
            request,
            unread=snapshot.trouble(place, request.host),
            stale=joined(
                registries.stale_file_refusal(raw, params, request.entry.offer_id),
                moving.why_moved_away(request.host, raw["project"], request.entry, moved, left),
                *registries.bought_elsewhere(raw, params, place, known),
            ),
            foreign=snapshot.wrong_project(place, request.host, str(raw["project"])),
        )
        found = ending.nothing_ends(request.host, trouble) if trouble else ending.what_ends(request, seen)
        sweep = reaping.read_swept_host(raw, place.text, request.entry.offer_id, clock.here)
        found = _note_begin(request, sweep, found, clock, place, registries, is_checked)
        found = ending.with_storage(request, found, snapshot.storage_of(place, request.host), seen, all_ends)
        ends.append(endings.end_plan(raw, request.entry, place, found, api.ahead, is_checked))
    return {**_result(ends, decided), "warnings": snapshot.warnings(without=places)}


def _result(ends: t.Sequence[Result], decided: t.Sequence[str]) -> Result:
    """The ends of all hosts, as a new round."""
    return {**BLANK, **Ends(str(uuid.uuid4()), {row["host"]: row for row in ends}, decided).mapping}


def _note_begin(
    request: EndRequest,
    sweep: SweptHost | None,
    found: End,
    clock: Clock,
    place: Place,
    registries: Registries,
    check_mode: bool,
) -> End:
    """Note that the end of a host begins, before any deletion is sent, and return what ends.

    From then on its lease cannot be extended: of a sweep and an extension at the same time, only one succeeds. And a
    run that waits for the machine does not mistake its end for a failure. Two sweeps may both end it.
    """
    if sweep is not None and sweep.place != place.text:
        return ending.nothing_ends(request.host, endings.remembered_elsewhere(sweep.place, place.text))
    if not found.ends:
        return found
    try:
        registry = registries.at(place).host(request.host)
        return retry_if_changed(lambda: _note_begin_now(request, sweep, found, clock, registry, check_mode))
    except RegistryError as error:
        # If a person ends the machine, it ends even if the registry cannot be written.
        return ending.nothing_ends(request.host, f"{error} The next sweep looks again.") if sweep else found


def _note_begin_now(
    request: EndRequest, sweep: SweptHost | None, found: End, clock: Clock, registry: Registry | None, check_mode: bool
) -> End:
    """Read the entry again, note that its end begins, and return what ends by that entry. Raises RegistryError."""
    entry = request.entry if registry is None else read_entry(registry.read())
    if registry is not None and not entry.is_same(request.entry):
        raise RegistryError(endings.changed_meanwhile(registry.where))
    still = reaping.last_look(request.host, found, sweep, entry, clock) if sweep else found
    if registry is not None and still.ids and not check_mode:
        # On a full disk no run can note an extension either, and the machine would be billed until there is room.
        with contextlib.suppress(Unwritable):
            registry.compare_and_set(endings.begin_changes(request, lease.utc_rounded_up(clock.now(entry.clock))))
    return still


def _entry(raw: t.Mapping[str, t.Any], place: Place, snapshot: RegistrySnapshot) -> Entry:
    # Without a registry, host variables of an earlier role or job may still say what the host has.
    return snapshot.entry(place, raw["host"]) if place else read_entry(raw["known"])


def _other_claims(params: Params, places: t.Mapping[str, Place], snapshot: RegistrySnapshot) -> list[OwnershipClaim]:
    """The claims of all other hosts: in the same registries, and by name of hosts without a registry."""
    named = [claim_by_name(host) for host in params["inventory"] if host["host"] not in places]
    return snapshot.claims(without=places) + named


def _ask_api(
    api: SupplyApi, requests: t.Sequence[EndRequest], others: t.Sequence[OwnershipClaim], forget: t.Collection[str]
) -> ApiView:
    """Ask the API about all hosts together, with as few requests as possible."""
    own = [request.claim for request in requests]
    claims = [*own, *others]
    try:
        machines = api.resources()
    except ApiError as error:
        return ApiView(Account.of(claims, None, f"The machines of the account cannot be listed: {error}"))
    # The status of an offer is read only if the registry and the list do not suffice.
    shown = {machine["resource_id"] for machine in machines_among(machines)}
    statuses = offer_statuses(api, ending.undecided_offers((request.entry for request in requests), shown))
    named = (statuses.get(request.entry.offer_id, {}).get("resource_ids") or () for request in requests)
    answers = ask_with_storage(api, ending.ids_to_read_before_end(own, {*forget}.union(*named), machines))
    errors = {item: (each.error_class, str(each)) for item, each in answers.items() if isinstance(each, ApiError)}
    read = {item: answer for item, answer in answers.items() if not isinstance(answer, ApiError)}
    unknown, unread = ending.unknown_and_unread(errors, machines, forget)
    account = Account.of(claims, refreshed(machines, read, unread))
    # Resources that only a status names are read by their ids before they end, since a list may lag.
    unproved = ids_to_prove(ending.entries_without_ids(requests), statuses, account)
    account = replace(account, read=read_by_id(api, unproved))
    return ApiView(account, statuses, unknown, unread)


@with_registries
def ended(api: SupplyApi, registries: Registries, params: Params, check_mode: bool) -> Result:
    """Note in the registry which machines and storage have ended for certain; it keeps what may still be billed.

    ``outcomes`` has the result for each host. A failure, such as a machine that may still run, affects only its host.
    """
    plans, listing = params["ends"], Listing(api, retries=None)
    registries.note_api_clock(next((plan["ahead"] for plan in plans), None))
    noted = {}
    for plan in plans:
        try:
            noted[plan["host"]] = _note_ends(listing, plan, params["answers"], registries, check_mode)
        except Failure as failure:
            noted[plan["host"]] = {**BLANK_ENDED, **failure.result}
    outcomes = endings.outcomes(plans, noted)
    over, lines = endings.cost_labels(plans, outcomes), endings.end_lines(plans, outcomes)
    one_for_all = endings.one_acts_for_all(outcomes, alone=params["alone"])
    changed = [place_of(plan["registry"]) for plan in plans if noted[plan["host"]].get("has_ended")]
    return {
        **BLANK,
        **Ended(params["round"], outcomes, over, lines, one_for_all, params["one_tells_all"]).mapping,
        "changed": any(result["changed"] for result in noted.values()),
        "warnings": update_ssh_config(registries, changed),
    }


@with_registries
def storage_ended(api: SupplyApi, registries: Registries, params: Params, check_mode: bool) -> Result:
    """Note which storage of a host has ended for certain. Raises Failure with ``left``, the ids of the rest."""
    registries.note_api_clock(params["end"]["ahead"])
    answers = {str(answer.get("resource_id")): answer for answer in params["deleted"]}
    return _note_ends(Listing(api), params["end"], answers, registries, check_mode)


def _note_ends(
    listing: List,
    plan: t.Mapping[str, t.Any],
    answers: t.Mapping[str, t.Any],
    registries: Registries,
    check_mode: bool,
) -> Result:
    """Note which resources of one host have ended. In the result, ``has_ended`` says whether its entry has ended.

    Raises Failure with ``left``, the ids that may still be billed.
    """
    if plan["next"] not in endings.NOTED:
        return BLANK_ENDED
    if endings.is_checked(plan, check_mode):
        return {**BLANK_ENDED, "changed": bool(plan["registry"])}
    left = _not_ended(listing, plan, answers, registries)
    stored = endings.not_ended(plan, plan["storage_ends"], answers)
    goes_on = left if left.ids else stored  # the deletion of storage is sent only after all machines have ended
    facts = {**BLANK_ENDED, "left": list(goes_on.ids)}
    try:
        facts["changed"], bills = _note_machines(plan, left, registries)
        facts["changed"] |= bool(storage_bills := _note_storage(plan, stored, registries))
    except RegistryError as error:
        raise Failure(
            endings.unfinished(plan, [str(error), *goes_on.sentences], goes_on.ids, noted=False), "invalid", **facts
        ) from None
    if goes_on.ids:
        raise Failure(endings.unfinished(plan, goes_on.sentences, goes_on.ids), goes_on.error_class, **facts)
    cost = endings.cost_of([*bills, *storage_bills])
    return {**facts, "storage": plan["stays"], **cost, "has_ended": plan["next"] != endings.STORAGE}


def _not_ended(
    listing: List, plan: t.Mapping[str, t.Any], answers: t.Mapping[str, t.Any], registries: Registries
) -> NotEnded:
    """The machines that may still be billed, including pending ones that have appeared meanwhile."""
    left = endings.machines_not_ended(plan, answers)
    noted = registries.ended_bills([place_of(plan["registry"])], ({"resource_id": item} for item in left.ids))
    left = endings.unless_noted_as_ended(left, answers, noted)
    if left.ids or not plan["pending"]:
        return left
    try:
        late = endings.late_machines(plan, listing())
    except ApiError as error:
        late = endings.late_unknown(plan, error)
    return replace(left, ids=late.ids, sentences=(*left.sentences, *late.sentences))


def _note_machines(plan: t.Mapping[str, t.Any], left: NotEnded, registries: Registries) -> _Noted:
    """Note the machines that have ended. Return whether that changed the registry, and the bills of what ended.

    Raises RegistryError, also if the entry names another purchase by now.
    """
    registry = registries.of_plan(plan) if plan["next"] != endings.STORAGE else None
    before = registry.read() if registry else None
    entry = read_entry(before)
    if registry is None or entry.is_empty:  # another run has ended the entry; storage may still be left
        return False, []
    if not endings.is_as_planned(entry, plan):
        raise RegistryError(endings.changed_meanwhile(registry.where))
    changes = endings.entry_changes(entry, plan, left.ids)
    changed = bool(changes) and registry.note(changes) != before
    if left.ids:
        return changed, []
    bill = registry.end(endings.why_ended(plan), plan["price_per_hour"])
    return True, [bill] if plan["began"] else []


def _note_storage(plan: t.Mapping[str, t.Any], stored: NotEnded, registries: Registries) -> list[Bill]:
    """Note the storage that has ended, and return its bills. Raises RegistryError."""
    registry = registries.of_plan(plan)  # None if a person forgets what only host variables name
    why = endings.why_storage_ended(plan)
    bills = (registry.end_stray(item, [item], why) for item in stored.over) if registry else ()
    return list(filter(None, bills))


END = on_api(SupplyApi, end, steps.END, BLANK)
ENDED = on_api(SupplyApi, ended, steps.ENDED, BLANK_ENDED)
STORAGE_ENDED = on_api(SupplyApi, storage_ended, steps.STORAGE_ENDED, BLANK_ENDED)
