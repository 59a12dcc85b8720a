# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on the account, what does it cost, and who owns it?"""

from __future__ import annotations

import time
import typing as t

from .._ansible import steps
from .._ansible.operation import Failure, Params, Result, check_uuid, checked_option, on_api
from .._api.client import ApiError, Json, SupplyApi
from .._provision import auditing, ending_by_id, messages, missing, moving
from .._provision.entry import all_storage
from .._provision.missing import Looked
from .._provision.ownership import OwnershipClaim, id_of, refreshed, with_unregistered
from .._provision.storage import with_noted_prices
from .._text import joined
from ._missing import look_for_missing, note_missing, snapshot_of_all_projects
from ._registries import (
    LastSweeps,
    Registries,
    RegistrySnapshot,
    claim_by_name,
    hosts_without_registry,
    reading_registries,
    warnings_nearby,
)
from .procure_offer import settle
from .reading import read_by_id

BLANK: Result = {"changed": False, "audit": {}, "lines": [], "trouble": ""}
BLANK_ORPHAN: Result = {"changed": False, "ended": {}, "lines": []}


@reading_registries
def audit(api: SupplyApi, registries: Registries, params: Params, check_mode: bool) -> Result:
    """Return the account's machines by owner: rows, lines for people, and in ``trouble`` why the audit fails."""
    if params["limited"]:
        raise Failure("An audit covers the whole account: leave --limit out.", "invalid")
    places = registries.places(params)
    settled = settle(api, params, places.values() if params["settle"] else [], check_mode, everywhere=True)
    snapshot, machines = RegistrySnapshot(registries, places.values()), _machines(api)
    look, noted = look_for_missing(api, params, registries, snapshot, machines), Looked()
    if params["settle"] and not check_mode:
        noted = note_missing(api, params, snapshot_of_all_projects(registries, places.values(), snapshot), look)
        snapshot = RegistrySnapshot(registries, places.values())
    registered = set(filter(places.get, places))
    names = auditing.expected_claims(
        params["names"], params["hosts"], registered, is_shared=bool(params["registry_url"])
    )
    claims = _claims(snapshot, hosts_without_registry(params, places), names)
    billed = with_noted_prices(refreshed(machines, look.read), all_storage(snapshot.account_entries()))
    found = auditing.audit_by_owners(billed, claims, {*places, *(claim.host for claim in names)}, time.time())
    over = registries.ended_bills(places.values(), found.orphans)
    found.note_read(read_by_id(api, {resource_id for bill in over for resource_id in bill.resource_ids}))
    found.note_buying(snapshot.account_entries())
    found.note_tests(snapshot.account_entries())
    found.note_leases((host, entry) for _place, host, entry in snapshot.host_entries())
    found.note_missing(snapshot.account_entries(), look, time.time())
    unswept = LastSweeps(registries).warnings(place for place, _host, entry in snapshot.host_entries() if entry.ends_at)
    known = set(map(id_of, billed))
    elsewhere = {(place, host) for place, host, entry in snapshot.host_entries() if look.is_elsewhere(entry)}
    others = missing.why_of_another_account(missing.unknown_places(snapshot.host_entries(), known), elsewhere)
    unread = [*params["troubles"], *snapshot.warnings(), *noted.problems, *others]
    return {
        **BLANK,
        "changed": bool(settled.closed or noted.noted),
        "audit": found.published,
        "lines": auditing.audit_lines(found),
        "trouble": auditing.why_audit_fails(found, unread, over, fail_on_orphans=params["fail_on_orphans"]),
        "warnings": [*settled.warnings, *noted.sentences(), *unswept, *warnings_nearby(registries, params)],
    }


def _machines(api: SupplyApi) -> list[Json]:
    """The machines of the account. Machines in deletion are read by their ids, since a list may lag."""
    listed = api.resources()
    return refreshed(listed, read_by_id(api, auditing.under_deletion(listed), retries=None))


@reading_registries
def orphan(api: SupplyApi, registries: Registries, params: Params, check_mode: bool) -> Result:
    """Return the machine that a person ends by its id, as no host owns it. Raises Failure if it may not end."""
    if params["limited"]:  # the next task would run on the hosts that are left
        raise Failure(f"An end by id concerns no hosts: leave --limit out. {messages.NOTHING_ENDED}", "invalid")
    resource_id = checked_option("end_resource_id", params["resource_id"], check_uuid)
    reason = checked_option("end_reason", params["reason"], ending_by_id.check_reason)
    places = registries.places(params)
    snapshot = RegistrySnapshot(registries, [*places.values(), *registries.nearby(params)])
    if unread := joined(*dict.fromkeys([*params["troubles"], *snapshot.warnings()])):
        raise Failure(ending_by_id.owner_unknown(resource_id, unread), "invalid", **BLANK_ORPHAN)
    try:
        machine = api.resource(resource_id, force_refresh=True)
    except ApiError as error:
        raise Failure.of(error, messages.NOTHING_ENDED, **BLANK_ORPHAN) from None
    claims, strays = _claims(snapshot, hosts_without_registry(params, places), []), snapshot.stray_entries()
    machines = refreshed(api.resources(), {resource_id: machine})
    over = registries.ended_bills(places.values(), [machine])
    moved = (f"{text} {messages.NOTHING_ENDED}" for text in moving.moved_away(over, [machine]))
    if objection := joined(ending_by_id.why_not_by_id(resource_id, machines, claims, strays), *moved):
        raise Failure(joined(objection, *warnings_nearby(registries, params)), "conflict", **BLANK_ORPHAN)
    found = ending_by_id.end_for_workflow(machine, reason, params["by"] or registries.who)
    lines = ending_by_id.lines_of_orphan_end(machine, found, would=check_mode)
    return {**BLANK_ORPHAN, "ended": found, "lines": lines}


def _claims(
    snapshot: RegistrySnapshot, named: t.Iterable[t.Mapping[str, t.Any]], names: t.Iterable[OwnershipClaim]
) -> list[OwnershipClaim]:
    """The claims in registries, and claims by name: of ``named`` hosts without a registry, and expected ``names``."""
    return with_unregistered(snapshot.claims(), [*map(claim_by_name, named), *names])


ORPHAN = on_api(SupplyApi, orphan, steps.ORPHAN, BLANK_ORPHAN)
AUDIT = on_api(SupplyApi, audit, steps.AUDIT, BLANK)
