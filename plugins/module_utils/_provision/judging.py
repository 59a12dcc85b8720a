# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of a host's plan: what it holds, what may be billed, what the registry keeps, and why the host stops.

What follows for the host is decided by `purchase.what_follows`.
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
    nodes_of,
    read_price,
    seconds_of,
    sentence,
    usd,
)
from . import holdings, lease, purchase, storage
from .entry import (
    AFFECTED,
    LISTED_BEFORE,
    MADE,
    Entry,
    facts_of_first_boot,
    facts_of_machine,
    further_names,
    has_already,
    instances_in_order,
    lease_facts,
)
from .holdings import Contradiction, Holdings, PurchaseLook, disowned, ids_listed_before
from .ledger import FAILED, GONE
from .messages import NO_REASON, REPAIR, described, may_be_bought, nothing_billed, offers_tried, still_open
from .ownership import Machine, base_of, is_later
from .planning import BUY, WAIT
from .purchase import ANSWERED_YES, Attempt, Verdict
from .search import highest_known_price, product_key
from .storage import STORAGE_IDS, Storage, merged_storage, read_storage, storage_changes

Row = t.Mapping[str, t.Any]
Variables = dict[str, t.Any]

_OVER = (_states.FAILED, _states.EXPIRED, _states.ENDED)
# What a name that was not kept means, by whether there is a registry
_WITHOUT_NAME = {
    True: "Only the registry file tells which machine this host owns; keep it.",
    False: "With provision_registry_dir empty NOTHING tells the next run that it exists: it would buy another.",
}


# After one of two purchases of a host's name has ended again
_GIVEN_BACK = "Offer {} was given back, since {} has another purchase of its name, which is billed: {}. Run again."


@dataclass(frozen=True)
class JudgedHost:
    """A host with its plan, the result of its purchase, and what is known of its offer since.

    ``has_entry``: whether the registry has an entry, which is ``entry``. ``trouble``: why it cannot be read or kept.
    ``listed``: machines that may concern the host, by id; None if the account could not be listed, or was not yet.
    ``listed_before``: ids that were listed before anything was bought. ``namesakes``: machines of another purchase
    that are called as its own. ``storage_ends``: the ids of the storage that ends with machines that were given back.
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

    # What happened

    @property
    def host(self) -> str:
        """The host's name in the inventory."""
        return str(self.plan["host"])

    @property
    def offer_id(self) -> str:
        """The offer that the plan is about."""
        return str(self.plan["offer_id"])

    @property
    def offer(self) -> Row:
        """What is known of it."""
        return t.cast(Row, self.plan.get("offer") or self.entry.offer)

    @cached_property
    def outcome(self) -> str:
        """What became of the purchase; empty if it was made before.

        A task that died says nothing; then the journal tells whether the purchase may have been sent.
        """
        if self.plan["action"] == WAIT:
            return ""
        outcome = str(self.purchase.get("outcome") or "")
        if outcome == "not_sent" and self.entry.is_open and self._is_noted:
            return "unknown"  # not by this task, but by an earlier run
        may_be_sent = not self.plan["registry"] or self.trouble or self._is_noted
        return outcome or ("unknown" if may_be_sent else "not_sent")

    @property
    def is_planned(self) -> bool:
        """Whether check mode only showed what would be bought."""
        return self.outcome == "planned"

    @property
    def is_over(self) -> bool:
        """Whether the offer has come to an end that no waiting changes."""
        return self.status.get("phase") in _OVER

    @property
    def is_failed(self) -> bool:
        """Whether the offer failed after it was bought."""
        return self.status.get("phase") == _states.FAILED

    @property
    def why_over(self) -> str:
        """Why its purchase is over, for the ledger, if the registry forgets it."""
        return FAILED if self.is_failed else GONE

    @property
    def _is_noted(self) -> bool:
        return self.entry.offer_id == self.offer_id

    @property
    def is_superseded(self) -> bool:
        """Whether the registry has what another run has bought or begun meanwhile, be it of the same offer.

        A task notes a refusal before it ends, so a purchase that is open then was begun since.
        """
        if not self._is_noted:
            return self.entry.may_have_bought
        bought_nothing = self.outcome in ("not_sent", "rejected") and not self.purchase.get("resource_ids")
        return bought_nothing and (self.entry.is_made or self.entry.is_open)

    @property
    def _overtaken(self) -> str:
        """That by its registry somebody has ended this purchase, or has begun to, or has bought another; else empty."""
        entry = self.entry
        if self.is_superseded:
            ids = ids_in_words(entry.resource_ids)
            return f"By its registry, {self.host} has offer {entry.offer_id} meanwhile, of another run: {ids}."
        is_dropped = entry.reaped_at if self._is_noted else not entry.offer_id
        is_told = self.plan["registry"] and not self.trouble and self.outcome in ANSWERED_YES
        return f"By its registry, somebody has ended {self.host} meanwhile." if is_told and is_dropped else ""

    @property
    def price_per_hour(self) -> float | None:
        """USD per hour, the price that counts (section 12 of the API's facts)."""
        return highest_known_price(
            read_price(self.purchase.get("price_per_hour")), read_price(self.plan["price_per_hour"])
        )

    # What it holds

    @cached_property
    def look(self) -> PurchaseLook:
        """All that was named as bought by a purchase that was answered with yes."""
        entry = self.entry if self._is_noted else Entry()
        # One that failed and has left machines was made as well, and may have left storage beside them.
        is_made = self.outcome in ANSWERED_YES or entry.is_made
        noted = [*entry.resource_ids, *self.plan["resource_ids"]]
        noted += self.purchase.get("resource_ids") or () if self.outcome != "" else ()
        listed = self.listed or {}
        return PurchaseLook(
            self.offer_id,
            tuple(dict.fromkeys(noted)),
            tuple(self.status.get("resource_ids") or ()) if is_made else (),
            first_timestamp([entry.journaled_at]),
            listed if is_made else {item: listed[item] for item in noted if item in listed},
            self.read or {},
            self.holders or {},
            {*entry.listed_before, *(self.listed_before if self.plan.get("is_new") else ())},
            {item.resource_id for item in entry.storage},
        )

    @property
    def held(self) -> Holdings:
        """What the purchase has bought for certain, and what is still to be read."""
        return self.look.concluded[0]

    @cached_property
    def storage(self) -> tuple[Storage, ...]:
        """What it has bought beside machines, and what the entry has as storage already."""
        noted = self.entry.kept_storage if self.is_superseded else self.entry.storage
        return self.look.storage_with(self.held.storage, noted, self.offer)

    @property
    def all_storage(self) -> tuple[Storage, ...]:
        """The same with what it has kept of earlier machines, which a shared registry has beside the entry."""
        return merged_storage(read_storage(self.plan.get("keeps")), self.storage)

    @property
    def stays(self) -> str:
        """What is billed of its storage, if its machine is not; empty if there is none."""
        return storage.storage_in_words(
            self.host, [item for item in self.all_storage if item.resource_id not in self.storage_ends]
        )

    @property
    def has_ended(self) -> str:
        """That its machines have ended, as they may have by themselves, and which storage with them."""
        over = f"Its storage ends, too: {ids_in_words(self.storage_ends)}." if self.storage_ends else ""
        return joined("It has ended.", over)

    @property
    def given_back(self) -> str:
        """The same, and what stays."""
        return joined(self.has_ended, self.stays)

    @property
    def needs_holders(self) -> bool:
        """Whether other hosts may hold some of what is named or listed."""
        look, may_give_back = self.look, self.plan["may_release"] and (self.is_over or self.outcome == "rejected")
        # What is given back no other host may hold.
        return not look.names_only_proved or len(look.listed) > len(look.noted) or bool(look.linked or may_give_back)

    @property
    def contradictions(self) -> tuple[Contradiction, ...]:
        """What the API names as bought, and cannot be."""
        return self.look.concluded[1]

    @property
    def disowned(self) -> list[str]:
        """The ids that the entry has of this purchase, and that proved to be another's."""
        named = disowned(*self.look.concluded) if self._is_noted else []
        return [item for item in named if item in self.entry.resource_ids]

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids that are or may be billed, for people: of a purchase without an answer whatever its status names."""
        if self.outcome == "rejected":
            return tuple(self.purchase.get("resource_ids") or ())  # what the status names may be another buyer's
        return self.held.billable or tuple(self.status.get("resource_ids") or ())

    @property
    def needs_list(self) -> bool:
        """Whether the account's machines decide something; those that ran before and are named alike need no look.

        Of what a run has noted that was killed before its first look, nobody knows whether it is a machine.
        """
        is_unseen = self._is_noted and bool(self.entry.resource_ids) and not self.entry.was_ready
        is_new = is_unseen or self.outcome in ("created", "rejected")
        return is_new or self.is_over or not self.look.names_only_proved

    @cached_property
    def left(self) -> tuple[str, ...] | None:
        """What may be billed of a purchase that is over or was refused; None if that cannot be read."""
        if self.status.get("phase") == _states.ENDED and self.outcome != "rejected":
            return ()
        if self.listed is None:
            return self.ids or None
        return self.look.left_of(self.ids if self.outcome == "rejected" else self.held.billable)

    @property
    def billed(self) -> tuple[str, ...]:
        """The ids of a purchase that is or may be billed."""
        return (self.left if self.is_over or self.outcome == "rejected" else None) or self.ids

    @property
    def proved(self) -> tuple[str, ...]:
        """Those that are certainly the purchase's own, which the registry notes."""
        return tuple(item for item in self.billed if item in self.held.ids)

    @property
    def endable(self) -> tuple[str, ...]:
        """Of these the machines, which the role may end. What was not shown may be storage, with data."""
        return tuple(item for item in self.proved if self.look.page_of(item))

    @property
    def _is_later(self) -> bool:
        """Whether the other purchase of the host's name, if there is one, was made before this one."""
        return is_later(list(filter(None, map(self.look.page_of, self.endable))), self.namesakes)

    @property
    def unlisted(self) -> set[str]:
        """The ids of which the list says nothing, or that they are gone, and which are read before anything follows.

        An answer, too, may name a machine of somebody else's.
        """
        listed = self.listed or {}
        return {item for item in self.ids if item not in listed or _states.is_gone(listed[item]["status"])}

    @property
    def error_class(self) -> str:
        """Why the attempt came to nothing: by the purchase, or by what its offer's status says since."""
        purchased = str(self.purchase.get("error_class") or "")
        since = purchase.class_of(self.status.get("failure_reason")) if self.is_failed else ""
        return purchased or (since if since == QUOTA else "")

    # What follows

    def attempt(self, *, released: bool = False, unsound: bool = False) -> Attempt:
        """How it has gone, for the rule of what follows."""
        made = self.outcome in ANSWERED_YES or (self.outcome == "rejected" and bool(self.ids))
        return Attempt(
            outcome=self.outcome,
            error_class=self.error_class,
            phase=str(self.status.get("phase") or ""),
            ready=bool(self.status.get("ready")) and made and not self.held.pending,
            billed=self.left != () if self.outcome == "rejected" else made and not (self.is_over and self.left == ()),
            unclear=bool(self.contradictions or self.held.pending),
            doubled=bool(self.namesakes),
            later=self._is_later,
            wanted=bool(self.plan["wanted"]),
            unused=bool(self.plan["unused"]),
            released=released,
            unsound=unsound,
            overtaken=bool(self._overtaken),
            release=bool(self.plan["may_release"]) and bool(self.endable),
            # What was not sent was no attempt.
            attempts_left=int(self.plan["attempts_left"]) - (self.outcome != "not_sent"),
        )

    def verdict(self, check_mode: bool, *, released: bool = False, unsound: bool = False) -> Verdict:
        """The verdict. In check mode nothing is given back and nothing else is tried."""
        verdict = purchase.what_follows(self.attempt(released=released, unsound=unsound))
        return Verdict.STOP if check_mode and verdict is not Verdict.READY else verdict

    @property
    def begin(self) -> float | None:
        """When the machine was bought (seconds since the epoch): by the API, else by the registry."""
        created = first_timestamp((self.status.get("procured_at"), self.purchase.get("procured_at")))
        return lease.begin_of(seconds_of(self.entry.journaled_at), created, adopted=self.entry.adopted)

    def end(self) -> float | None:
        """When its lease is over, None if it has none; what cannot be read is told by the plan."""
        if self.plan["registry"]:
            try:
                return lease.end_of(self.entry.leased, self.entry.ends_at, self.begin)
            except ValueError:
                return None
        begin = self.begin if self.begin is not None or self.outcome != "created" else self.now
        return lease.read_lease(self.plan["lease"]).end(begin)

    @cached_property
    def instances(self) -> list[Row]:
        """How its machines are reached, the host itself first: one that a status omits keeps its place and address."""
        return instances_in_order(self.status.get("connections") or [], self.entry.instances, self.held.ids)

    def facts(self) -> Variables:
        """The host's variables, its machine being ready."""
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
        facts.update(lease_facts(self.end(), self.begin, self.price_per_hour))
        facts.update(storage.storage_ids_variable(self.all_storage))
        return {**facts, **facts_of_first_boot(self.entry)}

    def left_open(self) -> Variables:
        """Without a registry the host's variables tell a ``rescue`` in the same play what may be bought for it."""
        if self.plan["registry"] or self.outcome != "unknown":
            return {}
        price = self.price_per_hour
        return {
            "provision_procured_offer_id": self.offer_id,
            "provision_resource_ids": list(self.ids),
            **({} if price is None else {"provision_price_per_hour": price}),
        }

    # What the registry keeps

    def noted(self, verdict: Verdict) -> Variables:
        """What the entry is to say; nothing if there is nothing to say, or if the host has no entry."""
        if verdict is Verdict.READY:
            facts, noted = self.facts(), facts_of_first_boot(self.entry)
            return {
                # What it has kept of storage is noted elsewhere.
                **{key: item for key, item in facts.items() if key not in {*noted, STORAGE_IDS}},
                "provision_identity_file": self.plan["identity_file"] or None,
                "provision_purchase": MADE,
                **self._affected,
                **self.noted_storage,
            }
        if not self.has_entry or self.is_superseded or self.outcome not in (*ANSWERED_YES, "rejected"):
            return {}
        before = ids_listed_before(self.contradictions)
        return {
            **({"provision_resource_ids": list(self.proved), "provision_purchase": MADE} if self.proved else {}),
            **({LISTED_BEFORE: before} if before else {}),
            **self._affected,
            **self.noted_storage,
        }

    def adds_to(self, before: Variables | None, changes: Variables) -> bool:
        """Whether these changes alter the entry, or it has ids that another host or offer proved to have."""
        return bool(self.disowned) or (bool(changes) and not has_already(before, changes))

    @property
    def _affected(self) -> Variables:
        """What the entry says of storage of others that the purchase has named; nothing if there is none."""
        ids = list(dict.fromkeys((*self.entry.affected, *self.held.affected)))
        return {AFFECTED: ids} if ids else {}

    @property
    def noted_storage(self) -> Variables:
        """What the entry says of storage, which it leaves behind; nothing if there is and was none."""
        ends = self.storage_ends  # by the next sweep, should this run not end it
        left = [replace(item, is_to_end=item.resource_id in ends or item.is_to_end) for item in self.storage]
        return storage_changes(left, self.entry.storage)

    def is_forgotten(self, verdict: Verdict) -> bool:
        """Whether the entry goes: nothing of the attempt is billed, and the entry is its own."""
        is_own = self.has_entry and self._is_noted and not self.is_superseded
        return verdict is not Verdict.READY and purchase.leaves_nothing(self.attempt()) and is_own

    # Why it stops, and what is billed then: `failure` is what a stopped host says

    def reason(self) -> str:
        """What the purchase or the last look said."""
        if self.trouble:
            return self.trouble
        if self.contradictions:
            return holdings.disagreed(self.host, self.offer_id, self.price_per_hour, self.held.ids, self.contradictions)
        if self.is_failed:
            return f"Offer {self.offer_id} failed: {sentence(self.status.get('failure_reason') or NO_REASON)}"
        said = self.status.get("msg") or self.purchase.get("msg") or f"No one looked at offer {self.offer_id}."
        unread = holdings.not_shown_yet(self.held.pending) if self.held.pending else ""
        return joined(str(said), unread)

    def failure(self, attempt: Attempt, tried: t.Sequence[str]) -> str:
        """Why the host stops, and what is billed."""
        if attempt.outcome in ("unknown", "claimed"):
            return self._unsettled()
        if self.contradictions and not self.trouble:
            return self.reason()
        if self.namesakes and not attempt.released:
            return joined(self._doubled(), str(self.plan["spared"]))
        if attempt.is_left:
            again, money = self._waits(), bought_and_billed(self.price_per_hour, self.billed)
            end = f"compute_index.supply.decommission {end_option([self.host])}"
            advice = f"End it with {end}; then run again for another one." if self.is_failed else ""
            advice = REPAIR if self.trouble else advice
        else:
            again = self.has_ended if attempt.released else ""
            money = self.stays or ("" if self.is_superseded or self.namesakes else nothing_billed(self.host))
            advice = str(self.plan["advice"]) if purchase.needs_another(attempt) else ""
            # What was ended on purpose is not bought again.
            no_other = f"{self._overtaken} No other offer is tried: run again."
            advice = no_other if attempt.overtaken else advice
        spared = str(self.plan["spared"]) if attempt.is_left else ""
        # A machine that was ready has ended only because of the other one.
        doubled = _GIVEN_BACK.format(self.offer_id, self.host, described(self.namesakes)) if self.namesakes else ""
        reason = joined("" if doubled and attempt.ready else self.reason(), doubled)
        return joined(reason, again, spared, money, offers_tried(tried), advice)

    def _doubled(self) -> str:
        """After a purchase another machine has the host's name, of another run or of another project."""
        which = "this one, which has failed" if self.is_failed else "the later one"
        ends_own = self.is_failed or self._is_later
        ids = self.billed if ends_own else [item["resource_id"] for item in self.namesakes]
        end = "; ".join(
            f"ansible localhost -m compute_index.supply.delete_resource -a resource_id={item}" for item in ids
        )
        return (
            f"There are two purchases of {self.host}'s name, and both are billed: {ids_in_words(self.billed)}"
            f" ({usd(self.price_per_hour)}), bought now, and {described(self.namesakes)}. If another run has bought"
            f" that for this host, end {which}: {end}"
        )

    def _waits(self) -> str:
        """That what is billed is waited for again; empty where that cannot help."""
        if self.is_over or self.outcome == "rejected" or self.trouble:
            return ""
        retries = int(self.plan["poll"]["retries"])
        often = f"{retries} times" if retries else "once"
        return f"It was looked at {often}; run again to continue waiting."

    def _unsettled(self) -> str:
        """The same of a purchase whose end is unknown. The task knows best, unless it has sent nothing itself."""
        outcome, reason = self.purchase.get("outcome"), self.reason()
        if not outcome:  # the task was killed, or its Python broke down
            words = " ".join(reason.split()).rstrip(".")
            return (
                f"The task that was buying offer {self.offer_id} ended without a result ({words}), and its purchase"
                f" may have been sent. {may_be_bought(self.price_per_hour, self.ids)} Do not buy another offer instead."
                " Run again: it asks first what became of this one."
            )
        before = still_open(self.host, self.offer_id, self.price_per_hour, self.ids)
        return reason if outcome == self.outcome else joined(reason, before)

    # What else is said: for the next attempt, and of a machine that runs

    def tried(self, verdict: Verdict) -> list[Variables]:
        """The attempt as the role hands it to a rescue; a machine that ran before this run is none."""
        if self.plan["action"] != BUY and verdict is Verdict.READY:
            return []
        is_failed = self.is_failed or _states.word(self.purchase.get("status")) == _states.FAILED
        return [
            {
                "offer_id": self.offer_id,
                "outcome": self.outcome or "existing",
                "error_class": self.error_class,
                # What its vendor sold and could not deliver
                "product": product_key(self.offer, read_price(self.plan["price_per_hour"])) if is_failed else "",
                **{name: str((self.plan.get("offer") or {}).get(name) or "") for name in ("vendor", "region")},
                "msg": self.reason(),
            }
        ]

    def taken_names(self, inventory: t.Mapping[str, t.Any]) -> list[str]:
        """Hosts of the inventory whose names the further machines would have, but for those that the role added."""
        machines = self.instances[1:]
        names = further_names(self.host, len(machines) + 1)
        return [
            name
            for name, machine in zip(names, machines)
            if name in inventory and machine["resource_id"] not in inventory[name]
        ]

    def warnings(self) -> list[str]:
        """What is odd about a machine that runs: another name, more or fewer machines than bought, storage of others.

        And that its entry is new: somebody has removed or moved the one of its purchase meanwhile.
        """
        host, offer, held = self.host, f"Offer {self.offer_id} of {self.host}", self.held
        nodes, shown = nodes_of(self.offer) or math.inf, len(self.status.get("connections") or ())
        attached = [item for item in held.affected if item not in self.entry.affected]  # others were told before
        return applicable(
            {
                **self._other_name,
                f"{offer} has {nodes:g} machine(s), and the API says that it bought"
                f" {len(held.ids)}: {ids_in_words(held.ids)}. All of them are billed and kept. Ask the API's support if"
                " that is wrong.": (len(held.ids) > nodes),
                f"{offer} has {nodes:g} machines, and the API shows {shown} of them: compute_index.supply.audit says"
                " whether others have ended. Nothing replaces those, and all count until they end together.": (
                    shown < nodes < math.inf
                ),
                f"{offer} names storage that it has not bought: {ids_in_words(attached)}. It stays as it is: {host}"
                " neither counts nor ends it.": attached,
                f"While {host} was bought, somebody has moved or removed its entry in the registry. Its machine is"
                " noted again, but not what was noted at the purchase, such as its lease. If the entry was moved into a"
                " shared registry, run compute_index.supply.registry again.": (
                    self.plan["registry"] and self.outcome == "created" and not self.entry.offer_id
                ),
            }
        )

    @property
    def _other_name(self) -> dict[str, bool]:
        """That the API called the machine otherwise than it was asked to, and whether it did."""
        # The purchase was sent with that, whatever the host's machines are called now.
        name = (self.entry.name if self._is_noted else "") or str(self.plan["name"])
        kept = sorted({item["name"] for item in self.status.get("instances") or () if item.get("name")})
        # Several machines of one offer are numbered after the name, by which they are found again.
        numbered = len(kept) > 1 and all(name in (item, base_of(item)) for item in kept)
        called, means = ", ".join(kept) or "nothing", _WITHOUT_NAME[bool(self.plan["registry"])]
        text = f"The API did not keep a name: {self.host} is called {called} instead of {name}. {means}"
        return {text: bool(self.plan["unused"]) and not (name in kept or numbered)}


def bought_and_billed(price: float | None, ids: t.Iterable[str]) -> str:
    """A purchase that did not become a machine which can be used."""
    return f"The offer is BOUGHT and may be billed at {usd(price)}. Resource ids: {ids_in_words(ids)}."
