# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays upon plays in a world with books of its own: killed plays, lost answers, other buyers, lost registries.

Offers bring storage in each form, which outlives its machine; a vendor ends machines, strangers buy storage alone, and
hosts end. The decisions are the collection's: standing, plan, verdict, end, entries. The API, the purchase and the
store are a small model, which does what `procure_offer` and `Registry` promise: note the offer before it is sent, the
answer after it, and keep storage.
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
# What becomes of a purchase that is sent.
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
    """The play has ended here, without another word."""


@dataclass
class Sold:
    """An offer at the API, at the price of all that it brings. ``phase``: as its status says.

    ``form``: of the storage that it brings, None if it brings none.
    """

    price_per_hour: float
    form: Form | None = None
    phase: str = "unbought"
    buyer: str = ""


@dataclass
class Api:
    """The truth, which no host sees but through status and list."""

    offers: dict[str, Sold] = field(default_factory=dict)
    machines: dict[str, dict[str, Any]] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    attached: dict[str, list[Volume]] = field(default_factory=dict)  # strangers' storage, by machines
    under_way: list[tuple[str, str, float]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def add(self, price: float, form: Form | None = None) -> None:
        self.offers[offer_id(next(self.numbers))] = Sold(price, form)

    def buy(self, bought: str, buyer: str, name: str, phase: str = "ready", status: str = "running") -> str:
        number, its = next(self.numbers), self.offers[bought]
        assert its.phase == "unbought", "an offer is sold once"
        its.phase, its.buyer = phase, buyer
        price = its.price_per_hour - (PRICE if its.form else 0.0)
        self.machines[machine_id(number)] = machine(
            number, name, bought, status=status, price_per_hour=price, buyer=buyer, total=its.price_per_hour
        )
        if its.form:
            self.store(buyer, its.form, name, bought)
        return machine_id(number)

    def store(self, buyer: str, form: Form, name: str, bought: str) -> Volume:
        """Storage of a buyer, which is called like a machine."""
        volume = Volume(next(self.numbers), buyer, form, name, bought)
        self.volumes[volume.id] = volume
        return volume

    def ids(self, bought: str) -> list[str]:
        return [each["resource_id"] for each in self.machines.values() if each["offer_id"] == bought]

    def billed(self, buyer: str) -> list[dict[str, Any]]:
        return [each for each in self.machines.values() if each["buyer"] == buyer and each["status"] != "deleted"]

    def stored(self, buyer: str) -> list[Volume]:
        """The storage of a buyer that is billed."""
        return [volume for volume in self.volumes.values() if volume.owner == buyer and volume.is_billed]

    def brought(self, bought: str) -> list[Volume]:
        return [volume for volume in self.volumes.values() if volume.offer_id == bought]

    def status(self, asked: str) -> dict[str, Any]:
        phase, ids = self.offers[asked].phase, self.ids(asked)
        if phase == "ready" and all(self.machines[each]["status"] == "deleted" for each in ids):
            phase = "ended"
        ready = phase == "ready"
        named = [volume.id for volume in self.brought(asked) if volume.form.appears_in == "ids"]
        reached = [
            {"resource_id": each, "ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}
            for each in ids
            if ready
        ]
        known = {"phase": phase, "ready": ready, "resource_ids": [*ids, *named], "connections": reached}
        return {**known, "msg": f"{asked}: {phase}."}

    def listed(self) -> list[dict[str, Any]]:
        """The whole list: machines with the storage that is linked to them, and storage."""
        return [*map(self.page, self.machines.values()), *listed(self.volumes.values())]

    def page(self, shown: dict[str, Any]) -> dict[str, Any]:
        beside = [*self.brought(shown["offer_id"]), *self.attached.get(shown["resource_id"], ())]
        return linked(shown, beside)

    def read(self, ids: Iterable[str]) -> dict[str, Any]:
        """Resources by their ids, with the storage that they name."""
        by_id = {each: self._by_id(each) for each in ids}
        return {**by_id, **{each: self._by_id(each) for each in links_in(by_id.values()).difference(by_id)}}

    def _by_id(self, resource_id: str) -> dict[str, Any] | None:
        if resource_id in self.volumes:
            return self.volumes[resource_id].page
        return self.page(self.machines[resource_id]) if resource_id in self.machines else None


class Plays(RuleBasedStateMachine):
    """Hosts with a registry each, on an account that they share with strangers."""

    by_name = False

    @initialize(
        prices=st.lists(st.sampled_from([1.0, 1.5, 2.0, 3.0]), min_size=2, max_size=5),
        form=st.none() | FORMS,
        limit=st.sampled_from([1.5, 2.0, "unlimited"]),
        total=st.sampled_from([1.1, 2.1, 4.1, "unlimited"]),  # little is left for storage
        release=st.booleans(),
        together=st.booleans(),
    )
    def begin(
        self, prices: list[float], form: Form | None, limit: Any, total: Any, release: bool, together: bool
    ) -> None:
        self.api, self.registry = Api(), dict[str, dict[str, Any]]()
        # Storage of which nothing tells any more whose it is
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
    def the_world_changes(self, change: str, pick: int, name: str, form: Form | None) -> None:
        free = [each for each, its in self.api.offers.items() if its.phase == "unbought"]
        which = free[pick % len(free)] if free else ""
        if change == "offer" or (not which and change in ("expires", "bought", "dearer", "cheaper")):
            self.api.add(0.5 + 0.5 * (pick % 6), form)
        elif change == "expires":
            self.api.offers[which].phase = "expired"
            self.api.under_way = [each for each in self.api.under_way if each[0] != which]
        elif change == "bought":
            self.api.buy(which, STRANGER, f"stranger-{pick}")
        elif change in ("dearer", "cheaper"):
            its = self.api.offers[which]
            its.price_per_hour = max(2 * PRICE, its.price_per_hour + (0.5 if change == "dearer" else -0.5))
        elif change == "ready":
            for its in self.api.offers.values():
                its.phase = "ready" if its.phase == "going_on" else its.phase
        elif change == "deleted":
            for each in self.api.billed(name):
                each["status"] = "deleted"
        elif change == "namesake" and not self.by_name:
            # Not an offer that the host's journal names: nobody could tell that from its own purchase.
            journal = read_entry(self.registry.get(name)).offer_id
            if which and which != journal and not any(each["name"] == name for each in self.api.billed(STRANGER)):
                self.api.buy(which, STRANGER, name)
        elif change == "arrives":
            self.purchases_arrive_late()
        elif change == "lost" and not any(buyer == name for _which, buyer, _price in self.api.under_way):
            # Without its journal nobody can know of a purchase that has not arrived.
            self.registry.pop(name, None)
            self.unprovable |= {volume.id for volume in self.api.stored(name)}
        elif change == "storage":
            self.strangers_store(name, form or Form())
        elif change == "storage ends":
            for volume in self.api.stored(name):
                volume.status = "deleted"

    def strangers_store(self, name: str, form: Form) -> None:
        """A stranger buys storage alone, calls it like a host, and may attach it to the host's machine."""
        self.api.add(PRICE)
        bought = list(self.api.offers)[-1]
        self.api.offers[bought].phase = "ready"
        volume = self.api.store(STRANGER, replace(form, names_offer=True), name, bought)
        for each in self.api.billed(name):
            self.api.attached.setdefault(each["resource_id"], []).append(volume)

    def purchases_arrive_late(self) -> None:
        for which, buyer, price in self.api.under_way:
            its = self.api.offers[which]
            if its.phase == "unbought":
                its.price_per_hour = price  # it costs what it did when it was sent
                self.api.buy(which, buyer, buyer)
        self.api.under_way = []

    # A play

    plays = rule(
        who=st.sets(st.sampled_from(HOSTS), min_size=1),
        answers=st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=4),
        unreadable=st.sampled_from(["", "", "", "", "list", "status", "404"]),
        refused=st.sampled_from([False, False, True]),
    )

    @plays
    def play(self, who: set[str], answers: list[str], unreadable: str, refused: bool) -> None:
        chosen = [self.hosts[name] for name in HOSTS if self.by_name or name in who]
        self.answers, self.unreadable, self.deletion_is_refused = itertools.cycle(answers), unreadable, refused
        self.said: list[str] = []
        # The ceiling is for the hosts of the play, and counts what registries tell of others.
        counted = {*(each.host for each in chosen), *self.registry}
        before = self.billed_together(counted)
        attempts: dict[str, list[dict[str, Any]]] = {each.host: [] for each in chosen}
        left = chosen
        try:
            while left:
                left = self.again(left, attempts)
        except Killed:
            if self.by_name:
                return
        else:
            self.nothing_billed_is_forgotten([each.host for each in chosen])
        # What was agreed to when something was bought.
        after = self.billed_together(counted)
        assert after <= max(before, self.total) + 1e-6, (before, after)

    @plays
    def play_again(self, **how: Any) -> None:
        """Plays are what this is about: let there be more of them than of anything else."""
        self.play(**how)

    @plays
    def play_after_an_end(self, who: set[str], **how: Any) -> None:
        """The vendor ends all machines, and their storage stays."""
        for each in (each for name in HOSTS for each in self.api.billed(name)):
            each["status"] = "deleted"
        self.play(who, **how)

    def again(self, hosts: list[Declaration], attempts: dict[str, list[dict[str, Any]]]) -> list[Declaration]:
        """One round of find, plan, purchase and judgement; those for which another offer may be tried."""
        cases = self.stand(hosts, attempts)
        plans = self.plan(cases)
        for case in cases:
            if case.standing.void:
                self.forget(case.host.host, case.changes_before_removal)
            if case.standing.adopted and not self.by_name:
                raise AssertionError("nobody has set provision_adopt")
        found = []
        for case, draft in zip(cases, plans, strict=True):
            if draft.action == STOP:
                self.said.append(draft.refusal)
                continue
            bought = self.purchase(case, draft) if draft.action == BUY else {}
            if bought:
                bought["price_per_hour"] = self.api.offers[draft.offer_id].price_per_hour
            if self.judge(case, draft, bought) is Verdict.AGAIN:
                attempts[case.host.host].append({"offer_id": draft.offer_id, "msg": str(bought)})
                found.append(case.host)
        return found

    def stand(self, hosts: list[Declaration], attempts: dict[str, list[dict[str, Any]]]) -> list[Case]:
        entries = {each.host: read_entry(self.registry.get(each.host)) for each in hosts}
        statuses = {entry.offer_id: self.seen(entry.offer_id) for entry in entries.values() if entry.offer_id}
        account = Account.of(
            self.claims(),
            None if self.unreadable == "list" else self.api.listed(),
            "GET /resources answered 500. Nothing was bought." if self.unreadable == "list" else "",
        )
        account = replace(account, read=self.api.read(ids_to_prove(entries, statuses, account)))
        return [
            Case(
                each,
                entries[each.host],
                standing_of(each, entries[each.host], statuses.get(entries[each.host].offer_id), account),
                attempts[each.host],
                storage_kept_by(each.host, self.kept().values()),
            )
            for each in hosts
        ]

    def claims(self) -> list[OwnershipClaim]:
        entries = {name: read_entry(self.registry.get(name)) for name in HOSTS}
        own = [claim_of(name, name, entry, by_name=self.by_name) for name, entry in entries.items()]
        return [*own, *(noted_claim(label, entry) for label, entry in self.kept().items())]

    def seen(self, which: str) -> dict[str, Any]:
        """The status of an offer, as far as the API lets it be read."""
        if not self.unreadable or self.unreadable == "list":
            return self.api.status(which)
        error_class = "not_found" if self.unreadable == "404" else "unavailable"
        return {"phase": None, "error_class": error_class, "msg": f"GET /offers/{which}/status failed."}

    def plan(self, cases: list[Case]) -> list[Plan]:
        free = sorted(
            (
                offer(0, its.price_per_hour, offer_id=each)
                for each, its in self.api.offers.items()
                if its.phase == "unbought"
            ),
            key=lambda each: (each["price_per_hour"], each["offer_id"]),
        )
        entries = {name: read_entry(known) for name, known in self.registry.items()}
        here = {each.host.host for each in cases}
        others = parts_of_entries(
            [*((name, each) for name, each in entries.items() if name not in here), *self.kept().items()]
        )
        open_ones = [each for each in entries.values() if each.offer_id and not each.is_refused]
        found = host_plans(
            cases,
            lambda _host: SearchResult(free),
            {
                each.wanted_offer_id: SearchResult(
                    [offer(0, self.api.offers[each.wanted_offer_id].price_per_hour, offer_id=each.wanted_offer_id)]
                )
                for each in cases
                if each.wanted_offer_id
            },
            taken={each.offer_id for each in open_ones},
            others=[*others, *billed(*(self.known_prices(here) if self.by_name else ()))],
        )
        buys = [each.offer_id for each in found if each.action == BUY]
        assert len(buys) == len({*buys})
        return found

    def known_prices(self, here: set[str]) -> list[float]:
        """Without a registry: what the hosts that are in no further round have, as the play knows by their facts."""
        return [each["total"] for name in HOSTS if name not in here for each in self.api.billed(name)]

    def purchase(self, case: Case, draft: Plan) -> dict[str, Any]:
        """What `procure_offer` does: look, note, send, note."""
        name, which = case.host.host, draft.offer_id
        its, known = self.api.offers[which], read_entry(self.registry.get(name))
        assert not known.is_open or known.offer_id == which, "another offer while an answer is missing"
        if its.phase != "unbought":
            return self.look(name, which, is_open=known.is_open)
        answer = next(self.answers)
        if answer == "dearer":
            its.price_per_hour += 0.5
        if draft.max_price_per_hour is not None and its.price_per_hour > draft.max_price_per_hour:
            return {"outcome": "not_sent", "error_class": "price"}
        self.note(
            name,
            provision_procured_offer_id=which,
            provision_purchase="sent",
            provision_price_per_hour=its.price_per_hour,
        )
        if answer == "killed before":
            raise Killed
        if answer == "killed, arrives later" and not self.by_name:
            self.api.under_way.append((which, name, its.price_per_hour))
            raise Killed
        if answer in ("conflict", "gone"):
            if answer == "conflict":
                self.api.buy(which, STRANGER, "faster")
            else:
                its.phase = "expired"
            self.note(name, provision_purchase="refused")
            return {"outcome": "rejected", "error_class": "conflict" if answer == "conflict" else "expired"}
        if answer == "lost, not bought":
            return {"outcome": "unknown"}
        phase = {"slow": "going_on"}.get(answer, answer.partition(",")[0] if answer.startswith("failed") else "ready")
        made = self.api.buy(which, name, name, phase, "failed" if phase == "failed" else "running")
        if answer == "failed, left nothing":
            self.api.machines[made]["status"] = "deleted"
        if answer == "killed after":
            raise Killed
        if answer == "lost, bought":
            return {"outcome": "unknown"}
        # The answer may name storage like a machine.
        ids = self.api.status(which)["resource_ids"]
        self.note(name, provision_purchase="made", provision_resource_ids=ids)
        return {"outcome": "created", "resource_ids": ids}

    def look(self, name: str, which: str, *, is_open: bool) -> dict[str, Any]:
        """An offer that is not free any more: ours, if a purchase of ours was sent and its machine has our name."""
        its = self.api.offers[which]
        ours = is_open and any(self.api.machines[each]["name"] == name for each in self.api.ids(which))
        if ours and its.phase in ("ready", "going_on"):
            self.note(name, provision_purchase="made", provision_resource_ids=self.api.ids(which))
            return {"outcome": "existing", "resource_ids": self.api.ids(which)}
        if is_open and (its.phase == "expired" or not ours):
            self.note(name, provision_purchase="refused")
        outcome = "rejected" if is_open else "not_sent"
        return {"outcome": outcome, "error_class": "expired" if its.phase == "expired" else "conflict"}

    def judge(self, case: Case, draft: Plan, bought: dict[str, Any]) -> Verdict:
        """What the role does with the verdict; see `_operations/judge.py`."""
        name, which = case.host.host, draft.offer_id
        judged = self.judged(case, draft, bought)
        verdict = judged.verdict(False)
        self.keep(judged, verdict)
        self.said += [which, *judged.billed]
        if verdict is Verdict.RELEASE:
            assert case.entry.offer_id in ("", which) or case.standing.void or case.entry.is_refused
            left = self.machines(name, judged.endable)
            assert not any(each.get("was_ready") for each in left), "what was in use is never ended"
            if self.deletion_is_refused:
                return Verdict.STOP
            for each in left:
                each["status"] = "deleted"
            verdict = judged.verdict(False, released=True)
            self.forget(name)
        if verdict is Verdict.READY:
            facts = judged.facts()
            reached = {each["resource_id"] for each in facts["provision_instances"]}
            for each in self.machines(name, {*facts["provision_resource_ids"], *reached}):
                each["was_ready"] = True
        return verdict

    def machines(self, name: str, ids: Iterable[str]) -> list[dict[str, Any]]:
        """The machines with these ids, which are no storage, and this host's alone."""
        machines = [self.api.machines[each] for each in ids]
        assert all(each["buyer"] == name for each in machines), "a machine of another"
        return machines

    def judged(self, case: Case, draft: Plan, bought: dict[str, Any]) -> JudgedHost:
        name = case.host.host
        row = rows.plan_row(draft, case, round_id="1", declaration=name, known_hosts="", ahead=None, check_mode=False)
        listed = {each["resource_id"]: each for each in self.api.listed()}
        holders = {each: claim.host for claim in self.claims() if claim.host != name for each in claim.all_ids}
        entry, status = read_entry(self.registry.get(name)), self.api.status(draft.offer_id)
        known = JudgedHost(row, bought, status, entry, name in self.registry, listed=listed, holders=holders)
        return replace(known, read=self.api.read({*known.look.ids_to_prove, *known.unlisted}))

    @rule(name=st.sampled_from(HOSTS), asked=st.sampled_from(["keep", "keep", "end"]))
    def end(self, name: str, asked: str) -> None:
        """The host's machines end, by a person or since its lease is over; with ``end`` also its storage."""
        entry, self.said, self.unreadable = read_entry(self.registry.get(name)), [], ""
        if self.by_name:
            return
        statuses = {entry.offer_id: self.api.status(entry.offer_id)} if entry.offer_id else {}
        told = (each for status in statuses.values() for each in status["resource_ids"])
        listed, claims = self.api.listed(), self.claims()
        (own,) = (claim for claim in claims if claim.host == name)
        read = self.api.read(ids_to_read_before_end([own], told, listed))
        # What may still be under way keeps its entry for a while.
        age = 0.0 if any(buyer == name for _which, buyer, _price in self.api.under_way) else None
        view = ApiView(Account.of(claims, refreshed(listed, read)), statuses)
        asks = EndRequest(name, name, entry, age=age, ends_storage=asked == "end")
        found = with_storage(asks, what_ends(asks, view), storage_kept_by(name, self.kept().values()), view)
        assert found.action is Action.END or not (entry.was_ready and self.api.billed(name)), found.reason
        for each in self.machines(name, found.ids):
            each["status"] = "deleted"
        if found.action in (Action.END, Action.FORGET):
            self.forget(name, storage.storage_variables(found.storage) if found.storage else {})
        for each in found.storage_ends:
            assert asked == "end" and self.api.volumes[each].owner == name, "storage ended unasked"
            self.api.volumes[each].status = "deleted"
            self.keep_storage(name, other_storage(read_entry(self.registry[name]).storage, each))
        self.said.append(found.reason)
        self.nothing_billed_is_forgotten([name])

    # The store

    def note(self, name: str, **changes: Any) -> None:
        before = self.registry.get(name, {})
        if self.by_name:
            return
        if changes.get("provision_purchase") == "sent":
            known, items = {}, storage.kept_after_end(before, MOMENT)
        else:
            stored = (storage.read_storage(each.get(storage.STORAGE)) for each in (before, changes))
            known, items = before, storage.merged_storage(*stored)
        whole = {**known, **changes, **(storage.storage_variables(items) if items else {})}
        self.registry[name] = {key: value for key, value in whole.items() if value is not None}

    def keep(self, judged: JudgedHost, verdict: Verdict) -> None:
        """What the registry keeps of a verdict."""
        changes = judged.noted(verdict)
        if judged.is_forgotten(verdict):
            self.forget(judged.host, judged.noted_storage)
        elif changes:
            self.note(judged.host, **changes)

    def forget(self, name: str, left: Variables | None = None) -> None:
        """A purchase is over, which leaves this storage."""
        if left:
            self.note(name, **left)
        self.keep_storage(name, storage.kept_after_end(self.registry.pop(name, {}), MOMENT))

    def keep_storage(self, name: str, items: tuple[Storage, ...]) -> None:
        known = {**self.registry.get(name, {}), **storage.storage_variables(items)}
        self.registry[name] = {key: value for key, value in known.items() if value is not None}
        if not self.registry[name]:
            del self.registry[name]

    def kept(self) -> dict[str, Entry]:
        """The storage that hosts keep, as entries of its own."""
        entries = ((name, read_entry(known)) for name, known in self.registry.items())
        items = ((name, item) for name, entry in entries for item in entry.kept_storage)
        return {storage.label_of(name, item.resource_id): read_entry(item.entry(name)) for name, item in items}

    # What must hold

    def billed_together(self, names: Iterable[str]) -> float:
        """USD per hour of machines and of storage of which anything tells whose it is."""
        machines = [each["price_per_hour"] for name in names for each in self.api.billed(name)]
        return sum(machines) + PRICE * len([volume for name in names for volume in self.known_storage(name)])

    def known_storage(self, name: str) -> list[Volume]:
        """The billed storage of a host of which anything tells whose it is."""
        provable = [v for v in self.api.stored(name) if v.form.is_provable and v.id not in self.unprovable]
        return [] if self.by_name else provable

    def nothing_billed_is_forgotten(self, names: list[str]) -> None:
        told = " ".join([*self.said, str(self.registry)])
        # What cannot be listed, and is in no registry, nobody can name; then nothing is bought.
        for name in names if self.unreadable != "list" else [each for each in names if each in self.registry]:
            for each in self.api.billed(name):
                assert each["resource_id"] in told or each["offer_id"] in told, (each, told)
            for volume in self.known_storage(name):
                assert volume.id in told or volume.offer_id in told, (volume, told)

    @invariant()
    def no_host_has_two_machines(self) -> None:
        for name in HOSTS if hasattr(self, "api") else ():
            assert len(self.api.billed(name)) <= 1, self.api.billed(name)

    @invariant()
    def no_registry_names_what_another_has(self) -> None:
        for name, variables in self.registry.items() if hasattr(self, "registry") else ():
            entry = read_entry(variables)
            owned = {volume.id for volume in self.api.volumes.values() if volume.owner == name}
            self.machines(name, {*entry.resource_ids} - owned)
            assert {item.resource_id for item in entry.storage} <= owned
            assert not (entry.was_ready and owned.intersection(entry.resource_ids)), "storage as a machine"

    @invariant()
    def no_machine_is_dearer_than_agreed(self) -> None:
        for name in HOSTS if hasattr(self, "api") else ():
            for each in self.api.billed(name):
                assert each["total"] <= self.hosts[name].max_price_per_hour


class PlaysByName(Plays):
    """The same without a registry: the name is the identity. A purchase that arrives late cannot be known then."""

    by_name = True


_settings = settings(
    max_examples=120, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestPlays = Plays.TestCase
TestPlays.settings = _settings
TestPlaysByName = PlaysByName.TestCase
TestPlaysByName.settings = _settings
