# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of the plans: register what runs, keep what may be billed, and say what follows for each host.

This module util is private to the collection.
"""

from __future__ import annotations

import time
import typing as t
from functools import cached_property

from .. import _decide_spec, _spec, _states
from .._api import ApiError, Json
from .._market import Market, price_that_counts
from .._moments import first_of
from .._on_api import on_api
from .._operation import Failure, Operation, Params, Result
from .._provision import failover, lease, messages, registration
from .._provision.entry import Entry, read_entry
from .._provision.failover import Attempt, Verdict
from .._provision.machines import bought_with, namesakes, of_offer
from .._provision.ownership import base_of
from .._provision.planning import BUY, WAIT
from .._registry._pins import HOST_KEYS, pinned
from .._registry._place import is_shared
from .._registry._protocol import FAILED, GONE, MADE, RELEASED, Registry, RegistryError, Variables
from .._text import number_of
from ._memory import Memory, bring_ssh_up_to_date
from ._registries import Registries, with_registries

BLANK: Result = {"changed": False, "verdicts": [], "further": {}}

_NEXT = {
    Verdict.AGAIN: "round.yml",
    Verdict.ANEW: "round.yml",
    Verdict.RELEASE: "give_back.yml",
    Verdict.STOP: "stop.yml",
}

Plan = t.Mapping[str, t.Any]


@with_registries
def judge(api: Market, registries: Registries, params: Params, check_mode: bool) -> Result:
    """The verdict for each host that bought or waited, out of its purchase and of what its offer's status says."""
    statuses: t.Mapping[str, Json] = params["offers"]
    plans = [plan for plan in params["plans"] if plan["action"] in (BUY, WAIT)]
    listed = _Listed(api)
    others = _Others(registries, plans)
    cases = [
        _Case(plan, params["purchases"].get(plan["host"]) or {}, statuses, listed, others, registries) for plan in plans
    ]
    judged = [(case, case.verdict(check_mode)) for case in cases if not case.is_planned]
    return _answer(judged, params, check_mode)


class _Others:
    """The machines that other hosts have registered: never this one's, whatever they are linked to."""

    def __init__(self, registries: Registries, plans: t.Sequence[Plan]) -> None:
        self._registries = registries
        self._plans = plans
        self._memory: Memory | None = None

    def of(self, plan: Plan) -> frozenset[str]:
        """All registered ids but the host's own; the registry is read only if a host asks."""
        if self._memory is None:
            self._memory = Memory(self._registries, (each["registry"] for each in self._plans))
        return frozenset(each for claim in self._memory.claims(without={plan["host"]}) for each in claim.resource_ids)


class _Listed:
    """The machines of the account, asked for once, and only if a host needs them."""

    def __init__(self, api: Market) -> None:
        self._api = api
        self._machines: list[Json] | None = None
        self._asked = False

    def state(self, resource_id: str) -> str | None:
        """What the API calls a machine by its own page, since some lists leave out what is deleted."""
        try:
            return t.cast("str | None", self._api.resource(resource_id, retries=0)["status"])
        except ApiError:
            return None  # nobody says that it is gone

    def all(self) -> list[Json] | None:
        """All machines, None if they cannot be listed."""
        if not self._asked:
            self._asked = True
            try:
                self._machines = self._api.resources()
            except ApiError:
                self._machines = None
        return self._machines

    def akin(self, name: str, offer_id: str, ids: t.Iterable[str]) -> list[Json] | None:
        """The machines of this name, this offer and these ids, and those that are called as they are."""
        machines, index = self.all(), self._index
        if machines is None:
            return None
        words = [("offer", offer_id), *(("id", each) for each in ids)]
        own = {place for word in words for place in index.get(word, ())}
        names = {name, *(machines[place]["name"] for place in own)}
        return [machines[place] for place in sorted(own.union(*(index.get(("name", each), ()) for each in names)))]

    # Thousands of hosts look among thousands of machines.
    @cached_property
    def _index(self) -> dict[tuple[str, t.Any], list[int]]:
        found: dict[tuple[str, t.Any], list[int]] = {}
        for place, each in enumerate(self.all() or ()):
            for word in (("id", each["resource_id"]), ("name", each["name"]), ("offer", bought_with(each))):
                found.setdefault(word, []).append(place)
        return found


class _Case:
    """A host with its plan, its purchase, and what is known of its offer since."""

    def __init__(
        self,
        plan: Plan,
        purchase: Json,
        statuses: t.Mapping[str, Json],
        listed: _Listed,
        others: _Others,
        registries: Registries,
    ) -> None:
        self.plan = plan
        self.host = str(plan["host"])
        self.purchase = purchase
        self.status = statuses.get(plan["offer_id"]) or {}
        self.registry: Registry | None = None
        self._known: Variables | None = None  # what the registry says
        self.entry, self.trouble = self._remembered(registries)
        self.outcome = self._outcome()
        self._others = others
        self.namesakes, self.is_later = self._namesakes(listed)
        self.left: list[str] | None = []
        if self.is_over or self.outcome == "rejected":
            self.left = self._left(listed)

    def _remembered(self, registries: Registries) -> tuple[Entry, str]:
        try:
            self.registry = registries.host(self.plan["registry"], self.host)
            self._known = self.registry.read() if self.registry else None
            return read_entry(self._known), ""
        except RegistryError as error:
            return Entry(), str(error)

    def _outcome(self) -> str:
        """What became of the purchase. A task that died has said nothing; then the journal tells if it was sent."""
        if self.plan["action"] == WAIT:
            return ""
        said = self.purchase.get("outcome")
        if said == "not_sent" and self.entry.is_open and self.entry.offer_id == self.plan["offer_id"]:
            return "unknown"  # not by this task, but by an earlier run
        if said:
            return str(said)
        may_be_sent = not self.plan["registry"] or self.trouble or self.entry.offer_id == self.plan["offer_id"]
        return "unknown" if may_be_sent else "not_sent"

    @property
    def is_planned(self) -> bool:
        """Whether check mode only showed what would be bought."""
        return self.outcome == "planned"

    @property
    def is_over(self) -> bool:
        """Whether the offer has come to an end that no waiting changes."""
        return self.status.get("phase") in (_states.FAILED, _states.EXPIRED, _states.ENDED)

    @property
    def ids(self) -> list[str]:
        """The machines that are or may be billed, as far as anybody named them."""
        if self.outcome == "rejected":
            return list(self.purchase.get("resource_ids") or ())  # what the status names may be another buyer's
        named = self.status.get("resource_ids") or self.purchase.get("resource_ids") or self.plan["resource_ids"]
        return list(named) or list(self.entry.resource_ids if self.entry.offer_id == self.plan["offer_id"] else ())

    @property
    def price_per_hour(self) -> float | None:
        """USD per hour."""
        # A search's price holds where the details say less (section 12).
        return price_that_counts(number_of(self.purchase.get("price_per_hour")), number_of(self.plan["price_per_hour"]))

    def _namesakes(self, listed: _Listed) -> tuple[list[Json], bool]:
        """Machines of the host's name that another purchase has made meanwhile, and whether this one is the later."""
        if self.outcome != "created":
            return [], False
        bought = (self.plan["name"], self.plan["offer_id"], self.ids)
        return namesakes(listed.akin(*bought) or (), *bought)

    def _left(self, listed: _Listed) -> list[str] | None:
        """What of an offer that is over may be billed, None if nobody can tell."""
        machines = listed.all()
        if machines is None:
            return self.ids or None
        states = {machine["resource_id"]: machine["status"] for machine in machines if machine["resource_id"]}
        found = of_offer(machines, self.plan["offer_id"], self.ids)
        own = [m["resource_id"] for m in found if m["resource_id"] not in (None, *self._others.of(self.plan))]
        if self.outcome == "rejected":
            own = []  # what somebody else has bought
        if self.status.get("phase") == _states.ENDED:
            return []
        named = {*self.ids, *own}
        states.update({each: listed.state(each) for each in named - states.keys()})
        return sorted(each for each in named if not _states.is_gone(states[each]))

    def attempt(self, *, released: bool = False) -> Attempt:
        """How it has gone, for the rule of what follows."""
        owned = self.outcome in ("created", "existing", "") or (self.outcome == "rejected" and bool(self.ids))
        billed = owned and not (self.is_over and self.left == []) if self.outcome != "rejected" else self.left != []
        return Attempt(
            outcome=self.outcome,
            error_class=str(self.purchase.get("error_class") or ""),
            phase=str(self.status.get("phase") or ""),
            ready=bool(self.status.get("ready")) and owned,
            billed=billed,
            wanted=bool(self.plan["wanted"]),
            held=bool(self.purchase.get("claimed_by")),
            unused=bool(self.plan["unused"]),
            doubled=bool(self.namesakes),
            later=self.is_later,
            released=released,
            release=bool(self.plan["may_release"]),
            # What was not sent was no attempt.
            left=int(self.plan["left"]) - (self.outcome != "not_sent"),
        )

    def verdict(self, check_mode: bool, *, released: bool = False) -> Verdict:
        """The verdict. In check mode nothing is given back and nothing else is tried."""
        found = failover.judge(self.attempt(released=released))
        return Verdict.STOP if check_mode and found is not Verdict.READY else found

    # What is kept of it

    def facts(self) -> Variables:
        """The host's variables, its machine being ready."""
        found = registration.facts(
            self.plan["offer_id"],
            self.ids,
            self.status["connections"],
            self.price_per_hour,
            self.plan["trust"],
            self.plan["known_hosts_file"],
            self.plan["identity_file"],
        )
        found.update(registration.lease_facts(self.end(), self.begin, self.price_per_hour))
        return {**found, "provision_bootstrap_host_key": self.entry.bootstrap_host_key}

    @property
    def begin(self) -> float | None:
        """When the machine was bought (seconds since the epoch): by the API, else by the registry."""
        told = (self.status.get("procured_at"), self.purchase.get("procured_at"), self.entry.journaled_at)
        return first_of(told)

    def end(self) -> float | None:
        """When its lease is over, None if it has none; what cannot be read is told by the plan."""
        if self.plan["registry"]:
            try:
                return lease.end_of(self.entry.leased, self.entry.ends_at, self.begin)
            except ValueError:
                return None
        begin = self.begin if self.begin is not None or self.outcome != "created" else time.time()
        return None if begin is None else lease.read_lease(self.plan["lease"]).end(begin)

    def left_open(self) -> Variables:
        """Without a registry the host's variables tell a ``rescue`` in the same play what may be bought for it."""
        if self.plan["registry"] or self.outcome != "unknown":
            return {}
        known: Variables = {"provision_procured_offer_id": self.plan["offer_id"], "provision_resource_ids": self.ids}
        return known if self.price_per_hour is None else {**known, "provision_price_per_hour": self.price_per_hour}

    def keep(self, verdict: Verdict, attempt: Attempt) -> bool:
        """Bring the registry up to date, durably; whether that changed it. Raises RegistryError."""
        if self.registry is None or self.trouble:
            return False
        before = self._known
        if verdict is Verdict.READY:
            named = {key: value for key, value in self.facts().items() if key != "provision_bootstrap_host_key"}
            named["provision_identity_file"] = self.plan["identity_file"] or None
            if is_shared(self.plan["registry"]):
                named = registration.portable(named)
            after: Variables | None = self._noted({**named, "provision_purchase": MADE})
        elif failover.leaves_nothing(attempt) and before is not None and self._is_free(before):
            self.registry.end(FAILED if self.status.get("phase") == _states.FAILED else GONE)
            after = None
        elif before is not None and self.ids and self.outcome in ("created", "existing", "rejected", ""):
            after = self._noted({"provision_resource_ids": self.left or self.ids, "provision_purchase": MADE})
        else:
            after = before
        return after != before

    def _noted(self, changes: Variables) -> Variables:
        """The entry with these changes; what it says already is not written again."""
        if self._known is not None and all(self._known.get(name) == value for name, value in changes.items()):
            return self._known
        return t.cast(Registry, self.registry).note(changes)

    def _is_free(self, entry: Variables) -> bool:
        """Whether the entry is that of this attempt, and no purchase of it may be under way."""
        known = read_entry(entry)
        return known.offer_id == self.plan["offer_id"] and (not known.is_open or self.outcome != "not_sent")

    def said(self) -> str:
        """What the purchase or the last look said."""
        if self.trouble:
            return self.trouble
        if self.status.get("phase") == _states.FAILED:
            return messages.failed(self.plan["offer_id"], self.status.get("failure_reason"))
        return str(
            self.status.get("msg") or self.purchase.get("msg") or f"Nobody looked at offer {self.plan['offer_id']}."
        )

    def failure(self, attempt: Attempt, tried: t.Sequence[str]) -> str:
        """Why the host stops, and what is billed."""
        if attempt.outcome in ("unknown", "claimed"):
            return self._unsettled()
        if attempt.doubled and not attempt.released:
            ids = self.left or self.ids
            return messages.doubled(self.host, self.price_per_hour, ids, self.namesakes, self.is_later)
        owned = attempt.billed and not attempt.released
        money = (
            messages.billed(self.price_per_hour, self.left or self.ids) if owned else messages.nothing_billed(self.host)
        )
        waits = owned and not self.is_over and attempt.outcome != "rejected" and not self.trouble
        again = messages.keep_waiting(int(self.plan["poll"]["retries"])) if waits else ""
        if attempt.released:
            again = messages.DELETED_AGAIN
        advice = str(self.plan["advice"]) if failover.needs_another(attempt) else ""
        if owned and self.status.get("phase") == _states.FAILED:
            advice = messages.end_first(self.host)
        return messages.joined(self.said(), again, money, messages.tried(tried), advice)

    def _unsettled(self) -> str:
        """The same of a purchase whose end nobody knows. The task knows best, unless it has sent nothing itself."""
        offer_id, outcome = str(self.plan["offer_id"]), self.purchase.get("outcome")
        if not outcome:
            return messages.died(offer_id, self.said(), self.price_per_hour, self.ids)
        if outcome == "not_sent":
            return messages.joined(self.said(), messages.still_open(self.host, offer_id, self.price_per_hour, self.ids))
        return self.said()


def _answer(judged: t.Sequence[tuple[_Case, Verdict]], params: Params, check_mode: bool) -> Result:
    """The verdicts as plain mappings, with the registry brought up to date."""
    # Of hosts that are at another step meanwhile the further machines stay.
    answer: Result = {"changed": False, "verdicts": [], "further": dict(params["before"].get("further") or {})}
    warnings: list[str] = []
    rows = {}
    for case, verdict in judged:
        attempt = case.attempt()
        attempts = [*case.plan["attempts"], *_tried(case, verdict)]
        answer["further"].pop(case.host, None)
        found: Result = {"host": case.host, "call": case.plan["call"], "facts": {}, "stop": "", "release": []}
        if not check_mode:
            try:
                answer["changed"] |= case.keep(verdict, attempt)
            except RegistryError as error:
                case.trouble = str(error)
                verdict = Verdict.STOP
        taken = _taken(case, params["inventory"]) if verdict is Verdict.READY else []
        if taken:
            verdict = Verdict.STOP
            case.trouble = messages.names_taken(case.host, taken)
        if verdict is Verdict.READY:
            found["facts"] = case.facts()
            answer["further"][case.host] = _further(case)
            rows[case.host] = registration.row(case.host, found["facts"])
            warnings.append(_unnamed(case))
        elif verdict is Verdict.RELEASE:
            found["release"] = case.left or case.ids
        elif verdict is Verdict.STOP:
            found["stop"] = case.failure(attempt, [each["offer_id"] for each in attempts])
            found["facts"] = case.left_open()
        found.update(
            next=_NEXT.get(verdict) or _reached_by(case),
            again=verdict in (Verdict.AGAIN, Verdict.ANEW),
            attempts=attempts,
        )
        answer["verdicts"].append(found)
    if not check_mode:
        warnings += bring_ssh_up_to_date(case.plan["registry"] for case, _verdict in judged)
    if rows:
        answer["ansible_stats"] = {"data": {"provision_hosts": rows}, "per_host": False, "aggregate": True}
    none_next = not any(found["next"] for found in answer["verdicts"])
    call = next((str(plan["call"]) for plan in params["plans"]), "")
    return {**answer, "call": call, "none_next": none_next, "warnings": list(filter(None, warnings))}


def _taken(case: _Case, inventory: t.Mapping[str, t.Any]) -> list[str]:
    """Hosts of the inventory whose names the further machines would have, but for those that the role has added."""
    machines = case.status["connections"][1:]
    names = registration.further_names(case.host, len(machines) + 1)
    return [
        name
        for name, machine in zip(names, machines)
        if name in inventory and machine["resource_id"] not in inventory[name]
    ]


def _further(case: _Case) -> list[Result]:
    """The further machines of a cluster, as hosts of the first one's groups."""
    plan = case.plan
    machines = registration.further(
        case.host, case.status["connections"], plan["trust"], plan["known_hosts_file"], plan["identity_file"]
    )
    return [{**each, "groups": plan["groups"]} for each in machines]


def _reached_by(case: _Case) -> str:
    """The file of the role that follows for a machine that runs."""
    if len(case.status["connections"]) > 1:
        return "prepare.yml"
    plan = case.plan
    return registration.reached_by(
        plan["reach"], plan["verify"], case.entry, plan["trust"], is_shared(plan["registry"])
    )


def _tried(case: _Case, verdict: Verdict) -> list[Result]:
    """The attempt as the role hands it to a rescue; a machine that ran before this run is none."""
    if case.plan["action"] != BUY and verdict is Verdict.READY:
        return []
    return [
        {
            "offer_id": case.plan["offer_id"],
            "outcome": case.outcome or "existing",
            "error_class": case.purchase.get("error_class") or "",
            "msg": case.said(),
        }
    ]


def _unnamed(case: _Case) -> str:
    """A warning, once, where the API calls the machine otherwise than it was asked to."""
    kept = sorted({each["name"] for each in case.status.get("instances") or () if each.get("name")})
    # Several machines of one offer are numbered after the name, by which they are found again.
    numbered = len(kept) > 1 and all(case.plan["name"] in (name, base_of(name)) for name in kept)
    if not case.plan["unused"] or case.plan["name"] in kept or numbered:
        return ""
    return messages.unnamed(case.host, case.plan["name"], kept, by_name=not case.plan["registry"])


@with_registries
def release(api: Market, registries: Registries, params: Params, check_mode: bool) -> Result:
    """What follows once a host's machines were told to end; the registry forgets only what has ended for certain."""
    plan, ended = params["plans"][0], params["deleted"]
    purchase = params["purchases"].get(plan["host"]) or {}
    case = _Case(plan, purchase, params["offers"], _Listed(api), _Others(registries, [plan]), registries)
    over = bool(ended) and all(each.get("billing_stopped") for each in ended)
    attempt = case.attempt(released=over)
    verdict = case.verdict(check_mode, released=over) if over else Verdict.STOP
    tried = [dict(each) for each in params["before"].get("attempts") or []]
    if over and tried:
        tried[-1]["msg"] = messages.joined(str(tried[-1].get("msg") or ""), messages.DELETED_AGAIN)
    warnings = []
    if over and case.registry is not None:
        try:
            case.registry.end(RELEASED)
            warnings = bring_ssh_up_to_date([plan["registry"]])
        except RegistryError as error:  # the next run sees that the machines are gone
            warnings = [str(error)]
    left = "; ".join(str(each.get("msg")) for each in ended if not each.get("billing_stopped"))
    money = messages.DELETED_AGAIN if over else messages.joined(left, messages.billed(case.price_per_hour, case.ids))
    stop = case.failure(attempt, [each["offer_id"] for each in tried]) if over else messages.joined(case.said(), money)
    return {
        "changed": over,
        "over": over,
        "money": money,
        "attempts": tried,
        "call": plan["call"],
        "again": verdict in (Verdict.AGAIN, Verdict.ANEW),
        "next": _NEXT.get(verdict, "stop.yml"),
        "stop": stop,
        "warnings": warnings,
    }


def reached(params: Params, check_mode: bool) -> Result:
    """Note that the host's machine was reached: what was done once is not done again. Raises Failure."""
    plan, registries = params["plans"][0], Registries.of(params)
    done: Variables = {"provision_verified": True} if plan["verify"] else {}
    seen: Variables = {HOST_KEYS: pinned(plan["known_hosts_file"])} if _shares_keys(plan) else {}
    try:
        registry = registries.host(plan["registry"], plan["host"])
        before = registry.read() if registry else None
        if check_mode or registry is None or before is None:
            return {"changed": False}
        if "provision_bootstrap_host_key" in before:
            done["provision_bootstrap_host_key"] = None
        return {"changed": bool(done or seen) and registry.note({**done, **seen}) != before}
    except RegistryError as error:
        if done:
            raise Failure(str(error), error.error_class) from None
        # The next run notes it: without it another controller takes the key that answers.
        return {"changed": False, "warnings": [str(error)]}
    finally:
        registries.close()


def _shares_keys(plan: Plan) -> bool:
    """Whether other controllers are told the host keys of the machine."""
    return is_shared(plan["registry"]) and plan["trust"] != "none"


JUDGE = on_api(Market, judge, _decide_spec.JUDGE, BLANK)
RELEASE = on_api(Market, release, _decide_spec.JUDGE, {"changed": False})
REACHED = Operation(reached, {**_spec.API, **_decide_spec.JUDGE}, {"changed": False})
