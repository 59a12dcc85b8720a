# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ends for all hosts of a play at once, and, once it was told to end, what the registry keeps of it."""

from __future__ import annotations

import typing as t
import uuid
from dataclasses import replace

from .._ansible import steps
from .._ansible.operation import Failure, Params, Result, on_api
from .._api.client import ApiError, SupplyApi
from .._provision import ended as endings
from .._provision import ending, lease, reaping
from .._provision.ended import NotEnded
from .._provision.ending import Action, ApiView, End, EndRequest
from .._provision.entry import Entry, read_entry
from .._provision.lease import Clock
from .._provision.ownership import Account, OwnershipClaim, machines_among, refreshed
from .._provision.place import NOWHERE, Place, place_of
from .._provision.reaping import SweptHost
from .._provision.rounds import Ended, Ends
from .._provision.spending import Bill
from .._provision.standing import ids_to_prove
from .._registry._protocol import Registry, RegistryError, retry_if_changed
from ._registries import Registries, RegistrySnapshot, claim_by_name, update_ssh_config, with_registries
from .reading import List, Listing, ask_with_storage, offer_statuses, read_by_id

BLANK: Result = {"changed": False}
BLANK_ENDED: Result = {"changed": False, "left": [], "usd": None, "cost": "", "storage": []}

_Noted = tuple[bool, list[t.Optional[Bill]]]


@with_registries
def end(api: SupplyApi, registries: Registries, params: Params, check_mode: bool) -> Result:
    """What ends for each of ``hosts``. What is wrong with one is told in its plan; it fails by itself, later."""
    hosts = params["hosts"]
    decided = [*params["decided"], *params["ids"]]
    if params["forbidden"]:
        stop = End(Action.STOP, reason=params["forbidden"])
        return _decided([endings.row(host, Entry(), NOWHERE, stop, None, check_mode) for host in hosts], decided)
    places = registries.places(params)
    snapshot = RegistrySnapshot(registries, places.values())
    forget = frozenset(resource_id.strip().lower() for resource_id in params["forget"])
    asked = [
        endings.end_request(host, _entry(host, places[host["host"]], snapshot), places[host["host"]], forget)
        for host in hosts
    ]
    seen = _seen(api, asked, _others(params, places, snapshot), forget)
    clock = registries.clock()  # once the API has answered, which tells its time
    asked = [endings.aged(one, clock) for one in asked]
    ends, all_ends = [], ending.hosts_ending_only_storage(asked)
    for raw, one in zip(hosts, asked):
        place, is_checked = places[one.host], endings.is_checked(raw, check_mode)
        trouble = endings.why_nothing_ends(
            raw,
            one,
            unread=snapshot.trouble(place, one.host),
            stale=registries.stale_file_refusal(raw, params, one.entry.offer_id),
            foreign=snapshot.wrong_project(place, one.host, str(raw["project"])),
        )
        found = ending.nothing_ends(one.host, trouble) if trouble else ending.what_ends(one, seen)
        sweep = reaping.read_swept_host(raw, place.text, one.entry.offer_id, clock.here)
        found = _begun(one, sweep, found, clock, place, registries, is_checked)
        found = ending.with_storage(one, found, snapshot.storage_of(place, one.host), seen, all_ends)
        ends.append(endings.row(raw, one.entry, place, found, api.ahead, is_checked))
    return {**_decided(ends, decided), "warnings": snapshot.warnings(without=places)}


def _decided(ends: t.Sequence[Result], decided: t.Sequence[str]) -> Result:
    """What ends of all hosts, in a round of its own."""
    return {**BLANK, **Ends(str(uuid.uuid4()), {one["host"]: one for one in ends}, decided).mapping}


def _begun(
    one: EndRequest,
    sweep: SweptHost | None,
    found: End,
    clock: Clock,
    place: Place,
    registries: Registries,
    check_mode: bool,
) -> End:
    """What ends of a host, noted before anything is told to end: from then on its machine gets no more time.

    So of a sweep and an extension at the same moment one gets its way, and no run that waits for the machine takes its
    end for a failure. Of two sweeps both may end it.
    """
    if sweep is not None and sweep.place != place.text:
        return ending.nothing_ends(one.host, endings.remembered_elsewhere(sweep.place, place.text))
    if not found.ends:
        return found
    try:
        registry = registries.at(place).host(one.host)
        return retry_if_changed(lambda: _noted_begin(one, sweep, found, clock, registry, check_mode))
    except RegistryError as error:
        # A registry that cannot be written keeps nothing from ending that a person ends.
        return ending.nothing_ends(one.host, f"{error} The next sweep looks again.") if sweep else found


def _noted_begin(
    one: EndRequest, sweep: SweptHost | None, found: End, clock: Clock, registry: Registry | None, check_mode: bool
) -> End:
    """The same by what the registry says now, not by what was read at first. Raises RegistryError."""
    entry = one.entry if registry is None else read_entry(registry.read())
    if registry is not None and not entry.is_same(one.entry):
        raise RegistryError(endings.changed_meanwhile(registry.where))
    still = reaping.last_look(one.host, found, sweep, entry, clock) if sweep else found
    if registry is not None and still.ids and not check_mode:
        registry.compare_and_set({lease.REAPED_AT: lease.utc_rounded_up(clock.now(entry.clock))})
    return still


def _entry(raw: t.Mapping[str, t.Any], place: Place, snapshot: RegistrySnapshot) -> Entry:
    # Without a registry there may still be what an earlier role of this run, or an earlier job, has given to the host.
    return snapshot.entry(place, raw["host"]) if place else read_entry(raw["known"])


def _others(params: Params, places: t.Mapping[str, Place], snapshot: RegistrySnapshot) -> list[OwnershipClaim]:
    """What hosts claim that are not asked about: of the same registries, and of the inventory where names count."""
    named = [claim_by_name(host) for host in params["inventory"] if host["host"] not in places]
    return snapshot.claims(without=places) + named


def _seen(
    api: SupplyApi, asked: t.Sequence[EndRequest], others: t.Sequence[OwnershipClaim], forget: t.Collection[str]
) -> ApiView:
    """What the API says of the hosts, in as few requests as it takes."""
    own = [one.claim for one in asked]
    claims = [*own, *others]
    try:
        machines = api.resources()
    except ApiError as error:
        return ApiView(Account.of(claims, None, f"The machines of the account cannot be listed: {error}"))
    listed = {machine["resource_id"] for machine in machines}
    # What became of offers, where the registry and the list do not say all that there is to know.
    shown = {machine["resource_id"] for machine in machines_among(machines)}
    statuses = offer_statuses(api, ending.undecided_offers((one.entry for one in asked), shown))
    told = (statuses.get(one.entry.offer_id, {}).get("resource_ids") or () for one in asked)
    answers = ask_with_storage(api, ending.ids_to_read_before_end(own, {*forget}.union(*told), machines))
    errors = {item: (each.error_class, str(each)) for item, each in answers.items() if isinstance(each, ApiError)}
    read = {item: answer for item, answer in answers.items() if not isinstance(answer, ApiError)}
    account = Account.of(claims, refreshed(machines, read))
    # What only a status names is read by its id before it ends, since a list may lag.
    account = replace(account, read=read_by_id(api, ids_to_prove(ending.entries_without_ids(asked), statuses, account)))
    return ApiView(account, statuses, *ending.unknown_and_unread(errors, listed))


@with_registries
def ended(api: SupplyApi, registries: Registries, params: Params, check_mode: bool) -> Result:
    """Bring the registry up to date, once machines or storage were told to end: it keeps what may be billed.

    What became of each host is in ``outcomes``. What fails for one, as of what has not ended for certain, is told
    there, and the next host follows.
    """
    plans, listing = params["ends"], Listing(api, retries=None)
    registries.note_api_clock(next((plan["ahead"] for plan in plans), None))
    noted = {}
    for plan in plans:
        try:
            noted[plan["host"]] = _noted(listing, plan, params["answers"], registries, check_mode)
        except Failure as failure:
            noted[plan["host"]] = {**BLANK_ENDED, **failure.result}
    outcomes = endings.outcomes(plans, noted)
    over, lines = endings.cost_labels(plans, outcomes), endings.end_lines(plans, outcomes)
    one_for_all = endings.stands_for_all(outcomes, alone=params["alone"])
    changed = [place_of(plan["registry"]) for plan in plans if noted[plan["host"]].get("has_ended")]
    return {
        **BLANK,
        **Ended(params["round"], outcomes, over, lines, one_for_all, params["one_tells_all"]).mapping,
        "changed": any(one["changed"] for one in noted.values()),
        "warnings": update_ssh_config(registries, changed),
    }


@with_registries
def storage_ended(api: SupplyApi, registries: Registries, params: Params, check_mode: bool) -> Result:
    """Note which of a host's storage has ended for certain. Raises Failure with ``left``, the ids of the rest."""
    registries.note_api_clock(params["end"]["ahead"])
    answers = {str(answer.get("resource_id")): answer for answer in params["deleted"]}
    return _noted(Listing(api), params["end"], answers, registries, check_mode)


def _noted(
    listing: List,
    plan: t.Mapping[str, t.Any],
    answers: t.Mapping[str, t.Any],
    registries: Registries,
    check_mode: bool,
) -> Result:
    """Note what has ended of one host. Raises Failure with ``left``, the ids of what has not ended for certain.

    ``has_ended``: its entry has.
    """
    if plan["next"] not in endings.NOTED:
        return BLANK_ENDED
    if endings.is_checked(plan, check_mode):
        return {**BLANK_ENDED, "changed": bool(plan["registry"])}
    left, stored = _left(listing, plan, answers), endings.not_ended(plan, plan["storage_ends"], answers)
    goes_on = left if left.ids else stored  # while a machine goes on, no storage was told to end
    facts = {**BLANK_ENDED, "left": list(goes_on.ids)}
    try:
        facts["changed"], bills = _machines_noted(plan, left, registries)
        facts["changed"] |= bool(storage_bills := _storage_noted(plan, stored, registries))
    except RegistryError as error:
        raise Failure(
            endings.unfinished(plan, [str(error), *goes_on.said], goes_on.ids, noted=False), "invalid", **facts
        ) from None
    if goes_on.ids:
        raise Failure(endings.unfinished(plan, goes_on.said, goes_on.ids), goes_on.error_class, **facts)
    cost = endings.cost_of([*bills, *storage_bills])
    return {**facts, "storage": plan["stays"], **cost, "has_ended": plan["next"] != endings.STORAGE}


def _left(listing: List, plan: t.Mapping[str, t.Any], answers: t.Mapping[str, t.Any]) -> NotEnded:
    """What has not ended for certain, also of what came while the others ended."""
    left = endings.machines_not_ended(plan, answers)
    if left.ids or not plan["pending"]:
        return left
    try:
        late = endings.late_of(plan, listing())
    except ApiError as error:
        late = endings.if_unlisted(plan, error)
    return replace(left, ids=late.ids, said=(*left.said, *late.said))


def _machines_noted(plan: t.Mapping[str, t.Any], left: NotEnded, registries: Registries) -> _Noted:
    """Whether the registry was changed, and what the purchase has cost by its ledger.

    Raises RegistryError, also if the entry is about something else by now.
    """
    registry = registries.of_plan(plan) if plan["next"] != endings.STORAGE else None
    before = registry.read() if registry else None
    entry = read_entry(before)
    if registry is None or entry.is_empty:  # another run has ended it, and storage may be left
        return False, []
    if not endings.is_as_planned(entry, plan):
        raise RegistryError(endings.changed_meanwhile(registry.where))
    changes = endings.notes(entry, plan, left.ids)
    changed = bool(changes) and registry.note(changes) != before
    if left.ids:
        return changed, []
    bill = registry.end(endings.why_ended(plan), plan["price_per_hour"])
    return True, [bill] if plan["began"] else []


def _storage_noted(plan: t.Mapping[str, t.Any], stored: NotEnded, registries: Registries) -> list[Bill]:
    """What storage that has ended has cost by itself. Raises RegistryError."""
    registry = registries.of_plan(plan)  # none where a person forgets what an earlier task of the play has noted
    why = endings.why_storage_ended(plan)
    bills = (registry.end_stray(item, [item], why) for item in stored.over) if registry else ()
    return list(filter(None, bills))


END = on_api(SupplyApi, end, steps.END, BLANK)
ENDED = on_api(SupplyApi, ended, steps.ENDED, BLANK_ENDED)
STORAGE_ENDED = on_api(SupplyApi, storage_ended, steps.STORAGE_ENDED, BLANK_ENDED)
