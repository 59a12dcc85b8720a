# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Buy an offer, once. This module util is private to the collection.

What follows from what is known and seen is decided by `_provision.purchase`; here it happens. The order of the lines is
the guarantee: everything is checked before the first request; the offer is looked at before the purchase is sent; the
journal is written before it, and what became of it right after; and whatever is not known is asked for.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import os
import time
import typing as t

from .. import _cloud_init, _http, _input, _spec, _ssh_key, _states
from .._api import ApiError, Json
from .._market import Market
from .._on_api import on_api
from .._operation import AS_MODULE, Failure, Params, Result, given
from .._provision import machines as _machines
from .._provision import purchase_messages as say
from .._provision.place import SharedProject
from .._provision.purchase import ANSWERED_NO, NOT_FOUND, UNSEEN, Do, Past, Seen, Step, Why, follow, whose_by_name
from .._provision.sums import add_up
from .._registry._files import HostFile
from .._registry._postgresql import Ceilings
from .._registry._protocol import Claimed, Registry, RegistryError
from .._wording import usd
from ._journal import Journal
from ._registries import Registries, this_run
from ._unlisted import unlisted

SETTLE_PAUSE = 3.0  # seconds between two looks
SETTLE_TIMEOUT = 10.0  # seconds for one of these looks

NOTHING_BOUGHT = say.NOTHING_BOUGHT

BLANK: Result = {
    "changed": False,
    "outcome": "not_sent",
    "offer_id": None,
    "status": None,
    "procured_at": None,
    "resource_ids": [],
    "machines": [],
    "offer": None,
    "price_per_hour": None,
    "cloud_init_sha256": None,
    "registry": None,
    "claimed_by": None,
}
_MACHINE = ("resource_id", "name", "status", "price_per_hour")


def procure_offer(api: Market, params: Params, check_mode: bool) -> Result:
    """Buy the offer unless it is bought already. Raises Failure with ``outcome`` and the ids that may be billing."""
    order, warnings = check_order(params)
    account = params.get("account")
    if account and account != api.account:
        raise Failure(say.another_account(order["offer_id"]), "invalid", **BLANK)
    alone = bool(params.get(AS_MODULE))
    of_account = given("max_account_price_per_hour", params.get("max_account_price_per_hour"), _check_ceiling)
    terms = _Terms(
        given("max_price_per_hour", params["max_price_per_hour"], _check_ceiling),
        None if params.get("registry_url") else of_account,
        given("procure_timeout", params["procure_timeout"], _input.check_timeout),
        given("settle_timeout", params["settle_timeout"], _input.check_seconds),
        0 if alone else max(0, params["api_retries"]),
        0 if alone else 1,
        params.get("host") or order.get("resource_name") or "",
        given("price_per_hour", params.get("price_per_hour"), _check_ceiling),
    )
    journal = _journal_of(params, order, read_only=check_mode)
    facts: Result = {
        **copy.deepcopy(BLANK),
        "offer_id": order["offer_id"],
        "cloud_init_sha256": _sha256(order.get("cloud_init")),
        "registry": journal.where,
        "warnings": warnings,
    }
    try:
        return _Purchase(api, order, facts, terms, journal, check_mode).settle()
    finally:
        journal.close()


@dataclasses.dataclass(frozen=True)
class _Terms:
    """What the offer may cost (USD per hour), and with it all of the account, where no registry counts that; how long
    its purchase and its outcome are waited for (seconds), how often an API that asks for it is come back to, how often
    a lost purchase is sent again, for which host it is, and the price that it was planned with (USD per hour).

    A module's process does not see that Ansible was killed, so it does neither of the two.
    """

    max_price_per_hour: float | None
    max_account_price_per_hour: float | None
    procure_timeout: float
    settle_timeout: float
    returns: int
    resends: int
    host: str
    price_per_hour: float | None

    def price_that_counts(self, fresh: float | None) -> float | None:
        """The higher of the fresh and the planned price (USD per hour). An unknown fresh one stays unknown."""
        return None if fresh is None else max(fresh, self.price_per_hour or 0.0)


# What the user gave


def check_order(params: Params) -> tuple[Json, list[str]]:
    """The body of POST /procure_offer, with only what the user gave, and warnings. Raises Failure (invalid)."""
    warnings: list[str] = []
    order: Json = {
        "offer_id": given("offer_id", params["offer_id"], _input.check_uuid),
        "ssh_public_key": given("ssh_public_key", params["ssh_public_key"], _ssh_key.check_ssh_public_key),
    }
    if params["cloud_init"] is not None:
        warnings = given("cloud_init", params["cloud_init"], _check_user_data)
        order["cloud_init"] = params["cloud_init"]
    for name in ("resource_name", "cluster_name"):
        if params[name]:
            order[name] = params[name]
    return order, warnings


def _check_user_data(text: str) -> list[str]:
    if not text.strip():
        raise ValueError("renders to nothing; leave it out if the machine shall run nothing at its first boot")
    return _cloud_init.check_user_data(text)


def _check_ceiling(value: float | None) -> float | None:
    if value is not None and not 0 <= value < float("inf"):
        raise ValueError(f"must be USD per hour for the whole offer, at least 0, not {value}")
    return value


def _sha256(text: str | None) -> str | None:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() if text else None


def _journal_of(params: Params, order: Json, *, read_only: bool) -> Journal:
    """The journal of this purchase; one that remembers nothing if the user keeps no registry."""
    project = params.get("project") or "default"
    facts = dict(params.get("note") or {})
    if "resource_name" in order:
        facts["provision_resource_name"] = order["resource_name"]
    if project != "default":
        facts["provision_project"] = project
    return Journal(_registry_of(params, order, project), order["offer_id"], facts, read_only=read_only)


def _registry_of(params: Params, order: Json, project: str) -> Registry | None:
    """The memory of the host, None if the user keeps none."""
    ceilings = [
        given(name, params.get(name), _check_ceiling)
        for name in ("max_total_price_per_hour", "max_account_price_per_hour")
    ]
    if params.get("registry_url") and params.get("registry_file"):
        raise Failure(f"{say.TWO_REGISTRIES} {say.NOTHING_SENT}", "invalid", **BLANK)
    if params.get("registry_url"):
        host = params.get("host") or order.get("resource_name") or ""
        if not host:
            msg = f"registry_url needs the name of the host: set host or resource_name. {say.NOTHING_SENT}"
            raise Failure(msg, "invalid", **BLANK)
        try:
            return Registries.of(params).at(SharedProject(project or "default")).host(host, Ceilings(*ceilings))
        except RegistryError as error:
            raise Failure(f"{error} {say.NOTHING_SENT}", error.error_class, **BLANK) from None
    if ceilings[0] is not None:
        msg = "max_total_price_per_hour needs registry_url, which knows what is bought."
        raise Failure(f"{msg} {say.NOTHING_SENT}", "invalid", **BLANK)
    return HostFile(params["registry_file"], this_run()) if params.get("registry_file") else None


class _Purchase:
    """One purchase on its way: what is known of it, and until when its outcome is waited for."""

    def __init__(
        self, api: Market, order: Json, facts: Result, terms: _Terms, journal: Journal, check_mode: bool
    ) -> None:
        self._api = api
        self._order = order
        self._offer_id: str = order["offer_id"]
        self._names = [order[key] for key in ("resource_name", "cluster_name") if key in order]
        self._facts = facts
        self._terms = terms
        self._journal = journal
        self._check_mode = check_mode
        self._parent = os.getppid()
        self._past = Past(by_name=journal.where is None, named=bool(self._names))
        self._deadline = 0.0  # on the monotonic clock
        self._returns, self._resends, self._pause = terms.returns, terms.resends, _http.FIRST_PAUSE
        self._error: ApiError | None = None  # the newest purchase's, None if its answer was a success
        self._denial = ""  # the API's words in a success that says no
        self._asked: object = ""  # why the newest look did not settle it
        self._objection = ""  # why it is not sent again
        self._looked = self._has_reread = False
        self._missing: ApiError | None = None  # why the status cannot be read
        self._listing: ApiError | None = None  # why the machines cannot be listed
        self._reason: str | None = None  # why the offer failed, in the API's words
        self._billed: list[str] = []

    def settle(self) -> Result:
        """Look, and do what follows, until there is an end to tell."""
        self._open()
        while True:
            seen = self._look()
            left = self._deadline - time.monotonic()
            step = follow(self._past, seen, left > 0 and not self._check_mode)
            if step.do is Do.LOOK:
                time.sleep(min(SETTLE_PAUSE, left))
            elif step.do is Do.SEND:
                result = self._send()
                if result is not None:
                    return result
            elif step.do is Do.EXISTING or not self._learns():
                return self._end(step)

    # What is known

    def _open(self) -> None:
        """Read the journal, which may forbid the purchase or tell of an earlier one."""
        try:
            self._remember()
        except Claimed as claim:
            raise self._claimed(claim) from None
        except RegistryError as error:
            raise Failure(f"{error} {say.NOTHING_SENT}", error.error_class, **self._facts) from None

    def _remember(self) -> None:
        """Read what this or another run has noted of the offer, and wait for that as long as for one of our own."""
        self._journal.read()
        self._journal.hold()
        unanswered = self._journal.unanswered
        self._past = dataclasses.replace(self._past, made=self._past.made or self._journal.made, sent_before=unanswered)
        passed = self._journal.since_sent() if unanswered else 0.0
        self._deadline = time.monotonic() + max(0.0, self._terms.settle_timeout - passed)

    def _learns(self) -> bool:
        """Whether another run has begun to buy the same since the journal was read, which may explain what was seen."""
        if self._past.sends or self._has_reread:
            return False
        self._has_reread, before = True, self._past
        try:
            self._reread()
        except RegistryError:
            return False
        return self._past != before

    def _knows(self, **changes: t.Any) -> None:
        self._past = dataclasses.replace(self._past, **changes)

    # What is to be seen

    def _look(self) -> Seen:
        """The offer's phase, and whose its machines are where that decides."""
        soon = self._looked or self._past.unanswered
        how: dict[str, t.Any] = {"timeout": SETTLE_TIMEOUT, "retries": 0} if soon else {}
        self._looked = True
        try:
            status = self._api.offer_status(self._offer_id, **how)
        except ApiError as error:
            self._missing = self._asked = error
            gone = {"not_found": NOT_FOUND, "expired": _states.EXPIRED}
            return self._seen_gone(gone.get(error.error_class))
        self._missing = None
        phase = status["phase"]
        self._facts.update({key: status[key] for key in ("status", "procured_at")})
        self._reason = status["failure_reason"]
        self._asked = f"the API calls it '{status['procurement_status'] or status['status']}'"
        if phase == _states.UNBOUGHT:
            self._asked = "the API still calls it unbought"
            return Seen(phase)
        if phase == _states.EXPIRED:
            return self._seen_gone(phase)
        return self._seen_bought(status)

    def _seen_gone(self, phase: str | None) -> Seen:
        """Expired, or not known to the API: how long that has been so counts if a purchase was not answered."""
        if phase is not None and self._past.unanswered:
            try:
                self._knows(expired_long=self._journal.gone_for() >= self._journal.longest_post)
            except RegistryError as error:
                self._warn(str(error))
        return Seen(phase)

    def _seen_bought(self, status: Json) -> Seen:
        """Bought, or bought and failed."""
        ids = _machines.ids_in(status)
        failed = status["phase"] == _states.FAILED
        ids += [each for each in self._journal.resource_ids if each not in ids] if failed else []
        undecided = self._past.named and not self._past.made
        machines = self._machines(ids, _machines.ids_for_match(status)) if undecided or not ids else None
        self._billed = ids
        if machines is not None:
            gone = {each["resource_id"] for each in machines if _states.is_gone(each["status"])}
            found = [*ids, *_machines.may_be_billed(machines)]
            self._billed = list(dict.fromkeys(each for each in found if each not in gone))
        whose = UNSEEN if machines is None else whose_by_name(machines, self._names)
        # Where nobody can list them, a machine of ours may be among those of a bought offer.
        left: bool | None = bool(self._billed)
        if self._listing and not (failed and left):
            left = None
        return Seen(status["phase"], whose, left)

    def _machines(self, ids: list[str], match: list[str]) -> list[Json]:
        """The machines of the offer: out of the list, and those that it leaves out by their ids."""
        self._listing = None
        try:
            listed_all = self._api.resources(self._offer_id, retries=0)
            found = _machines.of_offer(listed_all, self._offer_id, [*ids, *match])
        except ApiError as error:
            self._listing = error
            found = []
        found += unlisted(self._api, ids, found)
        self._facts["machines"] = [{key: each[key] for key in _MACHINE} for each in found]
        return found

    # Sending

    def _send(self) -> Result | None:
        """Send the purchase, if price, journal and parent allow it. None if its outcome is still to be seen."""
        try:
            self._quote()
            self._check_account()
        except Failure as objection:
            self._do_not_send(objection)
            return None
        if self._check_mode:
            return self._bought("planned", {**self._facts, "status": "planned"})
        if not self._claim():
            return None
        if os.getppid() != self._parent:
            msg = f"{say.orphaned(self._offer_id)} {NOTHING_BOUGHT}"
            self._do_not_send(Failure(msg, "unavailable", **self._facts))
            return None
        try:
            answer = self._api.procure(self._order, timeout=self._terms.procure_timeout)
        except ApiError as error:
            self._not_made(error)
            return None
        return self._answered(answer)

    def _quote(self) -> None:
        """Note the offer's details and the price that counts, and compare that with the ceiling (USD per hour)."""
        facts, ceiling = self._facts, self._terms.max_price_per_hour
        try:
            offer = facts["offer"] = self._api.offer(self._offer_id)
        except ApiError as error:
            raise Failure.of(error, NOTHING_BOUGHT, **facts) from None
        price = facts["price_per_hour"] = self._terms.price_that_counts(offer["price_per_hour"])
        facts["status"] = _states.word(offer["status"])
        if ceiling is None:
            return
        if price is None or price > ceiling:
            raise Failure(f"{say.above(self._offer_id, price, ceiling)} {NOTHING_BOUGHT}", "price", **facts)

    def _check_account(self) -> None:
        """Compare all that is live on the account, with this purchase, with its ceiling. Raises Failure."""
        ceiling, facts = self._terms.max_account_price_per_hour, self._facts
        if ceiling is None:
            return
        try:
            listed = self._api.resources()
        except ApiError as error:
            raise Failure.of(error, f"{say.ACCOUNT_UNREAD} {NOTHING_BOUGHT}", **facts) from None
        live = [each["price_per_hour"] for each in listed if not _states.is_gone(each["status"])]
        together = add_up([*live, facts["price_per_hour"]])
        if together.exceeds(ceiling):
            msg = say.above_account(self._offer_id, together, ceiling)
            raise Failure(f"{msg} {NOTHING_BOUGHT}", "price", **facts)

    def _claim(self) -> bool:
        """Write the journal. False if another run has changed it meanwhile, so that there is more to look at."""
        try:
            self._journal.claim(self._facts["price_per_hour"])
        except Claimed:
            self._reread()
            return False
        except RegistryError as error:
            self._do_not_send(Failure(f"{error} {NOTHING_BOUGHT}", error.error_class, **self._facts))
            return False
        return True

    def _reread(self) -> None:
        """After another run has written the journal: go on with the same offer, never with another one."""
        try:
            self._remember()
        except Claimed as claim:
            if not self._past.unanswered:
                raise self._claimed(claim) from None
            self._do_not_send(Failure(f"{claim} {NOTHING_BOUGHT}", "conflict", **self._facts))

    def _do_not_send(self, objection: Failure) -> None:
        """Nothing more is sent, which ends it unless an earlier purchase may still be under way. Raises the Failure."""
        if not self._past.unanswered:
            self._free()
            objection.result["outcome"] = "rejected" if self._past.sends else "not_sent"
            raise objection
        self._objection = objection.result["msg"].replace(f" {NOTHING_BOUGHT}", "")
        self._knows(again=False, busy=False)

    def _not_made(self, error: ApiError) -> None:
        """The purchase was refused, told to come back, or its answer says nothing."""
        if not error.sent:
            self._do_not_send(Failure.of(error, NOTHING_BOUGHT, **self._facts))
            return
        self._error, lost = error, not error.refused
        busy = _http.is_busy(error.status_code, error.retry_after)
        pause = max(self._pause, error.retry_after or 0.0)
        again = self._returns > 0 and pause <= _http.LONGEST_PAUSE if busy else self._resends > 0
        self._knows(
            sends=self._past.sends + 1,
            lost=self._past.lost or lost,
            refused=None if lost else error.status_code,
            busy=busy and again,
            again=again,
        )
        if not lost:
            self._note_answer(t.cast(int, error.status_code))
        if busy and again:
            time.sleep(pause)
            self._returns -= 1
            self._pause *= 2
        elif lost:
            self._resends -= 1
        self._deadline = time.monotonic() + self._terms.settle_timeout

    def _note_answer(self, status: int) -> None:
        """Note a refusal at once, if no earlier purchase may still be under way."""
        if self._past.unanswered:
            return
        try:
            self._journal.answered(status)
        except RegistryError as error:
            self._warn(str(error))
        else:
            self._knows(made=self._past.made or self._journal.made, sent_before=self._journal.unanswered)

    def _answered(self, answer: Json) -> Result | None:
        """The answer looks like a success."""
        self._error = None
        self._facts.update({key: answer[key] for key in ("status", "procured_at", "resource_ids")})
        self._knows(sends=self._past.sends + 1, busy=False)
        odd = [str(each) for each in answer.get("odd_ids") or ()]
        if answer["status"] == "failed":
            return self._failed_at_once(answer)
        told = answer["resource_ids"] or odd or answer["procured_at"]
        if not told and (answer["error"] or answer["status"] in ("available", "expired")):
            self._denial = answer["error"] or f"it answered '{answer['status']}'"
            self._knows(refused=ANSWERED_NO)
            self._note_answer(ANSWERED_NO)
            self._deadline = time.monotonic() + self._terms.settle_timeout
            return None
        return self._created(odd=odd)

    def _failed_at_once(self, answer: Json) -> Result:
        """The purchase was made and failed."""
        self._knows(made=True)
        self._reason = answer["error"]
        self._billed = answer["resource_ids"]
        if not self._billed:
            try:
                status = self._api.offer_status(self._offer_id)
                ids, match = _machines.ids_in(status), _machines.ids_for_match(status)
                listed = [] if ids else self._api.resources(self._offer_id)
            except ApiError as error:
                self._listing = error
                return self._end(Step(Do.UNKNOWN, Why.UNLISTED))
            self._billed = ids or _machines.may_be_billed(_machines.of_offer(listed, self._offer_id, match))
        return self._end(Step(Do.REJECTED, Why.FAILED))

    # Ends

    def _end(self, step: Step) -> Result:
        """The result of an end. Raises Failure for all that are no machine."""
        if step.do is Do.EXISTING:
            return self._existing()
        if step.do is Do.CREATED:
            return self._created(f"{self._said} {say.SETTLED}")
        if step.do is Do.UNKNOWN:
            raise self._unknown(t.cast(Why, step.why))
        raise self._over(step)

    def _created(self, warning: str = "", odd: t.Sequence[str] = ()) -> Result:
        """Bought by this run. Its journal comes first."""
        facts = self._facts
        facts["resource_ids"] = facts["resource_ids"] or self._billed
        if warning:
            self._warn(warning)
        self._note_made()
        if not facts["resource_ids"] and not warning:
            facts["resource_ids"] = self._ids()
            if facts["resource_ids"]:
                self._note_made()
        if odd:
            msg = say.odd_ids(self._offer_id, facts["price_per_hour"], facts["resource_ids"], list(odd))
            raise Failure(msg, "protocol", **{**facts, "outcome": "created", "changed": True})
        return self._bought("created", facts)

    def _existing(self) -> Result:
        """Bought, or being bought, before this run, and ours."""
        facts = self._facts
        facts["resource_ids"] = self._billed or self._journal.resource_ids
        try:
            facts["offer"] = self._api.offer(self._offer_id)
            facts["price_per_hour"] = self._terms.price_that_counts(facts["offer"]["price_per_hour"])
        except ApiError as error:
            self._warn(f"The price of the existing machine is not known: {error}")
        self._note_made("existing")
        msg = f"Offer {self._offer_id} is bought already."
        return {**facts, "changed": False, "outcome": "existing", "msg": msg}

    def _note_made(self, outcome: str = "created") -> None:
        """Note the purchase and its machines. Raises Failure that says what is billed if that cannot be done."""
        facts = self._facts
        try:
            self._journal.make(facts["resource_ids"], facts["price_per_hour"])
        except RegistryError as error:
            msg = say.not_noted(self._offer_id, facts["price_per_hour"], facts["resource_ids"], error)
            changed = outcome == "created"
            raise Failure(msg, error.error_class, **{**facts, "outcome": outcome, "changed": changed}) from None

    def _over(self, step: Step) -> Failure:
        """Nothing of ours comes of this offer: the host is free, unless the failure has left something."""
        why = t.cast(Why, step.why)
        left = self._billed if why is Why.FAILED else []
        since = self._journal.gone_since()
        self._facts.update(outcome=step.do.value, resource_ids=left)
        if left:
            self._note_left(left)
        elif why is not Why.UNREADABLE:
            self._free(made=why is Why.FAILED)
        facts, offer_id = self._facts, self._offer_id
        if why is Why.FAILED:
            nothing = "No resource of it is known." if self._past.sends else NOTHING_BOUGHT
            msg = f"Offer {offer_id} failed: {say.ended(self._reason or say.NO_REASON)} {say.billed(left) or nothing}"
            return Failure(msg, "conflict", **facts)
        if why is Why.TAKEN:
            msg = say.taken(offer_id, self._name, facts["machines"], self._billed, self._refused_before)
            return Failure(msg, "conflict", **{**facts, "status_code": self._status_code})
        if why is Why.REFUSED and self._error is not None:
            return Failure.of(self._error, say.refusal(self._error.error_class), **facts)
        if why is Why.REFUSED:
            return Failure(say.denied(offer_id, self._denial), "conflict", **facts)
        if self._past.unanswered:
            msg = say.freed(offer_id, since)
            return Failure(msg, "not_found" if why is Why.NOT_FOUND else "expired", **facts)
        if self._missing is not None:
            advice = "The API does not know this offer; search again." if why is Why.NOT_FOUND else ""
            return Failure.of(self._missing, f"{advice} {NOTHING_BOUGHT}".strip(), **facts)
        return Failure(say.expired(offer_id), "expired", **facts)

    def _note_left(self, left: list[str]) -> None:
        """Machines of a failed purchase of ours are kept in the registry, until they are ended."""
        if not (self._past.sends or self._past.unanswered or self._past.made):
            return
        try:
            self._journal.make(left, self._facts["price_per_hour"])
        except RegistryError as error:
            self._warn(str(error))

    def _unknown(self, why: Why) -> Failure:
        """Nobody knows, so nothing else may be bought."""
        facts, offer_id, ids = self._facts, self._offer_id, self._billed
        if why is Why.LATELY:
            msg = say.lately(offer_id, self._journal.gone_since(self._journal.longest_post))
        elif why is Why.UNPROVEN:
            msg = say.unproven(offer_id, self._name, facts["machines"], ids, self._refused_before)
        elif why is Why.ANOTHER:
            msg = say.another(offer_id, self._name, facts["machines"], ids)
        elif why is Why.NAMELESS:
            msg = say.nameless(offer_id, ids, self._price, self._listing)
        elif why is Why.CONTRADICTED:
            ids = ids or self._journal.resource_ids
            msg = say.contradicted(offer_id, self._journal.where, ids, self._asked)
        elif why is Why.UNLISTED:
            msg = say.unlisted(offer_id, self._reason, self._listing)
        elif why is Why.UNREADABLE and not self._past.sends:
            ids = ids or self._journal.resource_ids
            msg = say.unreadable(offer_id, str(self._journal.where), self._asked)
        else:
            msg = say.silent(offer_id, self._said, self._asked, self._objection, self._price)
        facts.update(outcome="unknown", resource_ids=ids, changed=self._past.sends > 0)
        return Failure(msg, "unknown_outcome", **{**facts, "status_code": self._status_code})

    def _claimed(self, claim: Claimed) -> Failure:
        """Another purchase of this host is open."""
        facts = {**self._facts, "outcome": "claimed", "claimed_by": claim.entry.held_by or None}
        return Failure(say.claimed(claim, self._terms.host), "conflict", **facts)

    # Small things

    @property
    def _said(self) -> str:
        """What the API answered to the newest purchase."""
        if self._error is not None:
            return str(self._error)
        if self._past.sends:
            return f"The API answered that it was not made: {say.ended(self._denial)}"
        return f"{self._journal.where} says that it was sent before, and not what became of it."

    @property
    def _name(self) -> str:
        return " or ".join(self._names)

    @property
    def _price(self) -> float | None:
        price = self._facts["price_per_hour"]
        noted = self._journal.price_per_hour
        return price if price is not None or not isinstance(noted, (int, float)) else float(noted)

    @property
    def _status_code(self) -> int | None:
        """The HTTP status of the newest purchase, else of the newest look."""
        error = self._error or (None if self._past.sends else self._missing)
        return error.status_code if error else None

    @property
    def _refused_before(self) -> str:
        """The API's refusal, before a sentence about what was seen afterwards."""
        return f"{self._error} " if self._error else ""

    def _warn(self, text: str) -> None:
        self._facts["warnings"] = [*self._facts["warnings"], text]

    def _free(self, *, made: bool = False) -> None:
        """Free the host in the registry; that this fails must not hide what happened."""
        try:
            self._journal.free(self._past.refused, made=made)
        except RegistryError as error:
            self._warn(f"{error} The host is not free for another offer until the registry says so.")

    def _ids(self) -> list[str]:
        """The ids of a purchase whose answer had none; that none can be read must not hide the purchase."""
        try:
            status = self._api.offer_status(self._offer_id, retries=0)
            ids = _machines.ids_in(status)
            return ids or _machines.may_be_billed(self._machines([], _machines.ids_for_match(status)))
        except ApiError:
            return []

    def _bought(self, outcome: str, facts: Result) -> Result:
        """The result of a purchase that was made or, in check mode, would be made."""
        offer: t.Mapping[str, t.Any] = facts["offer"]
        order = self._order
        after: Result = {
            "offer_id": order["offer_id"],
            "status": facts["status"],
            "gpus": f"{offer['gpu_count']} x {offer['gpu_type']}",
            "contract_type": offer["contract_type"],
            "vendor": offer["vendor"],
            "region": offer["vendor_region"] or offer["region"],
            "price_per_hour": facts["price_per_hour"],
            "resource_ids": facts["resource_ids"],
            "cloud_init_sha256": facts["cloud_init_sha256"],
            **{name: order[name] for name in ("resource_name", "cluster_name") if name in order},
        }
        verb = "would be bought" if outcome == "planned" else "was bought"
        return {
            **facts,
            "changed": True,
            "outcome": outcome,
            "msg": f"Offer {order['offer_id']} {verb} at {usd(facts['price_per_hour'])}.",
            "diff": {
                "before_header": "machine (none)",
                "after_header": f"machine (offer {order['offer_id']})",
                "before": {},
                "after": after,
            },
        }


_DOUBT = "The purchase may have been sent. Run the same again: it asks the API first and buys nothing twice."
PROCURE_OFFER = on_api(Market, procure_offer, _spec.PROCURE_OFFER, BLANK, doubt=_DOUBT)
