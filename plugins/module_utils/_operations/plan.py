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
    """A plan for each of ``hosts``. What is wrong with one is told in its plan; it fails by itself, later."""
    look = _Planning(api, registries, params, check_mode)
    planned = look.run()
    above = rows.too_dear(planned["plans"])
    if not above:
        return planned
    places = [place_of(item["registry"]) for item in above]
    everywhere = any(host["max_account_price_per_hour"] for host in params["hosts"])
    settled = settle(api, params, places, registries.read_only, everywhere=everywhere)
    if settled.closed:  # the sums are others now
        planned = look.again(settled.closed, planned)
    for item in rows.too_dear(planned["plans"]):
        item["refusal"] = joined(item["refusal"], *settled.uncertain)
    return planned


class _Planning:
    """The plans of one call."""

    def __init__(self, api: Market, registries: Registries, params: Params, check_mode: bool) -> None:
        self._api = api
        self._registries = registries
        self._params = params
        self._check_mode = check_mode
        self._sweeps = LastSweeps(registries)
        self._folders_of_job = job_folders(params["sources"], params["here"])
        self._quoted: list[Declaration] = []
        self._has_looked_again = self._has_noted = False
        self._contested: dict[str, str] = {}

    def run(self) -> Result:
        """Ask, decide, note what follows, and answer."""
        hosts = [self._declared(raw) for raw in self._params["hosts"]]
        if self._params["forbidden"]:
            return self._refused(hosts, self._params["forbidden"])
        self._quoted = hosts
        bought, hosts = self._sealed(hosts)
        snapshot = self._snapshot(hosts)
        observed = _observe(self._api, hosts, snapshot, self._params["attempts"])
        late = self._late(observed.account)
        if late and not self._registries.read_only:  # the registry says something else now
            return self.again(late, BLANK)
        clock = self._registries.clock()  # once the API has answered, which tells its time
        cases = [candidates.unless_clocks_differ(self._case(host, observed, snapshot), clock) for host in hosts]
        cases = self._as_sealed(bought, cases, clock)
        is_noted, sentences = self._looked(cases, observed.account, snapshot)
        warnings = [*late, *sentences]
        if is_noted and not self._has_looked_again:
            return self.again(warnings, BLANK)
        cases = [case.at_storage for case in self._avoiding(cases, clock, warnings)]
        plans = self._planned(cases, observed.account, snapshot, clock, warnings)
        if waiting := self._waiting(cases, plans, observed.account, clock):
            return {**BLANK, "waits": True, "waiting": waiting}
        changed = self._noted(cases, snapshot, clock) or is_noted
        plans = [self._finished(case, draft, observed.statuses) for case, draft in zip(cases, plans)]
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

    def again(self, reasons: t.Iterable[str], planned: Result) -> Result:
        """The plans anew, since the registry was changed, for reasons that are told; the third time those ``planned``.

        What the API lists may lag behind the registry for as long as it likes, and then no look would be the last.
        """
        if not self._has_looked_again:
            self._has_looked_again = True
            planned = self.run()
        return {**planned, "changed": True, "warnings": [*reasons, *planned["warnings"]]}

    # What the hosts declare

    def _declared(self, raw: t.Mapping[str, t.Any]) -> Declaration:
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
        objections = filter(None, [*self._objections(host, raw["registry_dir"]), locked_out])
        return replace(host, objections=(*host.objections, *objections), locked_out=locked_out)

    def _identity_file(self, raw: t.Mapping[str, t.Any], public: str) -> str:
        """The private key that ssh is given: the one that was named, else the one beside the public key's file."""
        if named := str(raw["identity_file"] or self._params["identity_file"] or ""):
            return os.path.join(self._params["here"], os.path.expanduser(named))
        if raw["has_ssh_public_key"]:
            return ""
        # Of keys with names of their own ssh knows nothing, nor of those in a HOME that is not the user's home to the
        # system.
        private, ending = os.path.splitext(os.path.abspath(public))
        return private if ending == ".pub" and os.path.isfile(private) else ""

    def _objections(self, host: Declaration, wanted: t.Any) -> t.Iterator[str]:
        """What is wrong with a declaration, by what lies around it. ``wanted``: provision_registry_dir as given."""
        if host.refuses_unswept:
            yield self._sweeps.trouble(host.registry, refused=True)
        yield standing.shadowed_files(host, os.path.exists)
        yield standing.registry_lost_with_job(host, self._params["by_job"], self._folders_of_job)
        yield ceilings.objection_in_a_slice(host, self._params["slice_of"])
        if not os.path.exists(host.registry_file):
            yield from standing.bought_elsewhere(
                host, wanted, self._params["here"], lambda place: self._registries.at(place).entry(host.host)[0]
            )

    def _refused(self, hosts: t.Sequence[Declaration], reason: str) -> Result:
        """Nothing can be decided for the hosts of this play."""
        cases = [Case(host, read_entry(None), stopped(reason)) for host in hosts]
        plans = [Plan(host.host, STOP, refusal=reason) for host in hosts]
        return self._answer(plans, cases, Observed({}, {}, Account.of((), None)), Clock(time.time()))

    # What registry and API say

    def _snapshot(self, hosts: t.Sequence[Declaration]) -> _PlannedSnapshot:
        snapshot, params = _PlannedSnapshot(self._registries, hosts), self._params
        for raw, host in zip(params["hosts"], hosts):
            reasons = (
                snapshot.wrong_project(host.registry, host.host, host.project),
                standing.differing_databases(raw["registry_fingerprint"], params["registry_fingerprint"]),
                self._registries.stale_file_refusal(raw, params, snapshot.of(host).offer_id),
            )
            snapshot.elsewhere_because[host.host] = next(filter(None, reasons), "")
        return snapshot

    def _late(self, account: Account) -> list[str]:
        """Note, at the first look only, what freed claims have bought after all; a warning for each."""
        if self._has_looked_again:
            return []
        with refusing(RegistryError, NOTHING_SENT):
            return self._registries.note_late_purchases(account.unclaimed, functools.partial(read_by_id, self._api))

    def _case(self, host: Declaration, observed: Observed, snapshot: _PlannedSnapshot) -> Case:
        """Where the host stands. What the list does not tell of a machine that would be adopted, its offer does."""
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

    def _looked(self, cases: t.Sequence[Case], account: Account, snapshot: _PlannedSnapshot) -> tuple[bool, list[str]]:
        """Note once what machines are missing, found again or gone, if the account was listed to buy something.

        Whether anything was noted, and what of that is about these hosts. A host whose machine has ended by its offer's
        own status is free by its plan. Raises Failure.
        """
        if any((self._registries.read_only, self._has_noted, account.machines is None, not snapshot.account_entries())):
            return False, []
        self._has_noted = True
        look = look_for_missing(self._api, self._registries, snapshot, account.resources)
        known: RegistrySnapshot = snapshot
        if ceilings.has_account_ceiling(case.host for case in cases):
            known = snapshot_of_all_projects(self._registries, [case.host.registry for case in cases], snapshot)
        result = note_missing(self._api, self._params, known, look, candidates.hosts_with_void_entries(cases))
        if result.problems:
            raise Failure(joined(*result.problems, NOTHING_SENT), "unavailable")
        return bool(result.noted), result.sentences({case.host.host for case in cases})

    def _avoiding(self, cases: t.Sequence[Case], clock: Clock, warnings: list[str]) -> list[Case]:
        """The cases with what registries keep against machines; what cannot be read is a warning. Raises Failure."""
        since = clock.now() - max((case.host.avoid for case in cases), default=0.0)
        with refusing(RegistryError, NOTHING_SENT):
            kept = {place: self._registries.at(place).evidence(since) for place in candidates.evidence_places(cases)}
        warnings += [text for _evidence, unread in kept.values() for text in unread]
        return candidates.with_evidence(cases, {place: evidence for place, (evidence, _unread) in kept.items()}, clock)

    # What is decided

    def _planned(
        self, cases: t.Sequence[Case], account: Account, snapshot: _PlannedSnapshot, clock: Clock, warnings: list[str]
    ) -> list[Plan]:
        parts, unread = snapshot.parts(self._params["others"])
        pages = self._pages(dict.fromkeys(case.wanted for case in cases if case.wants_by_id))
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
            account=functools.partial(planning.prices_of_others, account, cases, snapshot.billed()),
            ledgers=self._ledgers_of_budgets(cases, clock.now()),
        )
        if self._params["plan_file"] is None:
            return find_plans(pages)
        plans, unsold = sealed.plans_at_page_prices(find_plans, cases, pages, self._pages)
        warnings += unsold
        return plans

    def _pages(self, offer_ids: t.Collection[str]) -> dict[str, SearchResult]:
        """The offers with these ids at their fresh prices, or why they cannot be read."""
        return dict(zip(offer_ids, in_parallel(self._page, offer_ids)))

    def _page(self, offer_id: str) -> SearchResult:
        try:
            return SearchResult([{**self._api.offer(offer_id), "offer_id": offer_id}])
        except ApiError as error:
            return SearchResult(reason=str(error), is_gone=error.error_class in OF_THE_OFFER)

    def _waiting(self, cases: t.Sequence[Case], plans: t.Sequence[Plan], account: Account, clock: Clock) -> str:
        """What to say if another look is worth waiting for, empty if not: a check waits for nothing."""
        may_wait = search.may_wait(self._params, self._check_mode)
        lacking = planning.lacking(cases, plans, clock.here, account.unreadable, may_wait=may_wait)
        return planning.line_of_waiting(lacking, clock.here, account.unreadable)

    def _ledgers_of_budgets(self, cases: t.Sequence[Case], now: float) -> dict[str, Ledger]:
        """This month's ledgers of the projects in which a host has a budget and would buy, of all their places.

        A place that is not known hides what was spent there.
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

    # What follows

    def _noted(self, cases: t.Sequence[Case], snapshot: _PlannedSnapshot, clock: Clock) -> bool:
        """Note what was adopted and what has come to nothing. Return whether that changes anything. Raises Failure.

        Check mode only finds out whether it would. If another run has adopted one of these machines since the registry
        was read, that host stops.
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

    def _finished(self, case: Case, draft: Plan, statuses: t.Mapping[str, Json]) -> Plan:
        status = statuses.get(case.entry.offer_id) or {}
        draft = planning.stopped_if_refused(draft, self._contested.get(draft.host, ""))
        draft = rows.keep_if_as_registered(case, draft, status, self._known_hosts(case, case.standing.offer_id))
        return rows.unless_names_are_taken(draft, self._params["inventory"])

    def _warnings(self, cases: t.Sequence[Case], plans: t.Sequence[Plan]) -> t.Iterator[str]:
        """What people must know."""
        hosts = [case.host for case in cases]
        is_quote = self._params["quote"]
        yield from map(candidates.differs_from_declared, cases)
        if not is_quote:
            yield from (*(draft.missed for draft in plans), planning.few_forks(plans, self._params["forks"]))
        yield from planning.warnings_of_kept_storage(cases, plans)
        yield from self._sweeps.warnings(rows.unswept_places(cases, plans))
        yield from update_ssh_config(self._registries, (host.registry for host in hosts))
        adopted = [(case.host.host, case.standing) for case in cases if case.standing.adopted]
        would = self._registries.read_only
        yield from (
            standing.what_is_adopted(host, stands.machines, stands.offer_id, would=would) for host, stands in adopted
        )

    # What is answered

    def _answer(self, plans: t.Sequence[Plan], cases: t.Sequence[Case], observed: Observed, clock: Clock) -> Result:
        params, round_id = self._params, uuid.uuid4().hex
        declarations = [raw["id"] for raw in params["hosts"]]
        table = [
            self._row(draft, case, round_id, declaration, clock)
            for draft, case, declaration in zip(plans, cases, declarations)
        ]
        kept_in = self._kept_in(cases)
        common = rows.common_part(
            plans,
            cases,
            table,
            serial=params["serial"],
            one_tells_all=params["one_tells_all"],
            check_mode=self._check_mode,
            round=round_id,
            decided=[*params["decided"], *params["ids"]],
            registry=kept_in,
            without_offer=observed.account.without_offer,
            would=quote.what_is_bought(plans) if self._check_mode else "",
            logins=self._login(cases),
        )
        answer: Result = {**BLANK, "plans": rows.rows_to_act_on(table), "common": common}
        if not params["quote"]:
            return {**answer, **rows.published_stats(plans, cases)}
        result = quote.quoted(plans, kept_in, params["plan_file"])
        about = self._quoted, self._api.account, round_id[:12], clock.now(API_CLOCK)
        return {**answer, **result, "plan": sealed.draft(result["ansible_stats"]["data"]["quote"], *about)}

    def _row(self, draft: Plan, case: Case, round_id: str, declaration: str, clock: Clock) -> Result:
        known_hosts = self._known_hosts(case, draft.offer_id)
        ids = {"round_id": round_id, "declaration": declaration}
        ahead = self._registries.ahead()
        row = rows.plan_row(draft, case, **ids, known_hosts=known_hosts, ahead=ahead, check_mode=self._check_mode)
        if draft.action == BUY:
            note = case.host.noted_of_purchase(clock)
            row["purchases"] = [rows.purchase(draft, case, row, self._api.account, note)]
        return row

    def _kept_in(self, cases: t.Sequence[Case]) -> str:
        """Where the hosts are remembered, for a line of the play."""
        places = dict.fromkeys(filter(None, (case.host.registry for case in cases)))
        try:
            return rows.line_of_registries(
                [self._registries.at(place).name() for place in places], self._params["here"]
            )
        except RegistryError as error:
            return f"no registry: {error}"

    def _login(self, cases: t.Sequence[Case]) -> list[str]:
        """How people log in to what runs."""
        path = next((case.host.registry.ssh_config for case in cases if case.host.registry), "")
        if self._check_mode and not os.path.exists(path):
            path = ""
        return [rows.login(path, self._params["here"])] if path else []


class _PlannedSnapshot(RegistrySnapshot):
    """What the registries say: of the hosts that are planned, and of all others in their folders."""

    def __init__(self, registries: Registries, hosts: t.Sequence[Declaration]) -> None:
        super().__init__(registries, (host.registry for host in hosts))
        self._registries = registries
        self.elsewhere_because: dict[str, str] = {}  # why nothing happens for a host: it is remembered elsewhere
        self._planned = {(host.registry, host.host) for host in hosts}

    def of(self, host: Declaration) -> Entry:
        """The host's entry. Without a registry what an earlier run of the role in this play has given to the host."""
        return read_entry(host.known) if host.by_name else self.entry(host.registry, host.host)

    def trouble(self, place: Place, host: str) -> str:
        """Why the host's entry cannot be read, or is not all that there is; empty otherwise."""
        return super().trouble(place, host) or self.elsewhere_because.get(host, "")

    def others(self) -> t.Iterator[tuple[str, Entry]]:
        """The entries of hosts that are not planned."""
        for place, name, entry in self.host_entries():
            if (place, name) not in self._planned:
                yield name, entry

    def taken(self, planned: t.Iterable[Entry]) -> set[str]:
        """Offers that are spoken for: what an entry names its host has, or may still buy."""
        return standing.offers_of([*(entry for _name, entry in self.others()), *planned])

    def parts(self, facts: t.Mapping[str, t.Any]) -> tuple[list[CeilingPart], list[str]]:
        """What further hosts of the play cost, and those of which that is unknown.

        A shared registry knows all that is billed in its projects, and that is what its users mean.
        """
        known = dict(self.others())
        if any(place.keeps_sums for place, _host in self._planned):
            return ceilings.parts_of_entries([*known.items(), *self.stray_entries().items()]), []
        parts, unread = ceilings.parts_of_other_hosts(facts, known, has_registry=bool(self._read))
        return [*parts, *ceilings.parts_of_entries(self.stray_entries().items())], unread

    def billed(self) -> list[tuple[str, Entry]]:
        """What is remembered here, but for the hosts that are planned."""
        return [*self.others(), *self.other_entries()]

    def note(self, cases: t.Iterable[Case], clock: Clock) -> tuple[bool, dict[str, str]]:
        """Remove what has come to nothing, note what was adopted and is protected; whether that changed anything.

        And by host why that cannot be done, since others have what it would take over.
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
            return False  # what another run has begun since, the purchase meets
        if registry.read_only:
            return True
        if case.is_void:
            with contextlib.suppress(Claimed):  # as above
                note_and_end(registry, case.changes_before_removal)
        # What is about no purchase is changed only if the entry is still as it was read.
        for keep, changes in (
            (registry.note, rows.note_of_taken_over(case, clock)),
            (registry.compare_and_set, rows.changes_of_protection(case, clock)),
        ):
            if changes:
                keep(changes)
        return True


def _observe(
    api: Market, hosts: t.Sequence[Declaration], snapshot: _PlannedSnapshot, attempts: standing.Attempts
) -> Observed:
    """All that is asked before anything is decided: entries, the statuses of their offers, the account's machines.

    Machines that decide, or of which it is not certain that they are a host's, are read by their ids.
    """
    entries = {host.host: snapshot.of(host) for host in hosts}
    statuses = offer_statuses(api, standing.offers_of(entries.values()))
    claims = [standing.claim_of_host(host, entries[host.host]) for host in hosts]
    claims += [ownership.noted_claim(name, entry) for name, entry in snapshot.billed()]
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
    """The same with the account's machines and their owners, by all claims."""
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
    read = {**dict.fromkeys(ids), **read_by_id(api, ids, retries=None)}
    return replace(observed, account=replace(Account.of(claims, refreshed(machines, read)), read=read))


class _Searches:
    """Each different search of these cases is sent once, or until it has brought an offer for each of them.

    ``taken``: offers that are spoken for; ``taken_offers`` adds those that a search still lists.
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
        self._bought_of = taken_offers
        self._sent: dict[str, SearchResult] = {}  # by what is searched for; that cannot be hashed
        self._found: dict[str, SearchResult] = {}

    def of(self, host: Declaration) -> SearchResult:
        """What the host's searches find, best first, without what is not what was asked for."""
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
        """The offers that fit, cheapest first, or why there is no answer."""
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
        return SearchResult(candidates.pooled(offers, is_short, functools.partial(self._again, spec)), reason=reason)

    def _again(self, spec: t.Mapping[str, t.Any]) -> list[Offer]:
        """What the same search brings now; nothing if that fails."""
        with contextlib.suppress(Failure, ApiError):
            return self._find(spec)[0]
        return []

    def _find(self, spec: t.Mapping[str, t.Any]) -> tuple[list[Offer], str, list[str]]:
        """The offers that fit, or why the answer is of no use, and warnings."""
        found, _total, warnings = find(self._api, spec)
        offers, reason = search.matching_offers(spec, found)
        self._taken |= self._bought_of([offer["offer_id"] for offer in offers])
        return offers, reason, warnings


PLAN = on_api(Market, plan, steps.PLAN, BLANK)
