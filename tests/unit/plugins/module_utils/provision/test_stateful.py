# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random sequences of plays against a model of the API, which knows who owns what: kills, lost answers, other buyers.

Offers come with storage in each form, which outlives its machine; a vendor ends machines, strangers buy storage alone,
registries are lost, and hosts end. The decisions are the collection's: standing, plan, verdict, end, entries. The API,
the purchase and the store are a small model of what `procure_offer` and the registry promise: note the offer before it
is sent and the answer after it, and keep storage.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.compute_index.supply.plugins.module_utils._provision import rows, storage
from ansible_collections.compute_index.supply.plugins.module_utils._provision.candidates import Case, SearchResult
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ceilings import parts_of_entries
from ansible_collections.compute_index.supply.plugins.module_utils._provision.declaration import Declaration
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ending import (
    Action,
    ApiView,
    EndRequest,
    ids_to_read_before_end,
    what_ends,
    with_storage,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import (
    Entry,
    read_entry,
    storage_kept_by,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.holdings import links_in
from ansible_collections.compute_index.supply.plugins.module_utils._provision.judging import JudgedHost
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import (
    Account,
    OwnershipClaim,
    claim_of,
    noted_claim,
    refreshed,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.planning import (
    BUY,
    STOP,
    Plan,
    host_plans,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.purchase import Verdict
from ansible_collections.compute_index.supply.plugins.module_utils._provision.standing import ids_to_prove, standing_of
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import (
    Storage,
    Variables,
    other_storage,
)
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from provision_samples import billed, host, machine, machine_id, offer, offer_id
from storage_samples import FORMS, PRICE, Form, Volume, linked, listed

STRANGER = "a stranger"
HOSTS = ("gpu", "gpu-1", "train")
# Outcomes of a purchase that is sent
ANSWERS = (
    *("ready", "ready", "ready", "slow", "failed", "failed, left nothing", "conflict", "gone", "dearer"),
    *("lost, bought", "lost, not bought", "killed before", "killed after", "killed, arrives later"),
)
CHANGES = (
    *("offer", "expires", "bought", "dearer", "cheaper"),
    *("ready", "deleted", "namesake", "lost", "arrives", "arrives", "storage", "storage ends"),
)
MOMENT = "2026-01-31T12:00:00Z"


class Killed(Exception):
    """The play was killed here."""


@dataclass
class ApiOffer:
    """An offer at the API, at the price of machine and storage. ``phase``: by its status.

    ``form``: of the storage that it comes with, if any.
    """

    price_per_hour: float
    form: Form | None = None
    phase: str = "unbought"
    buyer: str = ""


@dataclass
class Api:
    """The true state, of which hosts see only statuses, lists and pages."""

    offers: dict[str, ApiOffer] = field(default_factory=dict)
    machines: dict[str, dict[str, Any]] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    foreign_storage: dict[str, list[Volume]] = field(default_factory=dict)  # storage of strangers, by machine
    in_flight: list[tuple[str, str, float]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def add(self, price: float, form: Form | None = None) -> None:
        self.offers[offer_id(next(self.numbers))] = ApiOffer(price, form)

    def buy(self, bought: str, buyer: str, name: str, phase: str = "ready", status: str = "running") -> str:
        number, api_offer = next(self.numbers), self.offers[bought]
        assert api_offer.phase == "unbought", "an offer is sold once"
        api_offer.phase, api_offer.buyer = phase, buyer
        price = api_offer.price_per_hour - (PRICE if api_offer.form else 0.0)
        self.machines[machine_id(number)] = machine(
            number, name, bought, status=status, price_per_hour=price, buyer=buyer, total=api_offer.price_per_hour
        )
        if api_offer.form:
            self.store(buyer, api_offer.form, name, bought)
        return machine_id(number)

    def store(self, buyer: str, form: Form, name: str, bought: str) -> Volume:
        """Add storage of a buyer, with the name of a machine."""
        volume = Volume(next(self.numbers), buyer, form, name, bought)
        self.volumes[volume.id] = volume
        return volume

    def ids(self, bought: str) -> list[str]:
        return [item["resource_id"] for item in self.machines.values() if item["offer_id"] == bought]

    def billed(self, buyer: str) -> list[dict[str, Any]]:
        return [item for item in self.machines.values() if item["buyer"] == buyer and item["status"] != "deleted"]

    def stored(self, buyer: str) -> list[Volume]:
        """The billed storage of a buyer."""
        return [volume for volume in self.volumes.values() if volume.owner == buyer and volume.is_billed]

    def brought(self, bought: str) -> list[Volume]:
        return [volume for volume in self.volumes.values() if volume.offer_id == bought]

    def status(self, asked: str) -> dict[str, Any]:
        phase, ids = self.offers[asked].phase, self.ids(asked)
        if phase == "ready" and all(self.machines[resource_id]["status"] == "deleted" for resource_id in ids):
            phase = "ended"
        ready = phase == "ready"
        named = [volume.id for volume in self.brought(asked) if volume.form.appears_in == "ids"]
        reached = [
            {"resource_id": resource_id, "ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}
            for resource_id in ids
            if ready
        ]
        known = {"phase": phase, "ready": ready, "resource_ids": [*ids, *named], "connections": reached}
        return {**known, "msg": f"{asked}: {phase}."}

    def listed(self) -> list[dict[str, Any]]:
        """The account's list: machines with links to their storage, and storage."""
        return [*map(self.page, self.machines.values()), *listed(self.volumes.values())]

    def page(self, listed_machine: dict[str, Any]) -> dict[str, Any]:
        linkable = [
            *self.brought(listed_machine["offer_id"]),
            *self.foreign_storage.get(listed_machine["resource_id"], ()),
        ]
        return linked(listed_machine, linkable)

    def read(self, ids: Iterable[str]) -> dict[str, Any]:
        """Resources by their ids, and the storage to which they link."""
        by_id = {item: self._by_id(item) for item in ids}
        return {**by_id, **{item: self._by_id(item) for item in links_in(by_id.values()).difference(by_id)}}

    def _by_id(self, resource_id: str) -> dict[str, Any] | None:
        if resource_id in self.volumes:
            return self.volumes[resource_id].page
        return self.page(self.machines[resource_id]) if resource_id in self.machines else None


class PlaysWithRegistry(RuleBasedStateMachine):
    """Hosts with a registry, on an account that strangers use as well."""

    by_name = False

    @initialize(
        prices=st.lists(st.sampled_from([1.0, 1.5, 2.0, 3.0]), min_size=2, max_size=5),
        form=st.none() | FORMS,
        limit=st.sampled_from([1.5, 2.0, "unlimited"]),
        total=st.sampled_from([1.1, 2.1, 4.1, "unlimited"]),  # leaves little for storage
        release=st.booleans(),
        together=st.booleans(),
    )
    def begin(
        self, prices: list[float], form: Form | None, limit: Any, total: Any, release: bool, together: bool
    ) -> None:
        self.api, self.registry = Api(), dict[str, dict[str, Any]]()
        # Storage whose owner can no longer be proved
        self.unprovable = set[str]()
        self.total = math.inf if total == "unlimited" else total
        fields = {
            "max_price_per_hour": limit,
            "max_total_price_per_hour": total,
            "on_failure": "release" if release else "keep",
            "all_or_nothing": together,
        }
        self.hosts = {name: host(name, by_name=self.by_name, **fields) for name in HOSTS}
        for price in prices:
            self.api.add(price, form)

    # The world

    @rule(
        change=st.sampled_from(CHANGES),
        pick=st.integers(0, 9),
        name=st.sampled_from(HOSTS),
        form=st.none() | FORMS,
    )
    def change_world(self, change: str, pick: int, name: str, form: Form | None) -> None:
        free = [item for item, api_offer in self.api.offers.items() if api_offer.phase == "unbought"]
        wanted = free[pick % len(free)] if free else ""
        if change == "offer" or (not wanted and change in ("expires", "bought", "dearer", "cheaper")):
            self.api.add(0.5 + 0.5 * (pick % 6), form)
        elif change == "expires":
            self.api.offers[wanted].phase = "expired"
            self.api.in_flight = [item for item in self.api.in_flight if item[0] != wanted]
        elif change == "bought":
            self.api.buy(wanted, STRANGER, f"stranger-{pick}")
        elif change in ("dearer", "cheaper"):
            api_offer = self.api.offers[wanted]
            api_offer.price_per_hour = max(2 * PRICE, api_offer.price_per_hour + (0.5 if change == "dearer" else -0.5))
        elif change == "ready":
            for api_offer in self.api.offers.values():
                api_offer.phase = "ready" if api_offer.phase == "going_on" else api_offer.phase
        elif change == "deleted":
            for item in self.api.billed(name):
                item["status"] = "deleted"
        elif change == "namesake" and not self.by_name:
            # Not the offer in the host's journal: that machine would look like the host's own.
            journal = read_entry(self.registry.get(name)).offer_id
            if wanted and wanted != journal and not any(item["name"] == name for item in self.api.billed(STRANGER)):
                self.api.buy(wanted, STRANGER, name)
        elif change == "arrives":
            self.add_late_purchases()
        elif change == "lost" and not any(buyer == name for _wanted, buyer, _price in self.api.in_flight):
            # Without its journal, a purchase that has not arrived could not be known.
            self.registry.pop(name, None)
            self.unprovable |= {volume.id for volume in self.api.stored(name)}
        elif change == "storage":
            self.add_storage_of_stranger(name, form or Form())
        elif change == "storage ends":
            for volume in self.api.stored(name):
                volume.status = "deleted"

    def add_storage_of_stranger(self, name: str, form: Form) -> None:
        """A stranger buys storage alone, names it like a host, and attaches it to the host's machine, if any."""
        self.api.add(PRICE)
        bought = list(self.api.offers)[-1]
        self.api.offers[bought].phase = "ready"
        volume = self.api.store(STRANGER, replace(form, names_offer=True), name, bought)
        for item in self.api.billed(name):
            self.api.foreign_storage.setdefault(item["resource_id"], []).append(volume)

    def add_late_purchases(self) -> None:
        for wanted, buyer, price in self.api.in_flight:
            api_offer = self.api.offers[wanted]
            if api_offer.phase == "unbought":
                api_offer.price_per_hour = price  # the price at which it was sent
                self.api.buy(wanted, buyer, buyer)
        self.api.in_flight = []

    # A play

    plays = rule(
        names=st.sets(st.sampled_from(HOSTS), min_size=1),
        answers=st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=4),
        unreadable=st.sampled_from(["", "", "", "", "list", "status", "404"]),
        refused=st.sampled_from([False, False, True]),
    )

    @plays
    def play(self, names: set[str], answers: list[str], unreadable: str, refused: bool) -> None:
        chosen_hosts = [self.hosts[name] for name in HOSTS if self.by_name or name in names]
        self.answers, self.unreadable, self.deletion_is_refused = itertools.cycle(answers), unreadable, refused
        self.messages: list[str] = []
        # The ceiling is for the hosts of the play, and counts other hosts by their registry entries.
        counted = {*(item.host for item in chosen_hosts), *self.registry}
        before = self.total_price(counted)
        attempts: dict[str, list[dict[str, Any]]] = {item.host: [] for item in chosen_hosts}
        remaining = chosen_hosts
        try:
            while remaining:
                remaining = self.next_round(remaining, attempts)
        except Killed:
            if self.by_name:
                return
        else:
            self.check_nothing_billed_is_forgotten([item.host for item in chosen_hosts])
        after = self.total_price(counted)
        assert after <= max(before, self.total) + 1e-6, (before, after)

    @plays
    def play_again(self, **how: Any) -> None:
        """Make plays more frequent than other rules."""
        self.play(**how)

    @plays
    def play_after_an_end(self, names: set[str], **how: Any) -> None:
        """The vendor ends all machines, and their storage stays."""
        for item in (item for name in HOSTS for item in self.api.billed(name)):
            item["status"] = "deleted"
        self.play(names, **how)

    def next_round(self, hosts: list[Declaration], attempts: dict[str, list[dict[str, Any]]]) -> list[Declaration]:
        """Run one round of standing, plan, purchase and verdict. Return the hosts that may try another offer."""
        cases = self.cases_of(hosts, attempts)
        plans = self.plan(cases)
        for case in cases:
            if case.standing.void:
                self.forget(case.host.host, case.changes_before_removal)
            if case.standing.adopted and not self.by_name:
                raise AssertionError("a host adopts a machine without provision_adopt")
        again = []
        for case, draft in zip(cases, plans, strict=True):
            if draft.action == STOP:
                self.messages.append(draft.refusal)
                continue
            result = self.purchase(case, draft) if draft.action == BUY else {}
            if result:
                result["price_per_hour"] = self.api.offers[draft.offer_id].price_per_hour
            if self.judge(case, draft, result) is Verdict.AGAIN:
                attempts[case.host.host].append({"offer_id": draft.offer_id, "msg": str(result)})
                again.append(case.host)
        return again

    def cases_of(self, hosts: list[Declaration], attempts: dict[str, list[dict[str, Any]]]) -> list[Case]:
        entries = {declared.host: read_entry(self.registry.get(declared.host)) for declared in hosts}
        statuses = {entry.offer_id: self.status_seen(entry.offer_id) for entry in entries.values() if entry.offer_id}
        account = Account.of(
            self.claims(),
            None if self.unreadable == "list" else self.api.listed(),
            "GET /resources answered 500. Nothing was bought." if self.unreadable == "list" else "",
        )
        account = replace(account, read=self.api.read(ids_to_prove(entries, statuses, account)))
        return [
            Case(
                declared,
                entries[declared.host],
                standing_of(declared, entries[declared.host], statuses.get(entries[declared.host].offer_id), account),
                attempts[declared.host],
                storage_kept_by(declared.host, self.kept().values()),
            )
            for declared in hosts
        ]

    def claims(self) -> list[OwnershipClaim]:
        entries = {name: read_entry(self.registry.get(name)) for name in HOSTS}
        own = [claim_of(name, name, entry, by_name=self.by_name) for name, entry in entries.items()]
        return [*own, *(noted_claim(label, entry) for label, entry in self.kept().items())]

    def status_seen(self, wanted: str) -> dict[str, Any]:
        """The status of an offer; it may be unreadable."""
        if not self.unreadable or self.unreadable == "list":
            return self.api.status(wanted)
        error_class = "not_found" if self.unreadable == "404" else "unavailable"
        return {"phase": None, "error_class": error_class, "msg": f"GET /offers/{wanted}/status failed."}

    def plan(self, cases: list[Case]) -> list[Plan]:
        offers_for_sale = sorted(
            (
                offer(0, api_offer.price_per_hour, offer_id=item)
                for item, api_offer in self.api.offers.items()
                if api_offer.phase == "unbought"
            ),
            key=lambda item: (item["price_per_hour"], item["offer_id"]),
        )
        entries = {name: read_entry(known) for name, known in self.registry.items()}
        hosts_of_round = {item.host.host for item in cases}
        others = parts_of_entries(
            [*((name, item) for name, item in entries.items() if name not in hosts_of_round), *self.kept().items()]
        )
        open_entries = [item for item in entries.values() if item.offer_id and not item.is_refused]
        plans = host_plans(
            cases,
            lambda _host: SearchResult(offers_for_sale),
            {
                item.wanted_offer_id: SearchResult(
                    [offer(0, self.api.offers[item.wanted_offer_id].price_per_hour, offer_id=item.wanted_offer_id)]
                )
                for item in cases
                if item.wanted_offer_id
            },
            taken={item.offer_id for item in open_entries},
            others=[*others, *billed(*(self.prices_of_others(hosts_of_round) if self.by_name else ()))],
        )
        buys = [item.offer_id for item in plans if item.action == BUY]
        assert len(buys) == len({*buys})
        return plans

    def prices_of_others(self, here: set[str]) -> list[float]:
        """Prices of hosts outside this round, which the play knows by their facts even without a registry."""
        return [item["total"] for name in HOSTS if name not in here for item in self.api.billed(name)]

    def purchase(self, case: Case, draft: Plan) -> dict[str, Any]:
        """Do as `procure_offer` does: look, note, send, note."""
        name, wanted = case.host.host, draft.offer_id
        api_offer, own_entry = self.api.offers[wanted], read_entry(self.registry.get(name))
        assert not own_entry.is_open or own_entry.offer_id == wanted, "another offer while a purchase is open"
        if api_offer.phase != "unbought":
            return self.look(name, wanted, is_open=own_entry.is_open)
        answer = next(self.answers)
        if answer == "dearer":
            api_offer.price_per_hour += 0.5
        if draft.max_price_per_hour is not None and api_offer.price_per_hour > draft.max_price_per_hour:
            return {"outcome": "not_sent", "error_class": "price"}
        self.note(
            name,
            provision_procured_offer_id=wanted,
            provision_purchase="sent",
            provision_price_per_hour=api_offer.price_per_hour,
        )
        if answer == "killed before":
            raise Killed
        if answer == "killed, arrives later" and not self.by_name:
            self.api.in_flight.append((wanted, name, api_offer.price_per_hour))
            raise Killed
        if answer in ("conflict", "gone"):
            if answer == "conflict":
                self.api.buy(wanted, STRANGER, "faster")
            else:
                api_offer.phase = "expired"
            self.note(name, provision_purchase="refused")
            return {"outcome": "rejected", "error_class": "conflict" if answer == "conflict" else "expired"}
        if answer == "lost, not bought":
            return {"outcome": "unknown"}
        phase = {"slow": "going_on"}.get(answer, answer.partition(",")[0] if answer.startswith("failed") else "ready")
        made = self.api.buy(wanted, name, name, phase, "failed" if phase == "failed" else "running")
        if answer == "failed, left nothing":
            self.api.machines[made]["status"] = "deleted"
        if answer == "killed after":
            raise Killed
        if answer == "lost, bought":
            return {"outcome": "unknown"}
        # The answer may name storage like a machine.
        ids = self.api.status(wanted)["resource_ids"]
        self.note(name, provision_purchase="made", provision_resource_ids=ids)
        return {"outcome": "created", "resource_ids": ids}

    def look(self, name: str, wanted: str, *, is_open: bool) -> dict[str, Any]:
        """The result for an offer that is no longer free: ours if we sent a purchase and its machine has our name."""
        api_offer = self.api.offers[wanted]
        ours = is_open and any(self.api.machines[made]["name"] == name for made in self.api.ids(wanted))
        if ours and api_offer.phase in ("ready", "going_on"):
            self.note(name, provision_purchase="made", provision_resource_ids=self.api.ids(wanted))
            return {"outcome": "existing", "resource_ids": self.api.ids(wanted)}
        if is_open and (api_offer.phase == "expired" or not ours):
            self.note(name, provision_purchase="refused")
        outcome = "rejected" if is_open else "not_sent"
        return {"outcome": outcome, "error_class": "expired" if api_offer.phase == "expired" else "conflict"}

    def judge(self, case: Case, draft: Plan, result: dict[str, Any]) -> Verdict:
        """Do what the role does with the verdict; see `_operations/judge.py`."""
        name, wanted = case.host.host, draft.offer_id
        judged = self.judged(case, draft, result)
        verdict = judged.verdict(False)
        self.keep(judged, verdict)
        self.messages += [wanted, *judged.billed]
        if verdict is Verdict.RELEASE:
            assert case.entry.offer_id in ("", wanted) or case.standing.void or case.entry.is_refused
            released = self.machines(name, judged.endable)
            assert not any(item.get("was_ready") for item in released), "a machine that was ready is never ended"
            if self.deletion_is_refused:
                return Verdict.STOP
            for item in released:
                item["status"] = "deleted"
            verdict = judged.verdict(False, released=True)
            self.forget(name)
        if verdict is Verdict.READY:
            facts = judged.facts()
            reached = {item["resource_id"] for item in facts["provision_instances"]}
            for item in self.machines(name, {*facts["provision_resource_ids"], *reached}):
                item["was_ready"] = True
        return verdict

    def machines(self, name: str, ids: Iterable[str]) -> list[dict[str, Any]]:
        """The machines with these ids; fails for storage, and for machines of other buyers."""
        machines = [self.api.machines[resource_id] for resource_id in ids]
        assert all(item["buyer"] == name for item in machines), "a machine of another buyer"
        return machines

    def judged(self, case: Case, draft: Plan, result: dict[str, Any]) -> JudgedHost:
        name = case.host.host
        row = rows.plan_row(draft, case, round_id="1", declaration=name, known_hosts="", ahead=None, check_mode=False)
        listed = {item["resource_id"]: item for item in self.api.listed()}
        holders = {item: claim.host for claim in self.claims() if claim.host != name for item in claim.all_ids}
        entry, status = read_entry(self.registry.get(name)), self.api.status(draft.offer_id)
        judged_host = JudgedHost(row, result, status, entry, name in self.registry, listed=listed, holders=holders)
        return replace(judged_host, read=self.api.read({*judged_host.look.ids_to_prove, *judged_host.unlisted}))

    @rule(name=st.sampled_from(HOSTS), asked=st.sampled_from(["keep", "keep", "end"]))
    def end(self, name: str, asked: str) -> None:
        """End the host's machines, like decommission or a sweep; with ``end`` also its storage."""
        entry, self.messages, self.unreadable = read_entry(self.registry.get(name)), [], ""
        if self.by_name:
            return
        statuses = {entry.offer_id: self.api.status(entry.offer_id)} if entry.offer_id else {}
        named = (item for status in statuses.values() for item in status["resource_ids"])
        listed, claims = self.api.listed(), self.claims()
        (own,) = (claim for claim in claims if claim.host == name)
        read = self.api.read(ids_to_read_before_end([own], named, listed))
        # The entry of a purchase that may still be under way stays for a while.
        age = 0.0 if any(buyer == name for _wanted, buyer, _price in self.api.in_flight) else None
        view = ApiView(Account.of(claims, refreshed(listed, read)), statuses)
        request = EndRequest(name, name, entry, age=age, ends_storage=asked == "end")
        ends = with_storage(request, what_ends(request, view), storage_kept_by(name, self.kept().values()), view)
        assert ends.action is Action.END or not (entry.was_ready and self.api.billed(name)), ends.reason
        for item in self.machines(name, ends.ids):
            item["status"] = "deleted"
        if ends.action in (Action.END, Action.FORGET):
            self.forget(name, storage.storage_variables(ends.storage) if ends.storage else {})
        for resource_id in ends.storage_ends:
            volume = self.api.volumes[resource_id]
            assert asked == "end" and volume.owner == name, "storage ended, but that was not requested"
            volume.status = "deleted"
            self.keep_storage(name, other_storage(read_entry(self.registry[name]).storage, resource_id))
        self.messages.append(ends.reason)
        self.check_nothing_billed_is_forgotten([name])

    # The store

    def note(self, name: str, **changes: Any) -> None:
        before = self.registry.get(name, {})
        if self.by_name:
            return
        if changes.get("provision_purchase") == "sent":
            kept_variables, items = {}, storage.kept_after_end(before, MOMENT)
        else:
            stored = (storage.read_storage(item.get(storage.STORAGE)) for item in (before, changes))
            kept_variables, items = before, storage.merged_storage(*stored)
        merged = {**kept_variables, **changes, **(storage.storage_variables(items) if items else {})}
        self.registry[name] = {key: value for key, value in merged.items() if value is not None}

    def keep(self, judged: JudgedHost, verdict: Verdict) -> None:
        """Note a verdict in the registry."""
        changes = judged.noted(verdict)
        if judged.is_forgotten:
            self.forget(judged.host, judged.noted_storage)
        elif changes:
            self.note(judged.host, **changes)

    def forget(self, name: str, remaining: Variables | None = None) -> None:
        """Remove the entry of a purchase that is over. ``remaining``: variables with the storage that stays."""
        if remaining:
            self.note(name, **remaining)
        self.keep_storage(name, storage.kept_after_end(self.registry.pop(name, {}), MOMENT))

    def keep_storage(self, name: str, items: tuple[Storage, ...]) -> None:
        merged = {**self.registry.get(name, {}), **storage.storage_variables(items)}
        self.registry[name] = {key: value for key, value in merged.items() if value is not None}
        if not self.registry[name]:
            del self.registry[name]

    def kept(self) -> dict[str, Entry]:
        """The storage that hosts keep, each as an entry."""
        entries = ((name, read_entry(known)) for name, known in self.registry.items())
        items = ((name, item) for name, entry in entries for item in entry.kept_storage)
        return {storage.label_of(name, item.resource_id): read_entry(item.entry(name)) for name, item in items}

    # Rules that always hold

    def total_price(self, names: Iterable[str]) -> float:
        """USD per hour of all machines of these hosts, and of their storage whose owner can be proved."""
        machines = [item["price_per_hour"] for name in names for item in self.api.billed(name)]
        return sum(machines) + PRICE * len([volume for name in names for volume in self.provable_storage(name)])

    def provable_storage(self, name: str) -> list[Volume]:
        """The billed storage of a host whose owner can be proved."""
        provable = [v for v in self.api.stored(name) if v.form.is_provable and v.id not in self.unprovable]
        return [] if self.by_name else provable

    def check_nothing_billed_is_forgotten(self, names: list[str]) -> None:
        text = " ".join([*self.messages, str(self.registry)])
        # Without a list and a registry entry, ids cannot be known; nothing is bought then.
        for name in names if self.unreadable != "list" else [item for item in names if item in self.registry]:
            for item in self.api.billed(name):
                assert item["resource_id"] in text or item["offer_id"] in text, (item, text)
            for volume in self.provable_storage(name):
                assert volume.id in text or volume.offer_id in text, (volume, text)

    @invariant()
    def host_has_at_most_one_machine(self) -> None:
        for name in HOSTS if hasattr(self, "api") else ():
            assert len(self.api.billed(name)) <= 1, self.api.billed(name)

    @invariant()
    def registry_names_only_own_resources(self) -> None:
        for name, variables in self.registry.items() if hasattr(self, "registry") else ():
            entry = read_entry(variables)
            owned = {volume.id for volume in self.api.volumes.values() if volume.owner == name}
            self.machines(name, {*entry.resource_ids} - owned)
            assert {item.resource_id for item in entry.storage} <= owned
            assert not (entry.was_ready and owned.intersection(entry.resource_ids)), "storage as a machine"

    @invariant()
    def machine_costs_at_most_limit(self) -> None:
        for name in HOSTS if hasattr(self, "api") else ():
            for item in self.api.billed(name):
                assert item["total"] <= self.hosts[name].max_price_per_hour


class PlaysByName(PlaysWithRegistry):
    """Hosts without a registry: the name is the identity, so purchases that arrive late cannot be recognised."""

    by_name = True


_settings = settings(
    max_examples=120, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestPlays = PlaysWithRegistry.TestCase
TestPlays.settings = _settings
TestPlaysByName = PlaysByName.TestCase
TestPlaysByName.settings = _settings
