# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the leases that are over, in all registries of a call.

The role decommission checks each lease again and ends the machines.
"""

from __future__ import annotations

import functools
import math
import typing as t

from .._ansible import steps
from .._ansible.operation import Failure, Params, Result, on_api, refusing
from .._api.client import SupplyApi
from .._provision import messages, reaping
from .._provision.missing import Looked, MissingLook
from .._provision.ownership import Account, refreshed
from .._provision.place import Place, SharedProject, place_of
from .._registry._protocol import RegistryError
from .._text import host_pattern
from ._missing import look_for_missing, note_missing
from ._registries import (
    LastSweeps,
    Registries,
    RegistrySnapshot,
    claim_by_name,
    hosts_without_registry,
    with_registries,
)
from .procure_offer import settle

BLANK: Result = {
    **{"changed": False, "due": [], "hosts": [], "patterns": [], "lines": [], "trouble": "", "reap": {}},
    **{"batches": [1], "kept": [], "at": 0.0, "runs": []},
}


BLANK_ASKED: Result = {"changed": False, "ends": False, "lines": []}


@with_registries
def reap(api: SupplyApi, registries: Registries, params: Params, check_mode: bool) -> Result:
    """Return the hosts whose lease is over in ``due``, lines for people, and in ``trouble`` why the sweep fails.

    ``batches``: how many of the ``hosts`` take part at once; hosts whose lease is over come first, since their
    machines are not asked. ``kept``: the registries whose leases are enforced, as of ``at`` (seconds since the epoch),
    if nothing fails later. ``runs``: the hosts of runs that may end before the next sweep.
    """
    if params["limited"]:
        raise Failure(messages.WHOLE_SWEEP, "invalid")
    with refusing(ValueError, messages.NOTHING_ENDED):
        limits = reaping.read_limits(params["grace"], params["before_end_timeout"])
    places = registries.places(params)
    settled = settle(api, params, places.values(), check_mode)
    snapshot, listed = RegistrySnapshot(registries, places.values()), api.resources()
    look = look_for_missing(api, params, registries, snapshot, listed)
    noted = Looked() if check_mode else note_missing(api, params, snapshot, look)
    snapshot = RegistrySnapshot(registries, places.values()) if noted.noted else snapshot
    sweep_findings = _found(registries, params, places, snapshot, look)
    able, left = sweep_findings.playable(params["unreadable"], params["own"], limits)
    able, batches = reaping.in_batches(able, params["forks"], by_job=params["by_job"])
    sweeps = LastSweeps(registries)
    why_unswept = functools.partial(sweeps.trouble, refused=False)
    runs = sweep_findings.late_runs(params["unreadable"], sweeps.since)
    unread = [*params["troubles"], *snapshot.warnings(), *noted.problems]
    unswept = reaping.unswept_projects(
        snapshot.other_project_entries(),
        registries.clock(),
        lambda project: why_unswept(SharedProject(project)),
    )
    unswept_folders = reaping.unswept_folders(
        RegistrySnapshot(registries, registries.nearby(params)).host_entries(), why_unswept
    )
    kept = sweep_findings.enforced_places(dict.fromkeys(places.values()), left, snapshot.has_trouble)
    moved = registries.ended_bills(places.values(), sweep_findings.unclaimed)
    return {
        **BLANK,
        "due": [_due(item, places, registries, own_limits, item.idle_allowed) for item, own_limits in able],
        "hosts": [item.host for item, _limits in able],
        "patterns": [host_pattern(item.host) for item, _limits in able],
        "runs": [_due(item, places, registries, limits, 0) for item in runs],
        "batches": batches,
        "kept": [place.text for place in kept],
        "at": sweep_findings.clock.here,
        "lines": sweep_findings.lines(places.values(), params["here"]),
        "trouble": sweep_findings.why_red(unread, left, moved, [*sweep_findings.why_unknown(why_unswept), *unswept]),
        "changed": bool(settled.closed or noted.noted),
        "warnings": [*settled.warnings, *noted.sentences(), *unswept_folders],
        "reap": {
            "over": [item.row for item in sweep_findings.due],
            "protected": [item.row for item in sweep_findings.spared],
            "unclaimed": len(sweep_findings.unclaimed),
        },
    }


def _found(
    registries: Registries,
    params: Params,
    places: t.Mapping[str, Place],
    snapshot: RegistrySnapshot,
    look: MissingLook,
) -> reaping.SweepFindings:
    by_name = hosts_without_registry(params, places)
    account = Account.of([*snapshot.claims(), *map(claim_by_name, by_name)], refreshed(look.machines, look.read))
    clock = registries.clock()  # once the API has answered, which tells its time
    limits = {param["host"]: str(param["idle_after"]) for param in params["hosts"] if param["declares"]}
    protects = {param["host"]: param["protect"] for param in params["hosts"]}
    entries = [*snapshot.host_entries(), *reaping.storage_left_to_end(snapshot.strays(), snapshot.entry)]
    known = filter(None, (reaping.registered_host(*item, account, clock, limits, protects, look) for item in entries))
    named = (reaping.host_by_name(item, account, clock) for item in by_name)
    return reaping.SweepFindings(tuple(known), tuple(named), clock, account.unclaimed, params["by_name"])


def reap_asked(params: Params, check_mode: bool) -> Result:
    """Return whether a machine has been idle for too long and ends now (``ends``)."""
    return {**BLANK_ASKED, **reaping.idle_result(params["got"])}


def reaped(params: Params, check_mode: bool) -> Result:
    """Note in which places the sweep has enforced the leases. Raises Failure if it did not read or end everything."""
    unnoted = [] if check_mode else list(_noted(params, reaping.swept_places(params["kept"], params["hosts"])))
    if trouble := reaping.why_red_at_end(params["trouble"], params["hosts"], unnoted):
        raise Failure(trouble, "unavailable")
    return {"changed": False}


def _noted(params: Params, places: t.Iterable[str]) -> t.Iterator[str]:
    """Note that the leases of these places were enforced. Yields why a registry refused it."""
    with Registries.of(params, read_only=False) as registries:
        for place in places:
            try:
                registries.at(place_of(place)).note_sweep(params["at"])
            except RegistryError as error:
                yield str(error)


def _due(
    host: reaping.Host,
    inventory: t.Container[str],
    registries: Registries,
    limits: reaping.SweepLimits,
    idle: float,
) -> Result:
    """A host as the play needs it, and how to reach its machine, on which the sweep may run commands.

    ``idle``: seconds for which the machine may be idle; 0 if its lease is over anyway.
    """
    entry, reached = host.entry, registries.reached(host.place, host.host, host.entry)
    sweep = {"place": host.place.text, "idle": idle, "lease": host.leased, "grace": limits.grace}
    sweep["seconds"] = math.ceil(host.time_for_command(limits))  # as a task's limit takes them
    sweep.update(offer_id=entry.offer_id, ends_at=host.life.end_by(registries.clock().here))
    where = {**host.row, **host.folder(inventory), "groups": list(entry.groups)}
    return {**where, "reached": reached, "sweep": sweep}


REAP_ASKED = steps.operation(reap_asked, steps.REAP_ASKED, BLANK_ASKED)
REAPED = steps.operation(reaped, steps.REAPED, {"changed": False})
REAP = on_api(SupplyApi, reap, steps.REAP, BLANK, outcome=reaping.NOTHING_ENDED)
