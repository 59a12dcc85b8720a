# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Buy an offer, once.

`_provision.purchase` decides on each step, and `_provision.sending` on prices and answers; this file takes the steps.
Their order is the guarantee: all input is checked before the first request, the offer is looked at and the journal is
written before the purchase is sent, the outcome is noted right after, and an unknown outcome is asked for. `settle`
does the same, without sending anything, for purchases whose runs are gone.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import hashlib
import os
import time
import typing as t

from .. import _spec, _states
from .._ansible.operation import (
    AS_MODULE,
    Failure,
    Params,
    Result,
    check_price,
    check_seconds,
    check_timeout,
    check_uuid,
    checked_option,
    on_api,
    refusing,
)
from .._api import http
from .._api.client import ApiError, Json, SupplyApi
from .._api.market import Market
from .._cloud_init import user_data
from .._provision import claims, holdings, sending
from .._provision.ceilings import account_prices
from .._provision.declaration import check_ssh_public_key
from .._provision.entry import Entry, facts_of_order, project_of, read_entry
from .._provision.messages import NOTHING_BOUGHT, NOTHING_SENT
from .._provision.place import Place, SharedProject, another_project
from .._provision.purchase import (
    ANSWERED_NO,
    THEIRS,
    Decision,
    History,
    NextStep,
    OfferLook,
    Reason,
    after_look,
    class_of,
    next_step,
    unless_overtaken,
)
from .._provision.search import highest_known_price
from .._provision.sending import Terms
from .._provision.storage import Storage, storage_in_words
from .._registry._files import HostFile
from .._registry._postgresql import AboveCeiling, Ceilings
from .._registry._protocol import Claimed, Registry, RegistryError
from .._text import grouped, joined, nodes_of
from ._purchase import Journal, OfferMachines
from ._registries import Registries, registry_claims, registry_entries, this_run
from .reading import in_parallel

SETTLE_PAUSE = 3.0  # seconds between two looks
SETTLE_TIMEOUT = 10.0  # seconds for one of these looks

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


def procure_offer(api: Market, params: Params, check_mode: bool) -> Result:
    """Buy the offer unless it is bought already. Raises Failure with ``outcome`` and the ids that may be billed."""
    body, warnings = checked_body(params)
    project, account = project_of(params.get("project")), params.get("account")
    params = {**params, "project": project, "host": str(params.get("host") or body.get("resource_name", ""))}
    if differs := sending.planned_for_another_account(body["offer_id"], account, api.account):
        raise Failure(differs, "invalid", **BLANK)
    registry = _registry_of(api, params, read_only=check_mode)
    entry = _entry_of(registry, planned=bool(account))
    if whose := another_project(params["host"], params["registry_file"] or "", entry, project):
        raise Failure(f"{whose} {NOTHING_SENT}", "conflict", **BLANK)
    body["offer_id"], terms, warned = sending.precedence(entry, body["offer_id"], _terms(params))
    noted = facts_of_order(body, project, params.get("note") or {})
    orders = sending.order_digests(body, params["api_token"], noted)
    with refusing(ValueError, NOTHING_SENT, error_class="conflict", **BLANK):
        sending.check_sealed(params.get("sealed") or {}, orders)
    journal = Journal(registry, body["offer_id"], noted, sending.noted_order(orders, body.get("cloud_init")))
    purchase = _Purchase(api, params, body, terms, journal, check_mode=check_mode)
    purchase.facts["warnings"] = [*warnings, *warned]
    try:
        purchase.open()
        return purchase.run()
    finally:
        journal.close()


# Options


def checked_body(params: Params) -> tuple[Json, list[str]]:
    """The body of POST /procure_offer with the options that the user set, and warnings. Raises Failure (invalid)."""
    warnings: list[str] = []
    body: Json = {
        "offer_id": checked_option("offer_id", params["offer_id"], check_uuid),
        "ssh_public_key": checked_option("ssh_public_key", params["ssh_public_key"], check_ssh_public_key),
    }
    if params["cloud_init"] is not None:
        warnings = checked_option("cloud_init", params["cloud_init"], user_data.check_user_data)
        body["cloud_init"] = params["cloud_init"]
    return {**body, **{name: params[name] for name in ("resource_name", "cluster_name") if params[name]}}, warnings


def _price(params: Params, name: str) -> float | None:
    """An option in USD per hour; None if it is not set. Raises Failure."""
    return checked_option(name, params.get(name), check_price)


def _terms(params: Params) -> Terms:
    """The user's terms. A shared registry itself compares the account's limit, together with the claim."""
    of_account = _price(params, "max_account_price_per_hour")
    return Terms(
        price_per_hour=_price(params, "price_per_hour"),
        max_price_per_hour=_price(params, "max_price_per_hour"),
        offer=read_entry(params.get("note")).offer,
        max_account_price_per_hour=None if params.get("registry_url") else of_account,
        procure_timeout=checked_option("procure_timeout", params["procure_timeout"], check_timeout),
        settle_timeout=checked_option("settle_timeout", params["settle_timeout"], check_seconds),
        is_planned=bool(params.get("account")),
        # A module cannot see that Ansible was killed, so it sends a purchase only once.
        retries=0 if params.get(AS_MODULE) else params["api_retries"],
        host=params["host"],
        listed_before=frozenset(params.get("listed_before") or ()),
    )


def _sha256(text: str | None) -> str | None:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() if text else None


def _entry_of(registry: Registry | None, *, planned: bool) -> Entry:
    """The host's entry; empty if a plan has read it, or if it cannot be read, for which the journal will fail."""
    with contextlib.suppress(RegistryError):
        return read_entry(registry.read() if registry and not planned else None)
    return read_entry(None)


def _registry_of(api: Market, params: Params, *, read_only: bool) -> Registry | None:
    """The registry of the host; None if the user set none. Raises Failure."""
    limits = Ceilings(_price(params, "max_total_price_per_hour"), _price(params, "max_account_price_per_hour"))
    file, url, host = params.get("registry_file"), params.get("registry_url"), params["host"]
    has_total = limits.max_total_price_per_hour is not None
    if refusal := sending.registry_refusal(file=bool(file), url=bool(url), host=host, has_total=has_total):
        raise Failure(f"{refusal} {NOTHING_SENT}", "invalid", **BLANK)
    if not url:
        return HostFile(file, this_run(), lambda: api.ahead, read_only=read_only) if file else None
    with refusing(RegistryError, NOTHING_SENT, **BLANK):
        return Registries.of(params, read_only=read_only).at(SharedProject(params["project"])).host(host, limits)


class _Purchase:
    """One purchase in progress: its history, its result so far, and the deadline for finding out its outcome.

    ``may_send``: false if only the purchase of a run that is gone is settled.
    """

    def __init__(
        self,
        api: SupplyApi,
        params: Params,
        body: Json,
        terms: Terms,
        journal: Journal,
        *,
        check_mode: bool = False,
        may_send: bool = True,
    ) -> None:
        names = [body[key] for key in ("resource_name", "cluster_name") if key in body]
        noted = functools.partial(registry_claims, params)
        self._api, self._params, self._body = api, params, body
        self._terms, self._journal, self._check_mode = terms, journal, check_mode
        self._offer_id: str = body["offer_id"]
        self._history = History(by_name=journal.where is None, named=bool(names), may_send=may_send)
        self._story = sending.Story(self._offer_id, self._history, journal.where)
        self._machines = OfferMachines(api, self._offer_id, names, noted, terms.listed_before)
        self.facts: Result = {
            **copy.deepcopy(BLANK),
            "offer_id": self._offer_id,
            "cloud_init_sha256": _sha256(body.get("cloud_init")),
            "registry": journal.where,
            "machines": self._machines.listed,
            "warnings": [],
        }
        self._parent = os.getppid()
        self._deadline = 0.0  # on the monotonic clock
        self._looked = self._has_settled = False
        self._uncertain = ""  # purchases that count in a ceiling although their outcome is unknown

    def open(self) -> None:
        """Read the journal, and wait for the outcome of an earlier purchase. Raises Failure if it forbids this one."""
        try:
            self._journal.read()
            self._journal.hold()
        except Claimed as claim:
            raise self._claimed(claim) from None
        except RegistryError as error:
            raise Failure(f"{error} {NOTHING_SENT}", error.error_class, **self.facts) from None
        self._history = self._history.noted(self._journal.entry)
        self.facts["warnings"] += sending.ordered_otherwise(self._journal.entry, self._journal.order)
        self._wait_for_outcome(self._journal.since_sent() if self._history.was_sent else 0.0)

    def run(self) -> Result:
        """Look and take the next step, until the purchase has ended. Return its result. Raises Failure."""
        while True:
            seen = self._look()
            left = self._deadline - time.monotonic()
            step = next_step(self._history, seen, left > 0 and not self._check_mode)
            if step.decision is Decision.LOOK:
                time.sleep(min(SETTLE_PAUSE, left))
            elif step.decision is not Decision.SEND:
                return self._end(step)
            elif result := self._send():
                return result

    # State

    def _wait_for_outcome(self, passed: float = 0.0) -> None:
        self._deadline = time.monotonic() + max(0.0, self._terms.settle_timeout - passed)

    def _update_history(self, **changes: t.Any) -> None:
        self._history = dataclasses.replace(self._history, **changes)

    def _update_story(self, **changes: t.Any) -> None:
        self._story = dataclasses.replace(self._story, **changes)

    # Looks

    def _look(self) -> OfferLook:
        """Look at the offer and, if they matter, at its machines, and update history and story."""
        soon = self._looked or self._history.was_sent
        how: dict[str, t.Any] = {"timeout": SETTLE_TIMEOUT, "retries": 0} if soon else {}
        self._looked, machines = True, self._machines
        seen = machines.look(self._history, [*self._journal.entry.resource_ids, *self.facts["resource_ids"]], **how)
        self._update_story(asked=machines.asked)
        if status := machines.status:
            self.facts.update({key: status[key] for key in ("status", "procured_at")})
            self._update_story(reason=status["failure_reason"] or self._story.reason)
        self._history = after_look(self._history, seen)
        try:
            self._history = self._journal.with_time_gone(self._history, seen.phase)
        except RegistryError as error:
            self._warn(str(error))
        return seen

    # Sending

    def _send(self) -> Result | None:
        """Send the purchase, if price, journal and parent process allow it. Return None if another look is needed."""
        market = t.cast(Market, self._api)
        try:
            self._check_price(market)
            self._check_account()
        except Failure as objection:
            self._do_not_send(objection)
            return None
        if self._check_mode:
            return self._result("planned", {**self.facts, "status": "planned"})
        if not self._claim():
            return None
        if os.getppid() != self._parent:
            self._do_not_send(self._objection(sending.orphaned(self._offer_id), "unavailable"))
            return None
        try:
            answer = market.procure(self._body, timeout=self._terms.procure_timeout)
        except ApiError as error:
            self._handle_error(error)
            return None
        return self._handle_answer(answer)

    def _check_price(self, market: Market) -> None:
        """Read the offer's details and price, and compare them with the terms. Raises Failure."""
        facts = self.facts
        try:
            page = facts["offer"] = market.offer(self._offer_id)
        except ApiError as error:
            raise Failure.of(error, NOTHING_BOUGHT, **facts) from None
        # An open purchase may have bought at the price at which it was sent.
        sent = self._journal.entry.price_per_hour if self._journal.entry.is_open else None
        price = facts["price_per_hour"] = self._terms.price_that_counts(page["price_per_hour"], sent)
        facts["status"] = _states.word(page["status"])
        for reason, error_class in self._terms.refusals(self._offer_id, price, page):
            raise self._objection(reason, error_class)

    def _check_account(self) -> None:
        """Compare the sum of this purchase and everything billed on the account with its limit. Raises Failure."""
        if self._terms.max_account_price_per_hour is None:
            return
        try:
            resources = self._api.resources()
        except ApiError as error:
            raise Failure.of(error, f"{sending.ACCOUNT_UNREAD} {NOTHING_BOUGHT}", **self.facts) from None
        account = account_prices(resources, registry_entries(self._params), (self._offer_id,))
        if refusal := self._terms.account_refusal(self._offer_id, self.facts["price_per_hour"], account):
            raise self._objection(refusal, "price")

    def _claim(self) -> bool:
        """Write the journal. Return whether the purchase may be sent now. Raises Failure."""
        try:
            self._journal.claim(self.facts["price_per_hour"])
        except Claimed as claim:
            if not self._history.was_sent:
                raise self._claimed(claim) from None
            self._stop_sending(claim)
            return False
        except RegistryError as error:
            if not (isinstance(error, AboveCeiling) and self._settle_others(error)):
                self._do_not_send(self._objection(f"{error} {self._uncertain}".strip(), error.error_class))
            return False
        return True

    def _settle_others(self, refusal: AboveCeiling) -> bool:
        """Settle, once, the open purchases of runs that are gone and that the sum counts.

        Return whether that changed the sum. Then the purchase starts again with a fresh price.
        """
        if self._has_settled:
            return False
        self._has_settled = True
        place = SharedProject(project_of(refusal.project))
        settled = settle(self._api, self._params, [place], everywhere=refusal.project is None)
        self._uncertain = " ".join(settled.uncertain)
        for closed in settled.closed:
            self._warn(closed)
        return bool(settled.closed)

    def _check_held(self) -> None:
        """Check that this run still holds the purchase that it has sent."""
        try:
            self._journal.check_held()
        except RegistryError as error:
            self._stop_sending(error)

    def _stop_sending(self, reason: RegistryError) -> None:
        """Send nothing more, and free the host for no refusal: another run may hold the purchase."""
        self._update_story(taken_over=reason)
        self._update_history(overtaken=True)

    def _objection(self, reason: object, error_class: str) -> Failure:
        return Failure(f"{reason} {NOTHING_BOUGHT}", error_class, **self.facts)

    def _do_not_send(self, objection: Failure) -> None:
        """Send nothing more. Raises the Failure, unless an earlier purchase may still be under way."""
        self._history = sending.after_objection(self._history, objection.result["error_class"])
        end = sending.outcome_unsent(self._history)
        if end is not None:
            self._free()
            objection.result["outcome"] = end.value
            raise objection
        said, error_class = objection.result["msg"].replace(f" {NOTHING_BOUGHT}", ""), objection.result["error_class"]
        self._update_story(objection=said, objection_class=error_class)

    def _handle_error(self, error: ApiError) -> None:
        """Handle the error that answered the purchase: a refusal, a request to come back, or an unknown outcome."""
        if not error.sent:
            self._do_not_send(Failure.of(error, NOTHING_BOUGHT, **self.facts))
            return
        pause = http.pause_before(self._history.sends, error.retry_after)
        retries = self._terms.retries if pause <= http.LONGEST_PAUSE else 0
        busy = http.asks_for_retry(error.status_code, error.retry_after)
        self._note_error(error, retries, error.status_code if error.refused else None, busy=busy)
        if self._history.busy:
            time.sleep(pause)
        self._wait_for_outcome()

    def _note_error(self, error: ApiError, retries: int, refused: int | None, *, busy: bool = False) -> None:
        """Update the history, and note a refusal in the registry at once, unless an earlier purchase is open.

        ``refused``: the HTTP status of a refusal; None if the outcome is unknown. ``busy``: the API asks to come back.
        """
        self._update_story(error=error)
        self._history = sending.after(self._history, retries, refused, busy=busy)
        self._check_held()
        self._update_history(made=self._history.made or self._journal.entry.is_made)
        if noted := self._history.noted_refusal:
            try:
                self._journal.note_refusal(noted)
            except RegistryError as failure:
                self._warn(str(failure))

    def _handle_answer(self, answer: Json) -> Result | None:
        """Handle an answer that looks like a success. Return the result; None if another look is needed."""
        self.facts.update({key: answer[key] for key in ("status", "procured_at", "resource_ids")})
        self._update_story(reason=answer["error"])
        if self._terms.looks_after(answer):
            self._note_purchase("created")
            self._update_history(sends=self._history.sends + 1, made=True)
        elif sending.is_made(answer):
            return self._complete(answer["odd_ids"])
        else:
            self._note_error(
                ApiError(sending.not_sold(self._offer_id, answer), class_of(answer["error"])), 0, ANSWERED_NO
            )
        self._wait_for_outcome()
        return None

    # Ends

    def _end(self, step: NextStep) -> Result:
        """Return the result if the purchase has a machine of ours. Raises Failure for any other end."""
        if step.decision is Decision.EXISTING:
            return self._existing()
        if step.decision is Decision.UNKNOWN and not self._history.may_have_bought:
            self.open()  # another run may have started to buy meanwhile
            if self._history.may_have_bought:
                return self.run()
        billed, owner = self._machines.billed, self._machines.owner
        if step.reason is Reason.FAILED and billed:
            # The role may end them next, so ids that are not noted yet are read first.
            self._note_holdings("created" if self._history.sends else "existing", billed)
        if sending.needs_claim(step, self._history, billed):
            self._check_held()
        step = unless_overtaken(self._history, step)
        story = self._whole_story(step)
        if step.decision is Decision.CREATED:  # although the purchase itself was not answered so
            self._warn(f"{story.answer} {sending.SETTLED}")
            self._note_holdings("created")
            return self._result("created", self.facts)
        made = sending.freed(step, self._history, billed, owner)
        kept: tuple[Storage, ...] = ()
        if made and owner != THEIRS:
            look = self._machines.purchase_look(self._journal.entry, self.facts["resource_ids"])
            kept = self._machines.storage_left(self._terms.host, self._journal.entry, look)
        if made is not None:
            self._free(made=made, kept=kept)
        ending = sending.ending_of(step, story)
        ids = [*ending.ids, *(item.resource_id for item in kept)]
        changed = step.decision is Decision.UNKNOWN and self._history.sends > 0
        facts = {**self.facts, "outcome": step.decision.value, "resource_ids": ids, "changed": changed}
        msg = joined(ending.msg, storage_in_words(self._terms.host, kept))
        raise Failure(msg, ending.error_class, **{**facts, **ending.answer})

    def _whole_story(self, step: NextStep) -> sending.Story:
        """The facts for the message of an end."""
        price, unknown = self.facts["price_per_hour"], step.decision is Decision.UNKNOWN
        known = [*self.facts["resource_ids"], *self._journal.entry.resource_ids]
        return dataclasses.replace(
            self._story,
            history=self._history,
            machines=self._machines.listed,
            listing=self._machines.unreadable,
            ids=self._machines.billed or (list(dict.fromkeys(known)) if unknown else ()),
            price_per_hour=self._journal.entry.price_per_hour if price is None else price,
            since=self._journal.gone_since(self._journal.longest_post if unknown else 0.0),
        )

    def _complete(self, odd_ids: list[str]) -> Result:
        """Note the purchase first, then find its resources. Return its result. Raises Failure for ``odd_ids``."""
        facts = self.facts
        ids = facts["resource_ids"]
        self._note_purchase("created")
        if not ids:
            self._machines.look_for_unnamed(nodes_of(facts["offer"]) or 1)
        # A plan checks the ids for all of its hosts together, since an id may belong to another offer.
        if not (ids and self._terms.is_planned):
            self._note_holdings("created")
        if odd_ids:
            msg = sending.bought_with_odd_ids(self._offer_id, facts["price_per_hour"], facts["resource_ids"], odd_ids)
            raise self._failure_of_purchase(msg, "protocol", "created")
        return self._result("created", facts)

    def _existing(self) -> Result:
        """The result of a purchase of ours that was made, or is in progress, since before this run."""
        facts, noted = self.facts, self._journal.entry.price_per_hour
        facts["price_per_hour"] = noted
        try:
            if isinstance(self._api, Market):
                facts["offer"] = self._api.offer(self._offer_id)
                prices = noted, self._terms.price_per_hour, facts["offer"]["price_per_hour"]
                facts["price_per_hour"] = highest_known_price(*prices)
        except ApiError as error:
            self._warn(f"The current price of the existing machine is unknown: {error}")
        self._note_holdings("existing")
        return {**facts, "changed": False, "outcome": "existing", "msg": sending.bought_before(self._offer_id)}

    def _note_holdings(self, outcome: str, doubted: t.Iterable[str] = ()) -> None:
        """Note the purchase with all its resources. Raises Failure with ids and price if the API contradicts itself.

        ``doubted``: ids that are read first, unless they are noted.
        """
        facts, entry = self.facts, self._journal.entry
        unproved = {*doubted} - {*entry.resource_ids}
        held, contradictions = self._machines.purchase_look(entry, facts["resource_ids"], unproved).concluded
        facts["resource_ids"] = list(held.ids)
        self._note_purchase(
            outcome, holdings.ids_listed_before(contradictions), holdings.disowned(held, contradictions)
        )
        if held.pending:
            self._warn(holdings.not_shown_yet(held.pending))
        if contradictions:
            price = facts["price_per_hour"]
            msg = holdings.disagreed(self._terms.host, self._offer_id, price, held.ids, contradictions)
            raise self._failure_of_purchase(msg, "conflict", outcome)

    def _note_purchase(self, outcome: str, strange: t.Sequence[str] = (), disowned: t.Sequence[str] = ()) -> None:
        """Note the purchase and its resource ids. Raises Failure with ids and price if the registry refuses.

        ``strange``: ids that only seem to belong to it, since they were listed before. ``disowned``: see `Registry`.
        """
        facts = self.facts
        try:
            self._journal.note_purchase(facts["resource_ids"], facts["price_per_hour"], strange, disowned)
        except RegistryError as error:
            msg = sending.bought_not_noted(self._offer_id, facts["price_per_hour"], facts["resource_ids"], error)
            raise self._failure_of_purchase(msg, error.error_class, outcome) from None

    def _failure_of_purchase(self, msg: str, error_class: str, outcome: str) -> Failure:
        """The failure of a purchase that was made, by this run (``created``) or before (``existing``)."""
        return Failure(msg, error_class, **{**self.facts, "outcome": outcome, "changed": outcome == "created"})

    def _claimed(self, claim: Claimed) -> Failure:
        """The failure if another purchase of this host is open."""
        facts = {**self.facts, "outcome": "claimed", "claimed_by": claim.entry.held_by or None}
        return Failure(sending.claimed_by_another(claim, self._terms.host), "conflict", **facts)

    # Helpers

    def _warn(self, text: str) -> None:
        self.facts["warnings"] = [*self.facts["warnings"], text]

    def _free(self, *, made: bool = False, kept: t.Collection[Storage] = ()) -> None:
        """Free the host in the registry. A failure becomes a warning, since it must not hide the outcome."""
        try:
            self._journal.free(self._history.noted_refusal, made=made, kept=kept)
        except RegistryError as error:
            self._warn(f"{error} Until the registry notes that, the host buys no other offer.")

    def _result(self, outcome: str, facts: Result) -> Result:
        """The result of a purchase that was made or, in check mode, would be made."""
        return {**facts, **sending.result_of_purchase(outcome, facts, self._body)}


# Purchases whose runs are gone


@dataclasses.dataclass(frozen=True)
class Settling:
    """A sentence about each claim, in ``closed`` if its outcome is known now; one in ``uncertain`` still counts."""

    closed: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """All of these sentences."""
        return self.closed + self.uncertain


def settle(
    api: SupplyApi, params: Params, places: t.Iterable[Place], check_mode: bool = False, *, everywhere: bool = False
) -> Settling:
    """Settle the open claims of runs that are gone, in these places; ``everywhere``: in all projects of the account.

    Until they are settled, their prices count in ceilings, which may refuse other purchases. No purchase is sent. Each
    claim is taken over first, so that only one run settles it, and its own run, should it wake up, can free nothing.
    In check mode, nothing is settled. Open purchases in files are left to the next run of their host.
    """
    if check_mode:
        return Settling()
    with Registries.of(params, read_only=False) as registries:
        try:
            stores = map(registries.at, dict.fromkeys(places))
            open_claims = dict.fromkeys(key for store in stores for key in store.unsettled(everywhere=everywhere))
        except RegistryError as error:
            return Settling(uncertain=(str(error),))
        answers = in_parallel(lambda key: _settled(api, params, registries, *key), open_claims)
    messages = grouped(filter(None, answers))
    return Settling(tuple(messages.get(True, ())), tuple(messages.get(False, ())))


def _settled(
    api: SupplyApi, params: Params, registries: Registries, place: Place, host: str
) -> tuple[bool, str] | None:
    """Settle the claim of a host. Return whether it is closed, and a sentence; None if another run holds it."""
    entry, registry = read_entry(None), None
    try:
        registry = registries.at(place).host(host, Ceilings())
        entry = read_entry(registry.read() if registry else None)
        journal = Journal(registry, entry.offer_id, {})
        body = {"offer_id": entry.offer_id, **({"resource_name": entry.name} if entry.name else {})}
        of_place = {**params, "project": project_of(entry.project), "registry_file": None}
        terms = Terms(settle_timeout=0.0, host=host)
        purchase = _Purchase(api, of_place, body, terms, journal, may_send=False)
        purchase.open()  # takes the claim over: its own run can send nothing any more
        if not journal.entry.is_open:
            return None
        try:
            words = claims.was_bought(purchase.run()["resource_ids"])
        except Failure as failure:
            words = str(failure)
        # The registry decides: the outcome may not have been noted.
        is_closed = not read_entry(registry.read() if registry else None).is_open
        return is_closed, claims.settled(host, entry, joined(words, *purchase.facts["warnings"]))
    except Failure as failure:
        is_held = failure.result["outcome"] == "claimed"  # by another run
        return None if is_held else (False, claims.settled(host, entry, str(failure)))
    except RegistryError as error:
        return False, claims.settled(host, entry, str(error))
    finally:
        if registry:
            registry.close()


PROCURE_OFFER = on_api(Market, procure_offer, _spec.PROCURE_OFFER, BLANK, doubt=sending.MAY_BE_SENT)
