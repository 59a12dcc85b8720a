# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge the outcome of each plan: note machines and what may be billed in the registry, and decide the next step."""

from __future__ import annotations

import time
import typing as t
from dataclasses import replace
from functools import cached_property

from .._ansible import steps
from .._ansible.operation import Failure, Params, Result, on_api
from .._api.client import ApiError, Json
from .._api.market import Market
from .._provision import acceptance, ending, standing
from .._provision.ended import storage_ends, storage_to_end, with_own_marks
from .._provision.entry import (
    Entry,
    entry_of_plan,
    further_hosts,
    has_already,
    names_taken,
    noted_once_reached,
    owned_row,
    read_entry,
    shares_host_keys,
)
from .._provision.judging import JudgedHost
from .._provision.ledger import RELEASED
from .._provision.ownership import holders_of, namesakes, refreshed
from .._provision.place import place_of
from .._provision.planning import BUY, WAIT
from .._provision.purchase import Verdict
from .._provision.rounds import Judged, published
from .._provision.rows import is_over, released, verdict_row
from .._registry._files import HOST_KEYS
from .._registry._protocol import ReadOnlyRegistry, Registry, RegistryError, Variables, note_and_end
from .._registry._stores import pinned_host_keys
from .._text import grouped
from ._registries import Registries, RegistrySnapshot, update_ssh_config, with_registries
from .reading import read_by_id

BLANK: Result = {"changed": False, "verdicts": [], "further": {}}

Plan = t.Mapping[str, t.Any]


@with_registries
def judge(api: Market, registries: Registries, params: Params, check_mode: bool) -> Result:
    """Return the verdict for each host that bought or waited, from its purchase and its offer's status."""
    plans = [plan for plan in params["plans"] if plan["action"] in (BUY, WAIT)]
    observer = _Observer(api, registries, plans)
    cases = [_Judged(plan, params, registries, observer) for plan in plans]
    return _answer([case for case in cases if not case.case.is_planned], registries, params, check_mode)


class _Observer:
    """Reads the account, resources and other hosts' entries, once for all hosts and only if a host needs them."""

    def __init__(self, api: Market, registries: Registries, plans: t.Sequence[Plan]) -> None:
        self._api = api
        self._registries = registries
        self._plans = plans

    def observed(self, case: JudgedHost) -> JudgedHost:
        """The case, completed with its resources at the API and their holders in the registries."""
        if not case.needs_list:
            return case
        listed = self.related_machines(str(case.plan["name"]), case.offer_id, case.ids)
        if listed is not None:
            case = replace(case, listed={item["resource_id"]: item for item in listed if item["resource_id"]})
        if case.needs_holders:
            case = replace(case, holders=holders_of(self._snapshot.claims(without={case.host}), case.host))
        ids = {*case.look.ids_to_prove, *case.unlisted}
        case = case.with_pages(ids, read_by_id(self._api, ids))
        if case.outcome != "created":
            return case
        machines, purchase = listed or [], (str(case.plan["name"]), case.offer_id, case.held.ids)
        # Each namesake is read by its id, since a list may lag behind an end.
        pages = read_by_id(self._api, (machine["resource_id"] for machine in namesakes(machines, *purchase)))
        return replace(case, namesakes=namesakes(refreshed(machines, pages), *purchase))

    @cached_property
    def _snapshot(self) -> RegistrySnapshot:
        return RegistrySnapshot(self._registries, (place_of(plan["registry"]) for plan in self._plans))

    @cached_property
    def machines(self) -> list[Json] | None:
        """All machines of the account; None if they cannot be listed."""
        tried = {str(plan["host"]): plan["attempts"] for plan in self._plans}
        try:
            return standing.without_ended(self._api.resources(), tried)
        except ApiError:
            return None

    def related_machines(self, name: str, offer_id: str, ids: t.Iterable[str]) -> list[Json] | None:
        """The machines with this name, offer or one of these ids, and all machines with the same names as those."""
        machines, index = self.machines, self._index
        if machines is None:
            return None
        words = [("offer", offer_id), *(("id", item) for item in ids)]
        own = {place for word in words for place in index.get(word, ())}
        names = {name, *(machines[place]["name"] for place in own)}
        return [machines[place] for place in sorted(own.union(*(index.get(("name", name), ()) for name in names)))]

    # An index, since there may be thousands of hosts and machines
    @cached_property
    def _index(self) -> dict[tuple[str, t.Any], list[int]]:
        words = (("id", "resource_id"), ("name", "name"), ("offer", "offer_id"))
        machines = list(enumerate(self.machines or ()))
        return grouped(((word, item[key]), place) for place, item in machines for word, key in words)


class _Judged:
    """The case of a host, and its registry."""

    def __init__(self, plan: Plan, params: Params, registries: Registries, observer: _Observer) -> None:
        self.place = place_of(plan["registry"])
        self.registry: Registry | None = None
        self._before: Variables | None = None  # the entry in the registry
        entry, trouble = Entry(), ""
        try:
            self.registry = registries.at(self.place).host(plan["host"])
            self._before = self.registry.read() if self.registry else None
            entry = read_entry(self._before)
        except RegistryError as error:
            trouble = str(error)
        purchase = params["purchases"].get(plan["host"]) or {}
        status = params["offers"].get(plan["offer_id"]) or {}
        before = frozenset(params.get("without_offer") or ())
        has_entry = self._before is not None
        case = JudgedHost(plan, purchase, status, entry, has_entry, trouble, listed_before=before, now=time.time())
        self.case = observer.observed(case)

    def keep(self, verdict: Verdict, check_mode: bool) -> bool:
        """Bring the registry up to date, except in check mode. Return whether that changes it. Raises RegistryError."""
        case, registry = self.case, self.registry
        if case.trouble:  # the registry is unreadable, so it is unknown whether it has the purchase
            raise RegistryError(case.trouble)
        changes, before = self.place.noted_facts(case.noted(verdict)), self._before
        if registry is None or not (case.is_forgotten or case.adds_to(before, changes)):
            return False
        if check_mode:
            return True
        if case.is_forgotten:
            note_and_end(registry, case.noted_storage, case.why_over)
            return True
        return registry.note(changes, case.disowned) != before


def _answer(judged: t.Sequence[_Judged], registries: Registries, params: Params, check_mode: bool) -> Result:
    """Update the registry, and return the verdicts as plain mappings."""
    # The further machines of hosts that are at another step now stay.
    further = dict(params["before"].get("further") or {})
    changed, verdicts, rows, warnings = False, [], {}, []
    for item in judged:
        case, verdict, kept = _settled(item, params["inventory"], check_mode)
        changed |= kept
        further.pop(case.host, None)
        row = verdict_row(case, verdict)
        if verdict is Verdict.READY:
            further[case.host] = further_hosts(case.plan, case.instances)
            rows[case.host] = owned_row(case.host, read_entry(row["facts"]))
            warnings += case.warnings()
        verdicts.append(row)
    warnings += update_ssh_config(registries, (item.place for item in judged))
    answer = Judged(
        round=next((str(plan["round"]) for plan in params["plans"]), ""),
        verdicts=verdicts,
        all_skip_next=not any(row["next"] for row in verdicts),
        further=further,
        offers={**(params["before"].get("offers") or {}), **params["offers"]},
    )
    stats = published({"provision_hosts": rows} if rows else {})
    return {**stats, **answer.mapping, "changed": changed, "warnings": warnings}


def _settled(judged: _Judged, inventory: t.Mapping[str, t.Any], check_mode: bool) -> tuple[JudgedHost, Verdict, bool]:
    """Update the registry. Return the case, its verdict, and whether the registry was changed."""
    verdict, kept = judged.case.verdict(check_mode), False
    try:
        kept = judged.keep(verdict, check_mode)
    except RegistryError as error:
        return replace(judged.case, trouble=str(error)), Verdict.STOP, False
    names = judged.case.taken_names(inventory) if verdict is Verdict.READY else []
    if names:
        trouble = names_taken(judged.case.host, names)
        return replace(judged.case, trouble=trouble), Verdict.STOP, kept
    return judged.case, verdict, kept


@with_registries
def release(api: Market, registries: Registries, params: Params, check_mode: bool) -> Result:
    """Decide the next step after a host's machines were ended. The registry forgets them only if that is certain."""
    plan, ended = params["plans"][0], params["deleted"]
    observer = _Observer(api, registries, [plan])
    judged = _Judged(plan, params, registries, observer)
    case, over = judged.case, is_over(judged.case, ended)
    if over:
        ids = {item["resource_id"] for item in ended}
        case = replace(case, storage_ends=ending.storage_after_release(plan, case.all_storage, ids, observer.machines))
        judged.case = case
    attempts, unsound = params["before"].get("attempts") or [], params.get("unsound", "")
    answer = replace(
        released(case, attempts, ended, unsound, check_mode=check_mode),
        storage=storage_to_end(plan, case.all_storage, case.storage_ends, RELEASED, api.ahead),
    )
    return {**answer.mapping, "changed": over, "warnings": _forgotten(judged, registries) if over else []}


def release_begins(params: Params, check_mode: bool) -> Result:
    """Note, before machines are given back, that their storage ends as well: this run may be killed before it ends."""
    plan = params["plans"][0]
    try:
        with Registries.of(params, read_only=check_mode) as registries:
            registry = registries.of_plan(plan)
            before = registry.read() if registry else None
            changes = storage_ends(plan, read_entry(before))
            return {"changed": registry.note(changes) != before if registry and changes else False}
    except ReadOnlyRegistry:
        return {"changed": True}
    except RegistryError as error:  # machines that cannot be used end nevertheless
        return {"changed": False, "warnings": [str(error)]}


def _forgotten(judged: _Judged, registries: Registries) -> list[str]:
    """Remove the entry of released machines. A failure becomes a warning: the next run will see that they are gone."""
    if judged.registry is None or judged.case.is_superseded:
        return []
    try:
        note_and_end(judged.registry, with_own_marks(judged.case.noted_storage), RELEASED)
        return update_ssh_config(registries, [judged.place])
    except RegistryError as error:
        return [str(error)]


def accepted(params: Params, check_mode: bool) -> Result:
    """Accept a host's machines if they passed their tests. Otherwise keeps the evidence, and raises Failure."""
    plan, place, trouble = params["plans"][0], "", ""
    report = acceptance.Report.of_plan(plan, params["tests"])
    if report.passes:
        return {"changed": False, "warnings": report.warnings}
    try:
        with Registries.of(params, read_only=check_mode) as registries:
            store = registries.at(place_of(plan["registry"]))
            registries.note_api_clock(plan["ahead"])
            entry, now = store.entry(plan["host"])
            if report.has_ended(entry, now):
                raise Failure(acceptance.why_no_evidence(report), "not_found")
            place = store.keep_evidence(plan["host"], acceptance.bundle(report, plan, entry, now))
    except RegistryError as error:
        trouble = str(error)
    raise Failure(acceptance.refusal(report, place, trouble), acceptance.UNSOUND, unsound=report.cause)


def reached(params: Params, check_mode: bool) -> Result:
    """Note that the host's machine was reached, so that its test and key exchange are not repeated. Raises Failure."""
    plan = params["plans"][0]
    before: t.Mapping[str, t.Any] | None = None
    try:
        with Registries.of(params, read_only=check_mode) as registries:
            registry = registries.of_plan(plan)
            before = entry_of_plan(plan, registry.read() if registry else None)
            changes = {**noted_once_reached(plan, before), **_shared_keys(plan)}
            if registry is None or before is None or has_already(before, changes):
                return {"changed": False}
            return {"changed": check_mode or registry.note(changes) != before}
    except RegistryError as error:
        if noted_once_reached(plan, before):
            raise Failure(str(error), error.error_class) from None
        # Only the shared host keys are missing. Until the next run notes them, other controllers accept any key.
        return {"changed": False, "warnings": [str(error)]}


def _shared_keys(plan: Plan) -> Variables:
    """The host keys of the machine, if the registry hands them to other controllers."""
    shares = shares_host_keys(plan["trust"], place_of(plan["registry"]).keeps_host_keys)
    return {HOST_KEYS: pinned_host_keys(plan["known_hosts_file"])} if shares else {}


JUDGE = on_api(Market, judge, steps.JUDGE, BLANK)
RELEASE_BEGINS = steps.operation(release_begins, steps.JUDGE, {"changed": False})
RELEASE = on_api(Market, release, steps.JUDGE, {"changed": False})
TESTED = steps.operation(accepted, steps.JUDGE, {"changed": False})
REACHED = steps.operation(reached, steps.JUDGE, {"changed": False})
