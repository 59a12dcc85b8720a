# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan for all hosts of a play at once: read the registry, ask the API, and let `_provision` decide."""

from __future__ import annotations

import contextlib
import functools
import os
import time
import typing as t
import uuid
from dataclasses import replace

from .._ansible import steps
from .._ansible.operation import ADVICE, Failure, Params, Result, on_api, refusing
from .._api.client import ApiError, Json
from .._api.market import Market
from .._provision import (
    candidates,
    ceilings,
    ownership,
    planning,
    quote,
    rows,
    sealed,
    search,
    standing,
)
from .._provision.candidates import Case, SearchResult
from .._provision.ceilings import CeilingPart, State
from .._provision.declaration import Declaration, read_declaration, why_key_unsuited, why_locked_out
from .._provision.entry import Entry, read_entry
from .._provision.lease import API_CLOCK, Clock
from .._provision.messages import NOTHING_BOUGHT, NOTHING_SENT
from .._provision.ownership import Account, OwnershipClaim, refreshed
from .._provision.place import Place, place_of
from .._provision.planning import BUY, STOP, Plan
from .._provision.purchase import OF_THE_OFFER
from .._provision.sealed import SealedPlan
from .._provision.search import Offer
from .._provision.spending import Ledger
from .._provision.standing import Observed, ids_to_prove, standing_of, stopped
from .._registry._files import readable_text
from .._registry._postgresql import Contested
from .._registry._protocol import Claimed, RegistryError, note_and_end
from .._registry._stores import job_folders
from .._text import joined
from ._missing import look_for_missing, note_missing, snapshot_of_all_projects
from ._registries import LastSweeps, Registries, RegistrySnapshot, update_ssh_config, with_registries
from .procure_offer import settle
from .reading import find, in_parallel, offer_statuses, read_by_id

BLANK: Result = {"changed": False, "plans": [], "waits": False}


@with_registries
def plan(api: Market, registries: Registries, params: Params, check_mode: bool) -> Result:
    """Return a plan for each of ``hosts``. A host that must not buy gets the reason in its plan, and fails later."""
    look = _Planning(api, registries, params, check_mode)
    planned = look.run()
    above = rows.above_ceilings(planned["plans"])
    if not above:
        return planned
    places = [place_of(item["registry"]) for item in above]
    everywhere = any(host["max_account_price_per_hour"] for host in params["hosts"])
    settled = settle(api, params, places, registries.read_only, everywhere=everywhere)
    if settled.closed:  # the sums have changed
        planned = look.run_again(settled.closed, planned)
    for item in rows.above_ceilings(planned["plans"]):
        item["refusal"] = joined(item["refusal"], *settled.uncertain)
    return planned


class _Planning:
    """Makes the plans of one call."""

    def __init__(self, api: Market, registries: Registries, params: Params, check_mode: bool) -> None:
        self._api = api
        self._registries = registries
        self._params = params
        self._check_mode = check_mode
        self._sweeps = LastSweeps(registries)
        self._folders_of_job = job_folders(params["sources"], params["here"])
        self._places = dict.fromkeys(registries.place(raw, params) for raw in params["hosts"])
        self._quoted: list[Declaration] = []
        self._has_looked_again = self._has_noted = False
        self._contested: dict[str, str] = {}

    def run(self) -> Result:
        """Ask registries and API, decide, note what follows, and return the plans."""
        hosts = [self._declaration(raw) for raw in self._params["hosts"]]
        if self._params["forbidden"]:
            return self._refused(hosts, self._params["forbidden"])
        self._quoted = hosts
        bought, hosts = self._sealed(hosts)
        snapshot = self._snapshot(hosts)
        observed = _observe(self._api, hosts, snapshot, self._params["attempts"])
        late = self._note_late_purchases(observed.account)
        if late and not self._registries.read_only:  # the registry has changed
            return self.run_again(late, BLANK)
        clock = self._registries.clock()  # once the API has answered, which tells its time
        cases = [candidates.unless_clocks_differ(self._case(host, observed, snapshot), clock) for host in hosts]
        moved = self._registries.ended_bills((host.registry for host in hosts), observed.account.unclaimed)
        cases = [candidates.unless_moved_away(case, moved, observed.account.unclaimed) for case in cases]
        cases = self._as_sealed(bought, cases, clock)
        is_noted, sentences = self._note_missing(cases, observed.account, snapshot)
        warnings = [*late, *sentences]
        if is_noted and not self._has_looked_again:
            return self.run_again(warnings, BLANK)
        cases = [case.at_storage for case in self._with_evidence(cases, clock, warnings)]
        plans = self._plans(cases, observed.account, snapshot, clock, warnings)
        if waiting := self._waiting_line(cases, plans, observed.account, clock):
            return {**BLANK, "waits": True, "waiting": waiting}
        changed = self._note(cases, snapshot, clock)
        plans = [self._finish(case, draft, observed.statuses) for case, draft in zip(cases, plans)]
        warnings += self._warnings(cases, plans)
        answer = self._answer(plans, cases, observed, clock)
        return {**answer, "changed": changed, "warnings": list(dict.fromkeys(filter(None, warnings)))}

    def _sealed(self, hosts: list[Declaration]) -> tuple[SealedPlan | None, list[Declaration]]:
        """The sealed plan that these hosts buy, or why it is refused, and the hosts as it binds them; None if none."""
        if self._params["sealed"]:
            whole = SealedPlan.of(self._params["sealed"], self._params["api_token"])
            bought = whole.compared(hosts, self._api.account, further=bool(self._params["attempts"]))
            return bought, [bought.bound(host) for host in hosts]
        return None, hosts

    def run_again(self, reasons: t.Iterable[str], planned: Result) -> Result:
        """Plan once more, since the registry has changed, and add the ``reasons`` as warnings.

        Only once: the API's list may lag behind the registry for any time, so there might be no last look. After that,
        the plans stay as ``planned``.
        """
        if not self._has_looked_again:
            self._has_looked_again = True
            planned = self.run()
        return {**planned, "changed": True, "warnings": [*reasons, *planned["warnings"]]}

    # Declarations

    def _declaration(self, raw: t.Mapping[str, t.Any]) -> Declaration:
        params = self._params
        public = os.path.expanduser(str(raw["ssh_public_key_file"]))
        here = {
            "connection": raw["connection"] or params["connection"],
            "identity_file": self._identity_file(raw, public),
        }
        public_key = readable_text(public)
        # A quote needs no key.
        key_fault = "" if params["quote"] else why_key_unsuited(raw, os.path.abspath(public), public_key)
        place = self._registries.place(raw, params)
        host = read_declaration({**raw, **here}, place, key_fault, time.time(), params["no_login"])
        locked_out = why_locked_out(host, raw["ssh_fingerprint"], public_key, params["job_keys"])
        objections = filter(None, [*self._objections(host, raw), locked_out])
        return replace(host, objections=(*host.objections, *objections), locked_out=locked_out)

    def _identity_file(self, raw: t.Mapping[str, t.Any], public: str) -> str:
        """The private key for ssh: the one that was named, else the one next to the file of the public key."""
        if named := str(raw["identity_file"] or self._params["identity_file"] or ""):
            return os.path.join(self._params["here"], os.path.expanduser(named))
        if raw["has_ssh_public_key"]:
            return ""
        # Without an option, ssh finds only keys with usual names, in the user's home by the system, which may differ
        # from HOME.
        private, ending = os.path.splitext(os.path.abspath(public))
        return private if ending == ".pub" and os.path.isfile(private) else ""

    def _objections(self, host: Declaration, raw: t.Mapping[str, t.Any]) -> t.Iterator[str]:
        """Objections to a declaration because of sweeps, files, the job or other registries. Empty texts are none."""
        if host.refuses_unswept:
            yield self._sweeps.trouble(host.registry, refused=True)
        yield self._registries.at(host.registry).why_no_purchase()
        yield standing.shadowed_files(host, os.path.exists)
        yield standing.registry_lost_with_job(host, self._params["by_job"], self._folders_of_job)
        yield ceilings.objection_to_a_part(host, self._params["slice_of"], in_batches=self._params["in_batches"])
        yield from self._registries.bought_elsewhere(raw, self._params, host.registry, self._places)

    def _refused(self, hosts: t.Sequence[Declaration], reason: str) -> Result:
        """The plans if all hosts of the play stop for this reason."""
        cases = [Case(host, read_entry(None), stopped(reason)) for host in hosts]
        plans = [Plan(host.host, STOP, refusal=reason) for host in hosts]
        return self._answer(plans, cases, Observed({}, {}, Account.of((), None)), Clock(time.time()))

    # Registries and API

    def _snapshot(self, hosts: t.Sequence[Declaration]) -> _PlannedSnapshot:
        snapshot, params = _PlannedSnapshot(self._registries, hosts), self._params
        for raw, host in zip(params["hosts"], hosts):
            reasons = (
                snapshot.wrong_project(host.registry, host.host, host.project),
                standing.differing_databases(raw["registry_fingerprint"], params["registry_fingerprint"]),
                self._registries.stale_file_refusal(raw, params, snapshot.of(host).offer_id),
            )
            snapshot.reasons_to_stop[host.host] = next(filter(None, reasons), "")
        return snapshot

    def _note_late_purchases(self, account: Account) -> list[str]:
        """Note, at the first look only, what freed claims have bought after all. Return a warning for each."""
        if self._has_looked_again:
            return []
        with refusing(RegistryError, NOTHING_SENT):
            return self._registries.note_late_purchases(account.unclaimed, functools.partial(read_by_id, self._api))

    def _case(self, host: Declaration, observed: Observed, snapshot: _PlannedSnapshot) -> Case:
        """The case of a host. If it would adopt a machine, its offer is read for details that the list lacks."""
        entry, trouble = observed.entries[host.host], snapshot.trouble(host.registry, host.host)
        if trouble:
            stands = stopped(f"{trouble} {NOTHING_SENT}")
        else:
            stands = standing_of(host, entry, observed.status(host), observed.account)
        kept = snapshot.storage_of(host.registry, host.host)
        case = Case(host, entry, stands, self._params["attempts"].get(host.host) or (), kept)
        if case.adopted_offer_id:
            with contextlib.suppress(ApiError):
                return case.unless_unfit(self._api.offer(case.adopted_offer_id))
        return case

    def _as_sealed(self, bought: SealedPlan | None, cases: list[Case], clock: Clock) -> list[Case]:
        """The cases; all of them stop if one is not as the sealed plan says."""
        if bought:
            ledger = self._ledger(bought.places(cases), bought.since, clock.now())
            return bought.checked(cases, ledger, clock.now(API_CLOCK))
        return cases

    def _note_missing(
        self, cases: t.Sequence[Case], account: Account, snapshot: _PlannedSnapshot
    ) -> tuple[bool, list[str]]:
        """Note, once, which machines are missing, found again or gone, if the account was listed.

        Return whether anything was noted, and sentences about these hosts. Hosts whose machine has ended by its offer's
        status are left out: their plan frees them. Raises Failure.
        """
        if any((self._registries.read_only, self._has_noted, account.machines is None, not snapshot.account_entries())):
            return False, []
        self._has_noted = True
        look = look_for_missing(self._api, self._params, self._registries, snapshot, account.resources)
        known: RegistrySnapshot = snapshot
        if ceilings.has_account_ceiling(case.host for case in cases):
            known = snapshot_of_all_projects(self._registries, [case.host.registry for case in cases], snapshot)
        result = note_missing(self._api, self._params, known, look, candidates.hosts_with_void_entries(cases))
        if result.problems:
            raise Failure(joined(*result.problems, NOTHING_SENT), "unavailable")
        return bool(result.noted), result.sentences({case.host.host for case in cases})

    def _with_evidence(self, cases: t.Sequence[Case], clock: Clock, warnings: list[str]) -> list[Case]:
        """The cases with the registries' evidence against machines. Adds a warning for unreadable evidence.

        Raises Failure if a registry cannot be read.
        """
        since = clock.now() - max((case.host.avoid for case in cases), default=0.0)
        with refusing(RegistryError, NOTHING_SENT):
            kept = {place: self._registries.at(place).evidence(since) for place in candidates.evidence_places(cases)}
        warnings += [text for _evidence, unread in kept.values() for text in unread]
        return candidates.with_evidence(cases, {place: evidence for place, (evidence, _unread) in kept.items()}, clock)

    # Decisions

    def _plans(
        self, cases: t.Sequence[Case], account: Account, snapshot: _PlannedSnapshot, clock: Clock, warnings: list[str]
    ) -> list[Plan]:
        parts, unread = snapshot.ceiling_parts(self._params["others"])
        pages = self._pages(dict.fromkeys(case.wanted_offer_id for case in cases if case.wants_by_id))
        taken = snapshot.taken(case.entry for case in cases) | self._registries.taken_offers(pages)
        unreadable = [case.host.host for case in cases if snapshot.trouble(case.host.registry, case.host.host)]
        find_plans = functools.partial(
            planning.host_plans,
            cases,
            _Searches(self._api, cases, warnings, taken, self._registries.taken_offers).of,
            taken=taken,
            others=[*parts, *(CeilingPart(host, None, State.UNREAD) for host in unreadable)],
            unread=unread,
            failed=self._params["failed"],
            now=clock.now(),
            account=functools.partial(planning.prices_of_others, account, cases, snapshot.all_unplanned()),
            ledgers=self._ledgers_of_budgets(cases, clock.now()),
        )
        if self._params["plan_file"] is None:
            return find_plans(pages)
        plans, unsold = sealed.plans_at_page_prices(find_plans, cases, pages, self._pages)
        warnings += unsold
        return plans

    def _pages(self, offer_ids: t.Collection[str]) -> dict[str, SearchResult]:
        """The offers with these ids at their present prices, or why they cannot be read."""
        return dict(zip(offer_ids, in_parallel(self._page, offer_ids)))

    def _page(self, offer_id: str) -> SearchResult:
        try:
            return SearchResult([{**self._api.offer(offer_id), "offer_id": offer_id}])
        except ApiError as error:
            return SearchResult(reason=str(error), is_gone=error.error_class in OF_THE_OFFER)

    def _waiting_line(self, cases: t.Sequence[Case], plans: t.Sequence[Plan], account: Account, clock: Clock) -> str:
        """The line for people if the task waits and looks again for offers; else empty."""
        may_wait = search.may_wait(self._params, self._check_mode)
        lacking = planning.lacking(cases, plans, clock.here, account.unreadable, may_wait=may_wait)
        return planning.line_of_waiting(lacking, clock.here, account.unreadable)

    def _ledgers_of_budgets(self, cases: t.Sequence[Case], now: float) -> dict[str, Ledger]:
        """This month's ledgers, by project, of projects in which a host has a budget and would buy, from all places.

        A ledger is unreadable if not all places of its project are known.
        """
        _name, begin, _end = ceilings.month_of(now)
        params = self._params
        hosts = planning.counted_in_budgets(cases, [*params["hosts"], *params["elsewhere"]])
        places = {project: [self._registries.place(raw, params) for raw in raws] for project, raws in hosts.items()}
        ledgers = {project: self._ledger(places[project], begin, now) for project in places}
        untold = joined(*params["untold"])
        return {key: replace(item, unreadable=joined(item.unreadable, untold)) for key, item in ledgers.items()}

    def _ledger(self, places: t.Iterable[Place], begin: float, now: float) -> Ledger:
        try:
            return self._registries.ledger(places, begin)
        except RegistryError as error:
            return Ledger((), now, unreadable=str(error))

    # Notes

    def _note(self, cases: t.Sequence[Case], snapshot: _PlannedSnapshot, clock: Clock) -> bool:
        """Note adopted machines and protection, and remove void entries. Return whether that changes the registry.

        In check mode, only return whether it would. A host stops if another run has adopted its machine meanwhile.
        Raises Failure.
        """
        if self._params["quote"]:
            return False
        with refusing(RegistryError, NOTHING_SENT):
            changed, self._contested = snapshot.note(cases, clock)
            for case in cases if not self._check_mode else ():
                self._registries.pin_host_keys(case.host.registry, case.host.host, case.entry)
        return changed

    def _known_hosts(self, case: Case, offer_id: str) -> str:
        return self._registries.at(case.host.registry).known_hosts(case.host.host, offer_id)

    def _finish(self, case: Case, draft: Plan, statuses: t.Mapping[str, Json]) -> Plan:
        status = statuses.get(case.entry.offer_id) or {}
        draft = planning.unless_refused(draft, self._contested.get(draft.host, ""))
        draft = rows.keep_if_as_registered(case, draft, status, self._known_hosts(case, case.standing.offer_id))
        return rows.unless_names_are_taken(draft, self._params["inventory"])

    def _warnings(self, cases: t.Sequence[Case], plans: t.Sequence[Plan]) -> t.Iterator[str]:
        """The warnings of the plans; also updates the ssh configuration."""
        yield from map(candidates.declaration_warning, cases)
        if not self._params["quote"]:
            yield from (*(draft.missed for draft in plans), planning.fork_warning(plans, self._params["forks"]))
        yield from planning.warnings_of_kept_storage(cases, plans)
        yield from self._sweeps.warnings(rows.unswept_places(cases, plans))
        yield from update_ssh_config(self._registries, (case.host.registry for case in cases))
        would = self._registries.read_only
        for host, stands in ((case.host, case.standing) for case in cases if case.standing.adopted):
            yield standing.what_is_adopted(host, stands.machines, stands.offer_id, would=would)

    # Result

    def _answer(self, plans: t.Sequence[Plan], cases: t.Sequence[Case], observed: Observed, clock: Clock) -> Result:
        params, round_id = self._params, uuid.uuid4().hex
        declarations = [raw["id"] for raw in params["hosts"]]
        table = [
            self._row(draft, case, round_id, declaration, clock)
            for draft, case, declaration in zip(plans, cases, declarations)
        ]
        registry_line = self._registry_line(cases)
        common = rows.common_part(
            plans,
            cases,
            table,
            serial=params["serial"],
            one_tells_all=params["one_tells_all"],
            check_mode=self._check_mode,
            round=round_id,
            decided=[*params["decided"], *params["ids"]],
            registry=registry_line,
            without_offer=observed.account.without_offer,
            would=quote.purchase_summary(plans) if self._check_mode else "",
            logins=self._login_lines(cases),
        )
        answer: Result = {**BLANK, "plans": rows.rows_to_act_on(table), "common": common}
        if not params["quote"]:
            return {**answer, **rows.published_stats(plans, cases)}
        result = quote.quoted(plans, registry_line, params["plan_file"])
        published = result["ansible_stats"]["data"]["quote"]
        draft = sealed.draft(published, self._quoted, self._api.account, round_id[:12], clock.now(API_CLOCK))
        return {**answer, **result, "plan": draft}

    def _row(self, draft: Plan, case: Case, round_id: str, declaration: str, clock: Clock) -> Result:
        known_hosts = self._known_hosts(case, draft.offer_id)
        ids = {"round_id": round_id, "declaration": declaration}
        ahead = self._registries.ahead()
        row = rows.plan_row(draft, case, **ids, known_hosts=known_hosts, ahead=ahead, check_mode=self._check_mode)
        if draft.action == BUY:
            note = case.host.noted_of_purchase(clock)
            row["purchases"] = [rows.purchase_row(draft, case, row, self._api.account, note)]
        return row

    def _registry_line(self, cases: t.Sequence[Case]) -> str:
        """The line for people that names the registries of the hosts."""
        places = dict.fromkeys(filter(None, (case.host.registry for case in cases)))
        try:
            return rows.line_of_registries(
                [self._registries.at(place).name() for place in places], self._params["here"]
            )
        except RegistryError as error:
            return f"no registry: {error}"

    def _login_lines(self, cases: t.Sequence[Case]) -> list[str]:
        """The line that says how to log in to the machines; none without an ssh configuration."""
        path = next((case.host.registry.ssh_config for case in cases if case.host.registry), "")
        if self._check_mode and not os.path.exists(path):
            path = ""
        return [rows.login_command(path, self._params["here"])] if path else []


class _PlannedSnapshot(RegistrySnapshot):
    """The entries of the planned hosts, and of all other hosts in their registries."""

    def __init__(self, registries: Registries, hosts: t.Sequence[Declaration]) -> None:
        super().__init__(registries, (host.registry for host in hosts))
        self._registries = registries
        self.reasons_to_stop: dict[str, str] = {}  # by host, if another registry or project has its entry
        self._planned = {(host.registry, host.host) for host in hosts}

    def of(self, host: Declaration) -> Entry:
        """The host's entry; without a registry, what the role has set in host variables earlier in this play."""
        return read_entry(host.known) if host.by_name else self.entry(host.registry, host.host)

    def trouble(self, place: Place, host: str) -> str:
        """Why the host's entry cannot be read, or why another registry or project has it; empty if it can be used."""
        return super().trouble(place, host) or self.reasons_to_stop.get(host, "")

    def unplanned(self) -> t.Iterator[tuple[str, Entry]]:
        """The entries of hosts that are not planned."""
        for place, name, entry in self.host_entries():
            if (place, name) not in self._planned:
                yield name, entry

    def taken(self, planned: t.Iterable[Entry]) -> set[str]:
        """The offers that any entry names: its host has bought them, or may still buy them."""
        return {*standing.offers_of([*(entry for _name, entry in self.unplanned()), *planned])}

    def ceiling_parts(self, facts: t.Mapping[str, t.Any]) -> tuple[list[CeilingPart], list[str]]:
        """The prices of hosts that are not planned, for ceilings, and the hosts whose prices are unknown.

        With a shared registry, they are all hosts of the project; otherwise the hosts of the play (``facts``) and of
        the folder.
        """
        known = dict(self.unplanned())
        if any(place.keeps_sums for place, _host in self._planned):
            return ceilings.parts_of_entries([*known.items(), *self.stray_entries().items()]), []
        parts, unread = ceilings.parts_of_other_hosts(facts, known, has_registry=bool(self._read))
        return [*parts, *ceilings.parts_of_entries(self.stray_entries().items())], unread

    def all_unplanned(self) -> list[tuple[str, Entry]]:
        """All entries except those of planned hosts, also of other projects, stray machines and kept storage."""
        return [*self.unplanned(), *self.other_entries()]

    def note(self, cases: t.Iterable[Case], clock: Clock) -> tuple[bool, dict[str, str]]:
        """Remove void entries, and note adopted machines and protection. Return whether that changes anything.

        Also returns, by host, why it cannot adopt its machine: another host or run has it.
        """
        due = [
            case
            for case in cases
            if any((case.is_void, case.standing.adopted, rows.changes_of_protection(case, clock)))
        ]
        noted, contested = False, {}
        for case in due:
            try:
                noted |= not self.trouble(case.host.registry, case.host.host) and self._note(case, clock)
            except (Claimed, Contested) as error:
                contested[case.host.host] = f"{error} {NOTHING_SENT}"
        return noted, contested

    def _note(self, case: Case, clock: Clock) -> bool:
        registry = self._registries.at(case.host.registry).host(case.host.host)
        if registry is None or not standing.is_unchanged(case.entry, read_entry(registry.read())):
            return False  # another run has started a purchase, which ours will find
        if registry.read_only:
            return True
        if case.is_void:
            with contextlib.suppress(Claimed):  # as above
                note_and_end(registry, case.changes_before_removal)
        # Changes that are not part of a purchase are noted only if the entry is still as it was read.
        for keep, changes in (
            (registry.note, rows.note_of_adoption(case, clock)),
            (registry.compare_and_set, rows.changes_of_protection(case, clock)),
        ):
            if changes:
                keep(changes)
        return True


def _observe(
    api: Market, hosts: t.Sequence[Declaration], snapshot: _PlannedSnapshot, attempts: standing.Attempts
) -> Observed:
    """Collect all facts for the decisions: entries, the statuses of their offers, and the account's machines.

    Machines whose state or owner decides are read by their ids.
    """
    entries = {host.host: snapshot.of(host) for host in hosts}
    statuses = offer_statuses(api, standing.offers_of(entries.values()))
    claims = [standing.claim_of_host(host, entries[host.host]) for host in hosts]
    claims += [ownership.noted_claim(name, entry) for name, entry in snapshot.all_unplanned()]
    observed = Observed(entries, statuses, Account.of(claims, None))
    if any(standing.needs_list(host, entries[host.host], observed.status(host)) for host in hosts):
        observed = _with_account(api, claims, hosts, observed, attempts)
    read = read_by_id(api, ids_to_prove(entries, statuses, observed.account))
    return replace(observed, account=replace(observed.account, read={**observed.account.read, **read}))


def _with_account(
    api: Market,
    claims: t.Sequence[OwnershipClaim],
    hosts: t.Sequence[Declaration],
    observed: Observed,
    attempts: standing.Attempts,
) -> Observed:
    """Add the account's machines, and their owners by all claims."""
    try:
        machines = standing.without_ended(api.resources(), attempts)
    except ApiError as error:
        advice = ADVICE.get(error.error_class, "")
        text = joined(str(error), advice, NOTHING_BOUGHT)
        return replace(observed, account=Account.of(claims, None, text))
    observed = replace(observed, account=Account.of(claims, machines))
    ids = standing.ids_to_read(hosts, observed)
    if not ids:
        return observed
    read = read_by_id(api, ids, retries=None)
    account = Account.of(claims, refreshed(machines, read, ids.difference(read)))
    return replace(observed, account=replace(account, read={**dict.fromkeys(ids), **read}))


class _Searches:
    """Sends each distinct search of the cases once, or again until it has found an offer for each case.

    ``taken``: offers that registries name. ``taken_offers`` finds those that other hosts have, and they are added.
    """

    def __init__(
        self,
        api: Market,
        cases: t.Sequence[Case],
        warnings: list[str],
        taken: set[str],
        taken_offers: t.Callable[[t.Collection[str]], set[str]],
    ) -> None:
        self._api = api
        self._cases = cases
        self._warnings = warnings
        self._taken = taken
        self._taken_offers = taken_offers
        self._sent: dict[str, SearchResult] = {}  # by the text of a spec, since a spec cannot be hashed
        self._found: dict[str, SearchResult] = {}

    def of(self, host: Declaration) -> SearchResult:
        """The matching offers of the host's searches, best first."""
        wanted = repr((host.choices, host.order))
        if wanted not in self._found:
            self._found[wanted] = self._choose(host)
        return self._found[wanted]

    def _choose(self, host: Declaration) -> SearchResult:
        seen, beyond = [], []
        for choice in host.choices:
            answer = self._search(choice.spec)
            if answer.reason:
                return answer
            seen.append(answer.offers)
            wider = map(self._search, search.without_limits(choice.spec, answer.offers))
            beyond.append([offer for result in wider for offer in result.offers])
        return SearchResult.of(host, seen, beyond)

    def _search(self, spec: t.Mapping[str, t.Any]) -> SearchResult:
        """The matching offers, cheapest first, or why the search failed."""
        if (wanted := repr(spec)) not in self._sent:
            self._sent[wanted] = self._ask(spec)
        return self._sent[wanted]

    def _ask(self, spec: t.Mapping[str, t.Any]) -> SearchResult:
        try:
            offers, reason, warnings = self._find(spec)
        except Failure as error:
            return SearchResult(reason=str(error))
        except ApiError as error:
            said = joined(str(error), ADVICE.get(error.error_class, ""))
            return SearchResult(reason=said, is_transient=error.transient)
        self._warnings += warnings
        is_short = functools.partial(candidates.is_short, self._cases, spec, self._taken)
        return SearchResult(candidates.pooled(offers, is_short, functools.partial(self._repeat, spec)), reason=reason)

    def _repeat(self, spec: t.Mapping[str, t.Any]) -> list[Offer]:
        """The offers of the same search now; none if it fails."""
        with contextlib.suppress(Failure, ApiError):
            return self._find(spec)[0]
        return []

    def _find(self, spec: t.Mapping[str, t.Any]) -> tuple[list[Offer], str, list[str]]:
        """The matching offers, or why the answer cannot be used, and warnings."""
        found, _total, warnings = find(self._api, spec)
        offers, reason = search.matching_offers(spec, found)
        self._taken |= self._taken_offers([offer["offer_id"] for offer in offers])
        return offers, reason, warnings


PLAN = on_api(Market, plan, steps.PLAN, BLANK)
