# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Buy an offer, once. This module util is private to the collection.

The order of the lines is the guarantee: everything is checked before the first request; the offer is looked at before
the purchase is sent; the purchase is sent once, or again only while the API itself calls the offer unbought; and
whatever is not known afterwards is asked for, never tried again.
"""

from __future__ import annotations

import copy
import hashlib
import time
import typing as t

from .. import _cloud_init, _http, _input, _spec, _ssh_key, _states
from .._api import ApiError, Json
from .._market import Market, is_called
from .._on_api import on_api
from .._operation import Failure, Params, Result, given
from .._text import usd

SETTLE_PAUSE = 3.0  # seconds between two looks after a lost answer
SETTLE_TIMEOUT = 10.0  # seconds for one of these looks

NOTHING_BOUGHT = "Nothing was bought."
_NO_REASON = "the API gives no reason"
_AGAIN = "Run the same again later: it asks first and buys only this very offer, if it is still free."

BLANK: Result = {
    "changed": False,
    "outcome": "not_sent",
    "offer_id": None,
    "status": None,
    "procured_at": None,
    "resource_ids": [],
    "offer": None,
    "price_per_hour": None,
    "cloud_init_sha256": None,
}


def procure_offer(api: Market, params: Params, check_mode: bool) -> Result:
    """Buy the offer unless it is bought already. Raises Failure with ``outcome`` and the ids that may be billing."""
    order, warnings = check_order(params)
    terms = _Terms(
        given("max_price_per_hour", params["max_price_per_hour"], _check_ceiling),
        given("procure_timeout", params["procure_timeout"], _input.check_timeout),
        given("settle_timeout", params["settle_timeout"], _input.check_seconds),
        max(0, params["api_retries"]),
    )
    facts: Result = {
        **copy.deepcopy(BLANK),
        "offer_id": order["offer_id"],
        "cloud_init_sha256": _sha256(order.get("cloud_init")),
        "warnings": warnings,
    }
    status = _look(api, facts)
    if status["phase"] != _states.UNBOUGHT:
        return _existing(api, status, facts)
    _quote(api, facts, terms.ceiling)
    if check_mode:
        return _bought("planned", order, {**facts, "status": "planned"})
    return _buy(api, order, facts, terms)


class _Terms(t.NamedTuple):
    """What the offer may cost (USD per hour), how long its purchase and a lost answer are waited for (seconds), how
    often an API that asks for it is come back to, and after how many seconds at least."""

    ceiling: float | None
    procure_timeout: float
    settle_timeout: float
    returns: int
    pause: float = _http.FIRST_PAUSE


def check_order(params: Params) -> tuple[Json, list[str]]:
    """The body of POST /procure_offer, with only what the user gave, and warnings. Raises Failure (invalid)."""
    warnings: list[str] = []
    order: Json = {
        "offer_id": given("offer_id", params["offer_id"], _input.check_uuid),
        "ssh_public_key": given("ssh_public_key", params["ssh_public_key"], _ssh_key.check_ssh_public_key),
    }
    if params["cloud_init"]:
        warnings = given("cloud_init", params["cloud_init"], _cloud_init.check_user_data)
        order["cloud_init"] = params["cloud_init"]
    for name in ("resource_name", "cluster_name"):
        if params[name]:
            order[name] = params[name]
    return order, warnings


def _check_ceiling(value: float | None) -> float | None:
    if value is not None and not 0 <= value < float("inf"):
        raise ValueError(f"must be USD per hour for the whole offer, at least 0, not {value}")
    return value


def _sha256(text: str | None) -> str | None:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() if text else None


def _look(api: Market, facts: Result) -> Json:
    """The status before the purchase; only an offer that is free, or ours already, gets past this line."""
    offer_id = facts["offer_id"]
    try:
        status = api.offer_status(offer_id)
    except ApiError as error:
        advice = "The API does not know this offer; search again." if error.error_class == "not_found" else ""
        raise Failure.of(error, f"{advice} {NOTHING_BOUGHT}".strip(), **facts) from None
    if status["phase"] == _states.EXPIRED:
        msg = f"Offer {offer_id} has expired; offers live 30 minutes. {NOTHING_BOUGHT} Search again."
        raise Failure(msg, "expired", **{**facts, "status": status["status"]})
    if status["phase"] == _states.FAILED:
        ids = status["resource_ids"] or _ids_of(api, offer_id)
        known = {**facts, "status": status["status"], "resource_ids": ids}
        msg = f"Offer {offer_id} failed: {status['failure_reason'] or _NO_REASON}. {_billed(ids) or NOTHING_BOUGHT}"
        raise Failure(msg, "conflict", **known)
    return status


def _existing(api: Market, status: Json, facts: Result) -> Result:
    """Bought, or being bought, before this run."""
    known = {**facts, **{key: status[key] for key in ("status", "procured_at", "resource_ids")}}
    try:
        known["offer"] = api.offer(facts["offer_id"])
        known["price_per_hour"] = known["offer"]["price_per_hour"]
    except ApiError as error:
        known["warnings"] = [*facts["warnings"], f"The price of the existing machine is not known: {error}"]
    known["resource_ids"] = known["resource_ids"] or _ids_of(api, facts["offer_id"])
    return {**known, "changed": False, "outcome": "existing", "msg": f"Offer {facts['offer_id']} is bought already."}


def _quote(api: Market, facts: Result, ceiling: float | None) -> None:
    """Note the offer's details and its fresh price, and hold that against the ceiling (USD per hour)."""
    try:
        offer = facts["offer"] = api.offer(facts["offer_id"])
    except ApiError as error:
        raise Failure.of(error, NOTHING_BOUGHT, **facts) from None
    price = facts["price_per_hour"] = offer["price_per_hour"]
    facts["status"] = _states.word(offer["status"])
    if ceiling is None:
        return
    if price is None:
        msg = f"The API names no price for offer {facts['offer_id']}, so it cannot be held against max_price_per_hour."
        raise Failure(f"{msg} {NOTHING_BOUGHT}", "price", **facts)
    if price > ceiling:
        msg = f"Offer {facts['offer_id']} costs {usd(price)}, which is above max_price_per_hour ({usd(ceiling)})."
        raise Failure(f"{msg} {NOTHING_BOUGHT}", "price", **facts)


def _buy(api: Market, order: Json, facts: Result, terms: _Terms, *, doubtful: bool = False) -> Result:
    """Send the purchase, and find out what became of it. ``doubtful``: an earlier one may still be on its way."""
    try:
        answer = api.procure(order, timeout=terms.procure_timeout)
    except ApiError as error:
        return _unanswered(api, order, facts, terms, error, doubtful)
    facts = {**facts, **{key: answer[key] for key in ("status", "procured_at", "resource_ids")}}
    if answer["status"] == "failed":
        raise _failed_purchase(api, answer["error"], facts)
    facts["resource_ids"] = facts["resource_ids"] or _ids_of(api, order["offer_id"])
    return _bought("created", order, facts)


def _unanswered(api: Market, order: Json, facts: Result, terms: _Terms, error: ApiError, doubtful: bool) -> Result:
    """The result of a purchase that was refused, told to come back, or whose answer says nothing."""
    if not error.sent and not doubtful:
        raise Failure.of(error, NOTHING_BOUGHT, **facts) from None
    pause = max(terms.pause, error.retry_after or 0.0)
    busy = _http.is_busy(error.status_code, error.retry_after)
    # It may have been taken up nevertheless: only the offer's status says that it is safe to send it again. And what
    # was answered with 503 may be on its way for longer than one look.
    doubtful = doubtful or error.status_code == 503
    if busy and terms.returns and pause <= _http.LONGEST_PAUSE:
        time.sleep(pause)
        if _is_unbought(api, order["offer_id"]):
            facts = {**facts, "outcome": "rejected"}
            try:
                _quote(api, facts, terms.ceiling)
            except Failure:
                if not doubtful:
                    raise
            else:
                left = terms._replace(returns=terms.returns - 1, pause=terms.pause * 2)
                return _buy(api, order, facts, left, doubtful=doubtful)
    elif error.refused and not doubtful and (not busy or _is_unbought(api, order["offer_id"])):
        return _refused(api, facts, error)
    return _settle(api, order, facts, error, terms.settle_timeout)


def _is_unbought(api: Market, offer_id: str) -> bool:
    """Whether the API says for certain that the offer is free."""
    try:
        return bool(api.offer_status(offer_id)["phase"] == _states.UNBOUGHT)
    except ApiError:
        return False


def _may_be_named(api: Market, order: Json) -> bool:
    """Whether a machine of the offer has the name that was asked for, as far as that can be told."""
    names = [order[key] for key in ("resource_name", "cluster_name") if key in order]
    try:
        machines = api.resources(order["offer_id"], retries=0)
    except ApiError:
        return True
    return any(is_called(machine["name"], name) for machine in machines for name in names)


def _refused(api: Market, facts: Result, error: ApiError) -> Result:
    """The result of an offer that turns out to be bought already. Raises Failure if it is not."""
    # Perhaps it is ours: the answer to an earlier purchase may have been lost together with its sender.
    existing = _bought_meanwhile(api, facts) if error.error_class == "conflict" else None
    if existing is None:
        raise Failure.of(error, _refusal(error), **{**facts, "outcome": "rejected"}) from None
    return existing


def _bought_meanwhile(api: Market, facts: Result) -> Result | None:
    """The result of an offer that turns out to be bought, None if its status does not say so."""
    try:
        status = api.offer_status(facts["offer_id"], retries=0)
    except ApiError:
        return None
    return _existing(api, status, facts) if status["phase"] in (_states.GOING_ON, _states.READY) else None


def _refusal(error: ApiError) -> str:
    reasons = {
        "conflict": "Somebody else has bought the offer, or it is being bought.",
        "expired": "The offer has expired; search again.",
        "not_found": "The offer is gone; search again.",
        "auth": "Check api_token (COMPUTE_INDEX_API_TOKEN).",
    }
    return f"{reasons.get(error.error_class, '')} {NOTHING_BOUGHT}".strip()


def _settle(api: Market, order: Json, facts: Result, lost: ApiError, settle_timeout: float) -> Result:
    """After a lost answer: ask for the status until it says what became of the purchase, or ``settle_timeout`` ends."""
    offer_id = order["offer_id"]
    deadline = time.monotonic() + settle_timeout
    last: object = "the API still calls it unbought"
    while True:
        try:
            status = api.offer_status(offer_id, timeout=SETTLE_TIMEOUT, retries=0)
        except ApiError as error:
            last = error
        else:
            facts = {**facts, **{key: status[key] for key in ("status", "procured_at", "resource_ids")}}
            if status["phase"] == _states.FAILED:
                raise _failed_purchase(api, status["failure_reason"], facts)
            if status["phase"] == _states.EXPIRED:
                msg = f"{lost} The offer has expired unbought. {NOTHING_BOUGHT} Search again."
                raise Failure(msg, "expired", **{**facts, "outcome": "rejected"})
            if status["phase"] != _states.UNBOUGHT:
                if lost.status_code == 429 and not _may_be_named(api, order):
                    return _existing(api, status, facts)  # refused, and then somebody else was faster
                facts["resource_ids"] = facts["resource_ids"] or _ids_of(api, offer_id)
                facts["warnings"] = [*facts["warnings"], f"{lost} The offer's status says that it was bought."]
                return _bought("created", order, facts)
            last = "the API still calls it unbought"
        left = deadline - time.monotonic()
        if left <= 0:
            break
        time.sleep(min(SETTLE_PAUSE, left))
    price = facts["price_per_hour"]
    msg = (
        f"The purchase of offer {offer_id} was sent, but its outcome is not known: {lost} Asked afterwards: {last}."
        f" It MAY BE BOUGHT and billed at {usd(price)}. Do not buy another offer instead. {_AGAIN}"
    )
    raise Failure(
        msg.replace("..", "."),
        "unknown_outcome",
        **{**facts, "outcome": "unknown", "changed": True, "status_code": lost.status_code},
    )


def _failed_purchase(api: Market, reason: str | None, facts: Result) -> Failure:
    """A purchase that was made and failed: rejected, but unknown if nobody can say whether something of it is left."""
    msg = f"Offer {facts['offer_id']} failed: {reason or _NO_REASON}."
    try:
        ids = facts["resource_ids"] or _read_ids(api, facts["offer_id"])
    except ApiError as error:
        msg = f"{msg} It MAY BE BILLED nevertheless, since its resources cannot be listed: {error} {_AGAIN}"
        return Failure(msg, "unknown_outcome", **{**facts, "outcome": "unknown", "changed": True})
    msg = f"{msg} {_billed(ids) or 'No resource of it is known.'}"
    return Failure(msg, "conflict", **{**facts, "outcome": "rejected", "resource_ids": ids})


def _billed(resource_ids: list[str]) -> str:
    return f"These resources may be billed nevertheless: {', '.join(resource_ids)}." if resource_ids else ""


def _read_ids(api: Market, offer_id: str, retries: int | None = None) -> list[str]:
    """The resource ids of a bought offer, from its status, else from the list of resources. Raises ApiError."""
    ids: list[str] = api.offer_status(offer_id, retries=retries)["resource_ids"]
    listed = [] if ids else api.resources(offer_id, retries=retries)
    return ids or [
        resource["resource_id"]
        for resource in listed
        if resource["resource_id"] and not _states.is_gone(resource["status"])
    ]


def _ids_of(api: Market, offer_id: str) -> list[str]:
    """The same where a failure must not hide the purchase: then none are known yet, and the polls will tell."""
    try:
        return _read_ids(api, offer_id, retries=0)
    except ApiError:
        return []


def _bought(outcome: str, order: Json, facts: Result) -> Result:
    """The result of a purchase that was made or, in check mode, would be made."""
    offer: t.Mapping[str, t.Any] = facts["offer"]
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
