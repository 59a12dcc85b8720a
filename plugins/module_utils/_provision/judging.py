# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of a host's plan: its holdings, their bill, the changes of its registry entry, and why it stops.

`purchase.what_follows` decides what the host does next.
"""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass, replace
from functools import cached_property

from .. import _states
from .._text import (
    QUOTA,
    applicable,
    end_option,
    first_timestamp,
    ids_in_words,
    joined,
    mapping_of,
    nodes_of,
    read_price,
    seconds_of,
    sentence,
    usd,
    utc,
)
from . import holdings, lease, purchase, storage
from .entry import (
    AFFECTED,
    IDS,
    JOURNALED,
    LISTED_BEFORE,
    MADE,
    OFFER,
    PRICE,
    PURCHASE,
    Entry,
    facts_of_first_boot,
    facts_of_machine,
    facts_of_order,
    further_names,
    has_already,
    instances_in_order,
    lease_facts,
    project_of,
    read_entry,
)
from .holdings import Contradiction, Holdings, PurchaseLook, disowned, ids_listed_before
from .ledger import FAILED, GONE
from .messages import NO_REASON, REPAIR, described, may_be_bought, nothing_billed, offers_tried, still_open
from .ownership import Machine, base_of, is_later, refreshed
from .planning import BUY, WAIT
from .purchase import ANSWERED_YES, Attempt, Verdict
from .search import bill_between, highest_known_price, product_key
from .storage import STORAGE_IDS, Storage, merged_storage, read_storage, storage_changes

Row = t.Mapping[str, t.Any]
Variables = dict[str, t.Any]

_OVER = (_states.FAILED, _states.EXPIRED, _states.ENDED)
# The consequence if the API did not keep a name, by whether there is a registry
_WITHOUT_NAME = {
    True: "Only the registry file tells which machine this host owns; keep it.",
    False: "Without a registry (provision_registry_dir is empty) the next run does not find it, and buys another.",
}


@dataclass(frozen=True)
class JudgedHost:
    """A host with its plan, the result of its purchase, and the status of its offer since.

    has_entry: whether the registry has an ``entry``. trouble: why the registry cannot be read or written.
    listed: listed resources that may concern the host, by id; None if the account was not, or could not be, listed.
    read: resources that were read by their ids; None for a 404.
    holders: other hosts that hold resources, by resource id.
    listed_before: ids that were listed before anything was bought.
    namesakes: machines of another purchase with the name of the host's machines.
    now: seconds since the epoch.
    storage_ends: ids of the storage that ends with released machines.
    """

    plan: Row
    purchase: Row
    status: Row
    entry: Entry
    has_entry: bool = False
    trouble: str = ""
    listed: t.Mapping[str, Machine] | None = None
    read: t.Mapping[str, Machine | None] | None = None
    holders: t.Mapping[str, str] | None = None
    listed_before: t.Collection[str] = ()
    namesakes: t.Sequence[Machine] = ()
    now: float = 0.0
    storage_ends: tuple[str, ...] = ()

    # The result

    @property
    def host(self) -> str:
        """The host's name in the inventory."""
        return str(self.plan["host"])

    @property
    def offer_id(self) -> str:
        """The id of the planned offer."""
        return str(self.plan["offer_id"])

    @property
    def offer(self) -> Row:
        """The properties of the planned offer."""
        return t.cast(Row, self.plan.get("offer") or self.entry.offer)

    @cached_property
    def outcome(self) -> str:
        """The outcome of the purchase; empty if it was made before this run.

        A task that died has no result; then the journal says whether the purchase may have been sent.
        """
        if self.plan["action"] == WAIT:
            return ""
        outcome = str(self.purchase.get("outcome") or "")
        if outcome == "not_sent" and self.entry.is_open and self._is_noted:
            return "unknown"  # this task sent nothing, but an earlier run did
        may_be_sent = not self.plan["registry"] or self.trouble or self._is_noted
        return outcome or ("unknown" if may_be_sent else "not_sent")

    @property
    def is_planned(self) -> bool:
        """Whether check mode only showed what would be bought."""
        return self.outcome == "planned"

    @property
    def is_over(self) -> bool:
        """Whether the offer's phase is final."""
        return self.status.get("phase") in _OVER

    @property
    def is_failed(self) -> bool:
        """Whether the offer failed after it was bought."""
        return self.status.get("phase") == _states.FAILED

    @property
    def why_over(self) -> str:
        """The reason for the ledger if the registry forgets the purchase."""
        return FAILED if self.is_failed else GONE

    @property
    def _is_noted(self) -> bool:
        return self.entry.offer_id == self.offer_id

    @property
    def is_superseded(self) -> bool:
        """Whether the entry is about a purchase that another run has made or begun meanwhile, also of the same offer.

        A task notes a refusal before it ends, so a purchase that is open afterwards was begun since.
        """
        if not self._is_noted:
            return self.entry.may_have_bought
        bought_nothing = self.outcome in ("not_sent", "rejected") and not self.purchase.get("resource_ids")
        return bought_nothing and (self.entry.is_made or self.entry.is_open)

    @property
    def _overtaken(self) -> str:
        """The message if, by the registry, the purchase was ended, is ending, or superseded meanwhile; else empty."""
        entry = self.entry
        if self.is_superseded:
            ids = ids_in_words(entry.resource_ids)
            return f"The registry now names offer {entry.offer_id} of another run for {self.host}: {ids}."
        is_dropped = entry.reaped_at if self._is_noted else not entry.offer_id
        is_certain = self.plan["registry"] and not self.trouble and self.outcome in ANSWERED_YES
        ended = f"The registry says that someone has ended {self.host} meanwhile."
        return ended if is_certain and is_dropped else ""

    @property
    def price_per_hour(self) -> float | None:
        """The higher of the purchase's and the planned price, in USD per hour; None if both are unknown."""
        return highest_known_price(
            read_price(self.purchase.get("price_per_hour")), read_price(self.plan["price_per_hour"])
        )

    # Holdings

    @cached_property
    def look(self) -> PurchaseLook:
        """The resources that were named as bought; for a purchase that was not made only the noted ones."""
        entry = self.entry if self._is_noted else Entry()
        # A purchase that failed but left machines was made as well, and may also have left storage.
        is_made = self.outcome in ANSWERED_YES or entry.is_made
        noted = [*entry.resource_ids, *self.plan["resource_ids"]]
        noted += self.purchase.get("resource_ids") or () if self.outcome != "" else ()
        listed = self.listed or {}
        return PurchaseLook(
            self.offer_id,
            noted=tuple(dict.fromkeys(noted)),
            named=tuple(self.status.get("resource_ids") or ()) if is_made else (),
            noted_at=seconds_of(entry.journaled_at),
            listed=listed if is_made else {item: listed[item] for item in noted if item in listed},
            read=self.read or {},
            holders=self.holders or {},
            listed_before={*entry.listed_before, *(self.listed_before if self.plan.get("is_new") else ())},
            storage={item.resource_id for item in entry.storage},
        )

    @property
    def held(self) -> Holdings:
        """The holdings of the purchase."""
        return self.look.concluded[0]

    @cached_property
    def storage(self) -> tuple[Storage, ...]:
        """The storage that the purchase has bought, or that the entry notes."""
        noted = self.entry.kept_storage if self.is_superseded else self.entry.storage
        return self.look.storage_with(self.held.storage, noted, self.offer)

    @property
    def all_storage(self) -> tuple[Storage, ...]:
        """The storage, with storage kept from earlier machines, which a shared registry notes outside the entry."""
        return merged_storage(read_storage(self.plan.get("keeps")), self.storage)

    @property
    def storage_left(self) -> str:
        """A sentence about storage that is still billed once the machines have ended; empty without any."""
        return storage.storage_in_words(
            self.host, [item for item in self.all_storage if item.resource_id not in self.storage_ends]
        )

    @property
    def ended(self) -> str:
        """A sentence that the machines, and which storage, have ended."""
        over = f"Its storage also ends: {ids_in_words(self.storage_ends)}." if self.storage_ends else ""
        return joined("It has ended.", over)

    @property
    def given_back(self) -> str:
        """Sentences about machines that were given back, and storage that is still billed."""
        return joined(self.ended, self.storage_left)

    @property
    def needs_holders(self) -> bool:
        """Whether resources that are named or listed may belong to other hosts."""
        look, may_give_back = self.look, self.plan["may_release"] and (self.is_over or self.outcome == "rejected")
        # Only resources that no other host holds are given back.
        return not look.names_only_proved or len(look.listed) > len(look.noted) or bool(look.linked or may_give_back)

    @property
    def contradictions(self) -> tuple[Contradiction, ...]:
        """The resources that the API names as bought, but that cannot be."""
        return self.look.concluded[1]

    @property
    def disowned(self) -> list[str]:
        """The ids in this purchase's entry that proved to belong to someone else."""
        named = disowned(*self.look.concluded) if self._is_noted else []
        return [item for item in named if item in self.entry.resource_ids]

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids that may be billed, for messages; if no id is proved, those in the offer's status."""
        if self.outcome == "rejected":
            return tuple(self.purchase.get("resource_ids") or ())  # the status may name another buyer's machines
        return self.held.billable or tuple(self.status.get("resource_ids") or ())

    @property
    def needs_list(self) -> bool:
        """Whether the account must be listed; not if the status names the same machines that ran before.

        If a run was killed before its first look, the ids that it noted may be storage.
        """
        is_unseen = self._is_noted and bool(self.entry.resource_ids) and not self.entry.was_ready
        is_new = is_unseen or self.outcome in ("created", "rejected")
        return is_new or self.is_over or not self.look.names_only_proved

    @cached_property
    def remaining(self) -> tuple[str, ...] | None:
        """The ids that may still be billed if the purchase is over or was refused; None if they cannot be read."""
        if self.status.get("phase") == _states.ENDED and self.outcome != "rejected":
            return ()
        if self.listed is None:
            return self.ids or None
        return self.look.left_of(self.ids if self.outcome == "rejected" else self.held.billable)

    @property
    def billed(self) -> tuple[str, ...]:
        """The ids that may be billed at this moment."""
        return (self.remaining if self.is_over or self.outcome == "rejected" else None) or self.ids

    @property
    def proved(self) -> tuple[str, ...]:
        """The billed ids that the purchase certainly holds, which the registry notes."""
        return tuple(item for item in self.billed if item in self.held.ids)

    @property
    def endable(self) -> tuple[str, ...]:
        """The proved ids that the role may end. An id that the API does not show may be storage with data."""
        return tuple(item for item in self.proved if self.look.page_of(item))

    @property
    def _runs_on(self) -> tuple[str, ...]:
        """The ids of these that have not ended."""
        return tuple(item for item in self.endable if item in (self.remaining or ()))

    @property
    def _is_later(self) -> bool:
        """Whether another purchase of the host's name was made before this one."""
        return is_later(list(filter(None, map(self.look.page_of, self.endable))), self.namesakes)

    @property
    def unlisted(self) -> set[str]:
        """The ids that must be read one by one, since the list omits them or says that they are gone.

        This also covers ids from the purchase's own answer, which may name someone else's machine.
        """
        listed = self.listed or {}
        return {item for item in self.ids if item not in listed or _states.is_gone(listed[item]["status"])}

    def with_pages(self, ids: t.Iterable[str], read: t.Mapping[str, Machine | None]) -> JudgedHost:
        """Return the case once the pages of these ids were requested; those that could be read are in ``read``."""
        listed = refreshed((self.listed or {}).values(), {}, {*ids}.difference(read))
        return replace(self, read=read, listed=self.listed and {item["resource_id"]: item for item in listed})

    @property
    def error_class(self) -> str:
        """The error class of the purchase or, if the offer failed since, `QUOTA` if that was the reason."""
        of_purchase = str(self.purchase.get("error_class") or "")
        of_failure = purchase.class_of(self.status.get("failure_reason")) if self.is_failed else ""
        return of_purchase or (of_failure if of_failure == QUOTA else "")

    # Verdict and facts

    def attempt(self, *, released: bool = False, unsound: bool = False) -> Attempt:
        """Return the attempt, as input of `purchase.what_follows`."""
        return Attempt(
            outcome=self.outcome,
            error_class=self.error_class,
            phase=str(self.status.get("phase") or ""),
            ready=bool(self.status.get("ready")) and not self.held.pending,
            billed=self.remaining != ()
            if self.outcome == "rejected"
            else self.outcome in ANSWERED_YES and not (self.is_over and self.remaining == ()),
            unclear=bool(self.contradictions or self.held.pending),
            doubled=bool(self.namesakes),
            later=self._is_later,
            wanted=bool(self.plan["wanted"]),
            unused=bool(self.plan["unused"]),
            released=released,
            unsound=unsound,
            overtaken=bool(self._overtaken),
            release=bool(self.plan["may_release"]) and bool(self.endable),
            # A purchase that was not sent does not count as an attempt.
            attempts_left=int(self.plan["attempts_left"]) - (self.outcome != "not_sent"),
        )

    def verdict(self, check_mode: bool, *, released: bool = False, unsound: bool = False) -> Verdict:
        """Return the verdict. In check mode no machine is given back and no other offer is tried."""
        verdict = purchase.what_follows(self.attempt(released=released, unsound=unsound))
        return Verdict.STOP if check_mode and verdict is not Verdict.READY else verdict

    @property
    def _procured(self) -> float | None:
        """When the offer was bought, by the API (seconds since the epoch); None if unknown."""
        return first_timestamp((self.status.get("procured_at"), self.purchase.get("procured_at")))

    @property
    def begin(self) -> float | None:
        """When the machine was bought (seconds since the epoch), by the API, else by the registry; None if unknown."""
        return lease.begin_of(seconds_of(self.entry.journaled_at), self._procured, adopted=self.entry.adopted)

    def end(self) -> float | None:
        """Return when the lease ends (seconds since the epoch); None without a lease, or if it is invalid.

        The plan has reported an invalid lease.
        """
        if self.plan["registry"]:
            entry = read_entry(self._lost) if self._lost else self.entry
            try:
                return lease.read_end(entry.leased, entry.ends_at, self._procured)
            except ValueError:
                return None
        begin = self.begin if self.begin is not None or self.outcome != "created" else self.now
        return lease.end_of(lease.read_time_limit(self.plan["lease"]), begin)

    @cached_property
    def instances(self) -> list[Row]:
        """The connections of its machines, the host's first. A machine that a status omits keeps place and address."""
        return instances_in_order(self.status.get("connections") or [], self.entry.instances, self.held.ids)

    def facts(self) -> Variables:
        """Return the variables of a host whose machine is ready."""
        plan = self.plan
        facts = facts_of_machine(
            self.offer_id,
            self.held.ids,
            self.instances,
            self.price_per_hour,
            plan["trust"],
            plan["known_hosts_file"],
            plan["identity_file"],
        )
        end = self.end()
        facts.update(lease_facts(end, bill_between(self.price_per_hour, self.begin, end)))
        facts.update(storage.storage_ids_variable(self.all_storage))
        return {**facts, **facts_of_first_boot(self.entry)}

    def left_open(self) -> Variables:
        """Return variables for a ``rescue`` in the same play about an unknown outcome, if there is no registry."""
        if self.plan["registry"] or self.outcome != "unknown":
            return {}
        price = self.price_per_hour
        return {
            "provision_procured_offer_id": self.offer_id,
            "provision_resource_ids": list(self.ids),
            **({} if price is None else {"provision_price_per_hour": price}),
        }

    # The registry

    def noted(self, verdict: Verdict) -> Variables:
        """Return the changes of the host's entry; empty without changes or without an entry."""
        changes: Variables = {}
        if verdict is Verdict.READY:
            elsewhere = {*facts_of_first_boot(self.entry), STORAGE_IDS}  # noted with the boot, and with the storage
            facts = {key: item for key, item in self.facts().items() if key not in elsewhere}
            changes = {**self._lost, **facts}
            changes.update(provision_identity_file=self.plan["identity_file"] or None, provision_purchase=MADE)
        elif self._is_lost and self._runs_on and verdict is Verdict.STOP:
            changes = {**self._lost, OFFER: self.offer_id, PRICE: self.price_per_hour, PURCHASE: MADE}
            changes[IDS] = list(self._runs_on)
        elif not self.has_entry or self.is_superseded or self.outcome not in (*ANSWERED_YES, "rejected"):
            return {}
        else:
            if self.proved:
                changes.update(provision_resource_ids=list(self.proved), provision_purchase=MADE)
            if before := ids_listed_before(self.contradictions):
                changes[LISTED_BEFORE] = before
        return {**changes, **self._affected, **self.noted_storage}

    @property
    def _is_lost(self) -> bool:
        """Whether someone has moved or removed the entry since this run's purchase."""
        return bool(self.plan["registry"]) and self.outcome == "created" and not self.entry.offer_id

    @property
    def _lost(self) -> Variables:
        """What the lost entry had of the order, such as its lease; empty if none was lost."""
        if not self._is_lost:
            return {}
        order: Row = next(iter(self.plan.get("purchases") or ()), {})
        options, note = mapping_of(order.get("options")), mapping_of(order.get("note"))
        began = {} if self.begin is None else {JOURNALED: utc(self.begin)}
        return facts_of_order(options, project_of(options.get("project")), {**note, **began})

    def adds_to(self, before: Variables | None, changes: Variables) -> bool:
        """Whether these changes alter the entry, or it has ids that another host or offer proved to have."""
        return bool(self.disowned) or (bool(changes) and not has_already(before, changes))

    @property
    def _affected(self) -> Variables:
        """The entry's variable for storage of others that the purchase has named; empty without any."""
        ids = list(dict.fromkeys((*self.entry.affected, *self.held.affected)))
        return {AFFECTED: ids} if ids else {}

    @property
    def noted_storage(self) -> Variables:
        """The entry's variables for storage, which may outlive the entry; empty if there is and was none."""
        ends = self.storage_ends  # if this run does not end it, the next sweep does
        noted = [replace(item, is_to_end=item.resource_id in ends or item.is_to_end) for item in self.storage]
        return storage_changes(noted, self.entry.storage)

    @property
    def is_forgotten(self) -> bool:
        """Whether the entry is removed: it is about this purchase, and no resource of the attempt is billed or runs."""
        return self._is_noted and not self.is_superseded and purchase.leaves_nothing(self.attempt())

    # Messages: `failure` is the whole message of a host that stops

    def reason(self) -> str:
        """Return why the host stops, in the words of the purchase or the last look."""
        if self.trouble:
            return self.trouble
        if self.contradictions:
            return holdings.disagreed(self.host, self.offer_id, self.price_per_hour, self.held.ids, self.contradictions)
        if self.is_failed:
            return f"Offer {self.offer_id} failed: {sentence(self.status.get('failure_reason') or NO_REASON)}"
        msg = self.status.get("msg") or self.purchase.get("msg") or f"Offer {self.offer_id} was not checked."
        unread = holdings.not_shown_yet(self.held.pending) if self.held.pending else ""
        return joined(str(msg), unread)

    def failure(self, attempt: Attempt, earlier: t.Sequence[str]) -> str:
        """Return why the host stops, what is billed, and what to do. ``earlier``: attempts, in words."""
        if attempt.outcome in ("unknown", "claimed"):
            return self._unknown_outcome()
        if self.contradictions and not self.trouble:
            return self.reason()
        if self.namesakes and not attempt.released:
            return joined(self._two_purchases(), str(self.plan["spared"]))
        if attempt.is_left:
            state = joined(self._waiting(), str(self.plan["spared"]))
            money = bought_and_billed(self.price_per_hour, self.billed)
            end = f"compute_index.supply.decommission {end_option([self.host])}"
            advice = f"End it with {end}; then run again for another one." if self.is_failed else ""
            advice = REPAIR if self.trouble else advice
        else:
            state = self.ended if attempt.released else ""
            money = self.storage_left or ("" if self.is_superseded or self.namesakes else nothing_billed(self.host))
            advice = str(self.plan["advice"]) if purchase.needs_another(attempt) else ""
            # A machine that was ended on purpose is not replaced.
            advice = f"{self._overtaken} No other offer is tried: run again." if attempt.overtaken else advice
        # A machine that was ready has ended only because of the other purchase.
        reason = "" if self.namesakes and attempt.ready else self.reason()
        return joined(reason, self._released_namesake, state, money, offers_tried(earlier), advice)

    @property
    def _released_namesake(self) -> str:
        return (
            f"Offer {self.offer_id} was given back, since another purchase has {self.host}'s name and is billed:"
            f" {described(self.namesakes)}. Run again."
            if self.namesakes
            else ""
        )

    def _two_purchases(self) -> str:
        """The message if a machine of another purchase, by another run or project, has the host's name."""
        which = "this one, which has failed" if self.is_failed else "the later one"
        ends_own = self.is_failed or self._is_later
        ids = self.billed if ends_own else [item["resource_id"] for item in self.namesakes]
        end = "; ".join(
            f"ansible localhost -m compute_index.supply.delete_resource -a resource_id={item}" for item in ids
        )
        return (
            f"Two purchases have {self.host}'s name, and both are billed: this one, {ids_in_words(self.billed)}"
            f" ({usd(self.price_per_hour)}), and {described(self.namesakes)}. If another run has bought the other one"
            f" for this host, end {which}: {end}"
        )

    def _waiting(self) -> str:
        """The advice to continue waiting for what is billed; empty if that cannot help."""
        if self.is_over or self.outcome == "rejected" or self.trouble:
            return ""
        retries = int(self.plan["poll"]["retries"])
        often = f"{retries} times" if retries else "once"
        return f"It was checked {often}; run again to continue waiting."

    def _unknown_outcome(self) -> str:
        """The message of a host whose purchase has an unknown outcome: the task's, unless it sent nothing itself."""
        outcome, reason = self.purchase.get("outcome"), self.reason()
        if not outcome:  # the task was killed, or its Python broke down
            words = " ".join(reason.split()).rstrip(".")
            return (
                f"The task that was buying offer {self.offer_id} ended without a result ({words}), and its purchase"
                f" may have been sent. {may_be_bought(self.price_per_hour, self.ids)} Do not buy another offer instead."
                " Run again: the next run first asks what became of this one."
            )
        before = still_open(self.host, self.offer_id, self.price_per_hour, self.ids)
        return reason if outcome == self.outcome else joined(reason, before)

    # Messages about attempts, and about machines that run

    def attempt_rows(self, verdict: Verdict) -> list[Variables]:
        """Return the attempt as the role gives it to a ``rescue``; empty for a machine that ran before this run."""
        if self.plan["action"] != BUY and verdict is Verdict.READY:
            return []
        is_failed = self.is_failed or _states.word(self.purchase.get("status")) == _states.FAILED
        return [
            {
                "offer_id": self.offer_id,
                "outcome": self.outcome or "existing",
                "error_class": self.error_class,
                # The vendor sold it, but could not deliver it.
                "product": product_key(self.offer, read_price(self.plan["price_per_hour"])) if is_failed else "",
                **{name: str((self.plan.get("offer") or {}).get(name) or "") for name in ("vendor", "region")},
                "msg": self.reason(),
            }
        ]

    def taken_names(self, inventory: t.Mapping[str, t.Any]) -> list[str]:
        """Return inventory hosts that have the names of further machines, except those that the role added."""
        machines = self.instances[1:]
        names = further_names(self.host, len(machines) + 1)
        return [
            name
            for name, machine in zip(names, machines)
            if name in inventory and machine["resource_id"] not in inventory[name]
        ]

    def warnings(self) -> list[str]:
        """Return warnings about a running machine.

        It has another name, more or fewer machines than were bought, or storage of others. Or its entry is new, since
        someone has removed or moved the entry of its purchase meanwhile.
        """
        host, offer, held = self.host, f"Offer {self.offer_id} of {self.host}", self.held
        nodes, shown = nodes_of(self.offer) or math.inf, len(self.status.get("connections") or ())
        attached = [item for item in held.affected if item not in self.entry.affected]  # the others were reported
        return applicable(
            {
                **self._other_name,
                f"{offer} has {nodes:g} machine(s), but the API says that it bought"
                f" {len(held.ids)}: {ids_in_words(held.ids)}. All of them are billed and kept. Ask the API's support if"
                " that is wrong.": (len(held.ids) > nodes),
                f"{offer} has {nodes:g} machines, but the API shows {shown}: compute_index.supply.audit says whether"
                " the others have ended. None is replaced, and all count until they end together.": (
                    shown < nodes < math.inf
                ),
                f"{offer} names storage that it has not bought: {ids_in_words(attached)}. {host} neither counts nor"
                " ends it.": attached,
                f"Someone has moved or removed the registry entry of {host} during its purchase. Its machine is noted"
                " again, with what was noted at the purchase. If the entry was moved into a shared registry, run"
                " compute_index.supply.registry again.": self._is_lost,
            }
        )

    @property
    def _other_name(self) -> dict[str, bool]:
        """The warning that the API gave the machine another name than requested, and whether it did."""
        # The name with which the purchase was sent; the host's machines may have another one now.
        name = (self.entry.name if self._is_noted else "") or str(self.plan["name"])
        kept = sorted({item["name"] for item in self.status.get("instances") or () if item.get("name")})
        # Several machines of one offer are numbered after the name, and can still be found by it.
        numbered = len(kept) > 1 and all(name in (item, base_of(item)) for item in kept)
        names, consequence = ", ".join(kept) or "nothing", _WITHOUT_NAME[bool(self.plan["registry"])]
        text = f"The API did not keep a name: {self.host} is called {names} instead of {name}. {consequence}"
        return {text: bool(self.plan["unused"]) and not (name in kept or numbered)}


def bought_and_billed(price: float | None, ids: t.Iterable[str]) -> str:
    """The message about a purchase that brought no usable machine."""
    return f"The offer is BOUGHT and may be billed at {usd(price)}. Resource ids: {ids_in_words(ids)}."
