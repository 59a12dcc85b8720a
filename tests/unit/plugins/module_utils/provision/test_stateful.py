# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays upon plays in a world with books of its own: killed plays, lost answers, other buyers, lost registries.

The decisions are the collection's: standing, plan, failover, entries. The API and the purchase are a small model, which
does what `procure_offer` promises: note the offer before it is sent, and the answer after it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.compute_index.supply.plugins.module_utils._provision.declaration import Declaration
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import read_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.failover import (
    Attempt,
    Verdict,
    judge,
    leaves_nothing,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import claim_of
from ansible_collections.compute_index.supply.plugins.module_utils._provision.planning import (
    BUY,
    STOP,
    Case,
    Plan,
    SearchResult,
    plan,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.standing import Account, standing
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from provision_samples import billed, host, machine, machine_id, offer, offer_id

STRANGER = "a stranger"
HOSTS = ("gpu", "gpu-1", "train")
# What becomes of a purchase that is sent.
ANSWERS = (
    *("ready", "ready", "ready", "slow", "failed", "failed, left nothing", "conflict", "gone", "dearer"),
    *("lost, bought", "lost, not bought", "killed before", "killed after", "killed, arrives later"),
)


CHANGES = (
    *("offer", "expires", "bought", "dearer", "cheaper"),
    *("ready", "deleted", "namesake", "lost", "arrives", "arrives"),
)


class Killed(Exception):
    """The play has ended here, without another word."""


@dataclass
class Sold:
    """An offer at the API. ``phase``: as its status says."""

    price_per_hour: float
    phase: str = "unbought"
    buyer: str = ""


@dataclass
class Api:
    """The truth, which no host sees but through status and list."""

    offers: dict[str, Sold] = field(default_factory=dict)
    machines: dict[str, dict[str, Any]] = field(default_factory=dict)
    under_way: list[tuple[str, str, float]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def add(self, price: float) -> None:
        self.offers[offer_id(next(self.numbers))] = Sold(price)

    def buy(self, bought: str, buyer: str, name: str, phase: str = "ready", status: str = "running") -> str:
        number, its = next(self.numbers), self.offers[bought]
        assert its.phase == "unbought", "an offer is sold once"
        its.phase, its.buyer = phase, buyer
        self.machines[machine_id(number)] = machine(
            number, name, bought, status=status, price_per_hour=its.price_per_hour, buyer=buyer
        )
        return machine_id(number)

    def ids(self, bought: str) -> list[str]:
        return [each["resource_id"] for each in self.machines.values() if each["offer_id"] == bought]

    def billed(self, buyer: str) -> list[dict[str, Any]]:
        return [each for each in self.machines.values() if each["buyer"] == buyer and each["status"] != "deleted"]

    def status(self, asked: str) -> dict[str, Any]:
        phase = self.offers[asked].phase
        if phase == "ready" and all(self.machines[each]["status"] == "deleted" for each in self.ids(asked)):
            phase = "ended"
        return {"phase": phase, "ready": phase == "ready", "resource_ids": self.ids(asked), "msg": f"{asked}: {phase}."}


class Plays(RuleBasedStateMachine):
    """Hosts with a registry each, on an account that they share with strangers."""

    by_name = False

    @initialize(
        prices=st.lists(st.sampled_from([1.0, 1.5, 2.0, 3.0]), min_size=2, max_size=5),
        limit=st.sampled_from([1.5, 2.0, "unlimited"]),
        total=st.sampled_from([2.5, 4.0, 6.0, "unlimited"]),
        release=st.booleans(),
        together=st.booleans(),
    )
    def begin(self, prices: list[float], limit: Any, total: Any, release: bool, together: bool) -> None:
        self.api, self.registry = Api(), dict[str, dict[str, Any]]()
        self.total = math.inf if total == "unlimited" else total
        fields = {
            "max_price_per_hour": limit,
            "max_total_price_per_hour": total,
            "on_failure": "release" if release else "keep",
            "all_or_nothing": together,
        }
        self.hosts = {name: host(name, by_name=self.by_name, **fields) for name in HOSTS}
        for price in prices:
            self.api.add(price)

    # The world

    @rule(
        change=st.sampled_from(CHANGES),
        pick=st.integers(0, 9),
        name=st.sampled_from(HOSTS),
    )
    def the_world_changes(self, change: str, pick: int, name: str) -> None:
        free = [each for each, its in self.api.offers.items() if its.phase == "unbought"]
        which = free[pick % len(free)] if free else ""
        if change == "offer" or (not which and change in ("expires", "bought", "dearer", "cheaper")):
            self.api.add(0.5 + 0.5 * (pick % 6))
        elif change == "expires":
            self.api.offers[which].phase = "expired"
            self.api.under_way = [each for each in self.api.under_way if each[0] != which]
        elif change == "bought":
            self.api.buy(which, STRANGER, f"stranger-{pick}")
        elif change in ("dearer", "cheaper"):
            its = self.api.offers[which]
            its.price_per_hour = max(0.25, its.price_per_hour + (0.5 if change == "dearer" else -0.5))
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

    def again(self, hosts: list[Declaration], attempts: dict[str, list[dict[str, Any]]]) -> list[Declaration]:
        """One round of find, plan, purchase and judgement; those for which another offer may be tried."""
        cases = self.stand(hosts, attempts)
        plans = self.plan(cases)
        for case in cases:
            if case.standing.void:
                self.registry.pop(case.host.host, None)
            if case.standing.adopted and not self.by_name:
                raise AssertionError("nobody has set provision_adopt")
        found = []
        for case, draft in zip(cases, plans, strict=True):
            if draft.action == STOP:
                self.said.append(draft.refusal)
                continue
            bought = self.purchase(case, draft) if draft.action == BUY else {}
            if self.judge(case, draft, bought) is Verdict.AGAIN:
                attempts[case.host.host].append({"offer_id": draft.offer_id, "msg": str(bought)})
                found.append(case.host)
        return found

    def stand(self, hosts: list[Declaration], attempts: dict[str, list[dict[str, Any]]]) -> list[Case]:
        entries = {name: read_entry(self.registry.get(name)) for name in HOSTS}
        claims = [claim_of(name, name, entries[name], by_name=self.by_name) for name in HOSTS]
        account = Account.of(
            claims,
            None if self.unreadable == "list" else list(self.api.machines.values()),
            "GET /resources answered 500. Nothing was bought." if self.unreadable == "list" else "",
        )
        return [
            Case(
                each,
                entries[each.host],
                standing(
                    each,
                    entries[each.host],
                    self.seen(entries[each.host].offer_id) if entries[each.host].offer_id else None,
                    account,
                ),
                attempts[each.host],
            )
            for each in hosts
        ]

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
        open_ones = [each for each in entries.values() if each.offer_id and not each.is_refused]
        found = plan(
            cases,
            lambda _host: SearchResult(free),
            {
                each.wanted: SearchResult([offer(0, self.api.offers[each.wanted].price_per_hour, offer_id=each.wanted)])
                for each in cases
                if each.wanted
            },
            taken={each.offer_id for each in open_ones},
            others=billed(
                *(each.price_per_hour for name, each in entries.items() if name not in here and not each.is_refused),
                *(self.known_prices(here) if self.by_name else ()),
            ),
        )
        buys = [each.offer_id for each in found if each.action == BUY]
        assert len(buys) == len({*buys})
        return found

    def known_prices(self, here: set[str]) -> list[float]:
        """Without a registry: what the hosts that are in no further round have, as the play knows by their facts."""
        return [each["price_per_hour"] for name in HOSTS if name not in here for each in self.api.billed(name)]

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
        self.note(name, provision_purchase="made", provision_resource_ids=[made])
        return {"outcome": "created", "resource_ids": [made]}

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
        outcome, status = bought.get("outcome", ""), self.api.status(which)
        owned = outcome in ("created", "existing", "")
        left = [each for each in self.api.ids(which) if self.api.machines[each]["status"] != "deleted"]
        billed = owned and not (status["phase"] in ("failed", "ended") and not left)
        attempt = Attempt(
            outcome,
            bought.get("error_class", ""),
            status["phase"],
            status["ready"] and owned,
            billed,
            bool(case.host.offer_id),
            not (case.entry.was_ready or case.standing.adopted),
            release=case.host.on_failure == "release",
            left=case.attempts_left - (draft.action == BUY),
        )
        verdict = judge(attempt)
        if verdict is Verdict.RELEASE:
            assert case.entry.offer_id in ("", which) or case.standing.void or case.entry.is_refused
            assert all(self.api.machines[each]["buyer"] == name for each in left), "only what is the host's is ended"
            assert not any(self.api.machines[each].get("was_ready") for each in left), "what was in use is never ended"
            if self.deletion_is_refused:
                self.said += left
                return Verdict.STOP
            for each in left:
                self.api.machines[each]["status"] = "deleted"
            attempt = Attempt(**{**vars(attempt), "released": True})
            verdict = judge(attempt)
        if verdict is Verdict.READY:
            self.note(
                name,
                provision_procured_offer_id=which,
                provision_resource_ids=status["resource_ids"],
                provision_instances=[{"ansible_host": "192.0.2.1"}],
                provision_purchase="made",
            )
            for each in left:
                assert self.api.machines[each]["buyer"] == name, "only a machine of its own is configured"
                self.api.machines[each]["was_ready"] = True
        elif leaves_nothing(attempt) and not (outcome == "not_sent" and case.entry.is_open):
            self.registry.pop(name, None)
        self.said += [which, *left]
        return verdict

    def note(self, name: str, **changes: Any) -> None:
        if self.by_name:
            return
        if changes.get("provision_purchase") == "sent":
            self.registry[name] = dict(changes)
        else:
            self.registry[name] = {**self.registry.get(name, {}), **changes}

    # What must hold

    def billed_together(self, names: set[str]) -> float:
        return sum(each["price_per_hour"] for name in names for each in self.api.billed(name))

    def nothing_billed_is_forgotten(self, names: list[str]) -> None:
        told = " ".join([*self.said, str(self.registry)])
        # What cannot be listed, and is in no registry, nobody can name; then nothing is bought.
        for name in names if self.unreadable != "list" else [each for each in names if each in self.registry]:
            for each in self.api.billed(name):
                assert each["resource_id"] in told or each["offer_id"] in told, (each, told)

    @invariant()
    def no_host_has_two_machines(self) -> None:
        for name in HOSTS if hasattr(self, "api") else ():
            assert len(self.api.billed(name)) <= 1, self.api.billed(name)

    @invariant()
    def no_registry_names_a_machine_of_another(self) -> None:
        for name, variables in self.registry.items() if hasattr(self, "registry") else ():
            for each in read_entry(variables).resource_ids:
                assert self.api.machines[each]["buyer"] == name

    @invariant()
    def no_machine_is_dearer_than_agreed(self) -> None:
        for name in HOSTS if hasattr(self, "api") else ():
            for each in self.api.billed(name):
                assert each["price_per_hour"] <= self.hosts[name].max_price_per_hour


class PlaysByName(Plays):
    """The same without a registry: the name is the identity. A purchase that arrives late cannot be known then."""

    by_name = True


_settings = settings(
    max_examples=150, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestPlays = Plays.TestCase
TestPlays.settings = _settings
TestPlaysByName = PlaysByName.TestCase
TestPlaysByName.settings = _settings
