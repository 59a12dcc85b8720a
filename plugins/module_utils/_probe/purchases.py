# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The purchase of the probe: whether it may be made, of which machine, and what only it shows of the API.

Pure.
"""

from __future__ import annotations

import re
import typing as t

from .. import _states
from .._api.client import normalized_id
from .._api.market import price_per_hour
from .._provision.order import DECIDED_BY_PLAYS
from .._provision.spending import Bill
from .._spec import DELETE_RESOURCE, PROCURE_OFFER
from .._text import amount, applying, first_of, number_of, usd, wrapped
from .exchanges import Assumption, Exchange, Exchanges, NotSeen, RuleResult, needed, phase_of, stands

LONGEST_ANSWER = PROCURE_OFFER["procure_timeout"]["default"]  # seconds
LONGEST_BOOT = 300  # seconds from the purchase to a machine that is ready
LONGEST_DELAY = 60  # seconds from there until it lets in
LONGEST_END = DELETE_RESOURCE["wait_timeout"]["default"]
_TELLING = 2.0  # seconds that a purchase must take to tell when it happened
_ROUNDED = 0.002  # seconds; a recording has milliseconds
_NEEDS = "a purchase (probe_buy)"
KEEP_A_REGISTRY = "Keep a registry (`provision_registry_dir` or `provision_registry_url`)."


# Whether the probe may buy a machine, and which

# What the API calls a GPU goes into variables of the play, so it must be no template.
_GPU = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def check_usd(value: str) -> float:
    """What the machine may cost in all (USD). Raises ValueError."""
    result = number_of(value)
    if result is None or result <= 0:
        raise ValueError("must be the most that the machine of probe_buy may cost in all, a number of USD above 0")
    return result


def why_not_bought(host: str, *, limited: bool, is_known: bool, extra: t.Iterable[str], remembers: bool) -> str:
    """Why nothing is bought for this host, empty if it may be.

    limited: --limit leaves it out. is_known: the inventory has it. extra: the names of extra variables. remembers:
    whether a registry remembers what is bought for it.
    """
    overruled = ", ".join(sorted(DECIDED_BY_PLAYS & set(extra)))
    reasons = {
        f"probe_buy has a host of its own, {host}, which --limit leaves out. Run it without a limit.": limited,
        f"probe_buy has a host of its own and would end its machine: take {host} out of the inventory.": is_known,
        f"probe_buy decides on {overruled} by itself, which extra variables would overrule.": bool(overruled),
        "probe_buy needs a registry, which remembers what was bought: provision_registry_dir is empty.": not remembers,
    }
    return next(iter(applying(reasons)), "")


def last_ended(bills: t.Iterable[Bill]) -> str:
    """The machine that ended last, empty if none is known to have ended."""
    ended = [(bill.end, bill.resource_ids[0]) for bill in bills if bill.resource_ids and bill.end is not None]
    return max(ended, default=(0.0, ""))[1]


def is_one_machine(offer: t.Mapping[str, t.Any]) -> bool:
    """Whether it is an offer of one machine with one GPU, whose name is a plain word."""
    kind = offer.get("gpu_type")
    is_plain = isinstance(kind, str) and _GPU.fullmatch(kind) is not None
    return is_plain and offer.get("gpu_count") == 1 and offer.get("node_count") in (None, 1)


def announced(kind: str, price_per_hour: float | None, max_usd: float, end: str) -> list[str]:
    """What is bought, at which price (USD per hour) and for how much at most (USD), and the command that ends it."""
    bought = (
        f"The cheapest kind of machine is {kind}, at {usd(price_per_hour)}. One is bought for at most an hour if "
        f"that costs no more than probe_max_usd (USD {amount(max_usd)}), and ended as soon as it was seen."
    )
    return [*wrapped(bought), *wrapped(f"If this run is interrupted, end it: {end}", indent="  ")]


def one_by_one(families: t.Sequence[str], refused: bool) -> list[list[str]]:
    """The families one at a time, if the API refused a search for several of them; otherwise none."""
    return [[family] for family in families] if refused and len(families) > 1 else []


def cheapest(offers: t.Iterable[tuple[float | None, dict[str, t.Any]]]) -> dict[str, t.Any] | None:
    """The cheapest of these offers with their prices (USD per hour); None if no price is known."""
    priced = ((price, offer) for price, offer in offers if price is not None)
    return min(priced, key=lambda pair: pair[0], default=(None, None))[1]


# What it shows of the API


def _made(exchanges: Exchanges) -> Exchange:
    """The purchase that was accepted. Raises NotSeen if none was."""
    answer = needed(exchanges.last("purchase"))
    needed(answer.fields and _states.word(answer.fields.get("status")) != "failed")
    return answer


def _since(exchanges: Exchanges, name: str, moment: float) -> list[Exchange]:
    """The exchanges of this name that began at a moment or later and were answered."""
    return [item for item in exchanges.all(name) if item.at >= moment - _ROUNDED]


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 1 else "less than a second"


def _post_time(exchanges: Exchanges) -> RuleResult:
    """A purchase is answered within 10 minutes. Source: procure-offer (minutes). If not: the offer's status settles the
    outcome; a higher `procure_timeout` waits longer.
    """
    last = needed([exchange for exchange in exchanges.exchanges if exchange.name == "purchase"])[-1]
    if last.status is None:
        return stands(False, f"no answer within {_seconds(last.seconds)}")
    _made(exchanges)
    return stands(last.seconds <= LONGEST_ANSWER, f"answered after {_seconds(last.seconds)}")


def _post_moment(exchanges: Exchanges) -> RuleResult:
    """A purchase that takes time has happened before its answer. Source: inferred. If not: an offer that still looks
    unbought is sent again, which can be sold only once.
    """
    made = _made(exchanges)
    needed(made.seconds >= _TELLING)
    after = needed(_procured_at(exchanges, made)) - made.at
    is_early = after < made.seconds / 2
    evidence = f"procured_at is {max(0.0, after):.0f} s after the request, the answer {_seconds(made.seconds)}"
    return stands(is_early, evidence)


def _procured_at(exchanges: Exchanges, made: Exchange) -> float | None:
    """When the purchase happened as the API tells it, by this clock; None if it does not tell."""
    told = first_of(look.fields.get("procured_at") for look in (made, *_statuses(exchanges, made)))
    return None if told is None else told - (made.ahead or 0.0)


def _post_answer(exchanges: Exchanges) -> RuleResult:
    """The answer to a purchase is `procured`. Source: procure-offer, which also has `provisioning_in_progress`. If not:
    any word but `failed` is a purchase.
    """
    word = needed(_states.word(needed(exchanges.last("purchase")).fields.get("status")))
    return stands(word == "procured", word)


def _post_ids(exchanges: Exchanges) -> RuleResult:
    """The answer to a purchase has the machines' ids. Source: procure-offer, may be null. If not: the status is asked
    for them, then the account's list.
    """
    count = len(_ids(_made(exchanges)))
    return stands(count > 0, f"resource_ids has {count}" if count else "no resource_ids")


def _statuses(exchanges: Exchanges, made: Exchange) -> list[Exchange]:
    """What the status of a purchase was after it."""
    return [item for item in _since(exchanges, "life_status", made.end) if item.fields]


def _sold(exchanges: Exchanges) -> RuleResult:
    """From its purchase on, an offer is not for sale by its status. Source: inferred. If not: with ids or a purchase
    time it counts as bought anyway.
    """
    made = _made(exchanges)
    looks = needed(_statuses(exchanges, made))
    if unsold := [look for look in looks if phase_of(look.fields) == _states.UNBOUGHT]:
        return stands(False, f"not bought by its status {_seconds(unsold[-1].at - made.end)} after the answer")
    return stands(True, f"bought by each of {len(looks)} statuses")


def _boot_time(exchanges: Exchanges) -> RuleResult:
    """A machine is ready within 5 minutes of its purchase. Source: offer-lifecycle. If not: the role waits 30 minutes
    (`provision_poll_delay`, `provision_poll_retries`).
    """
    made = _made(exchanges)
    looks = needed(_statuses(exchanges, made))
    phases = [phase_of(look.fields) for look in looks]
    begin = made.at if (moment := _procured_at(exchanges, made)) is None else min(max(made.at, moment), made.end)
    if _states.READY not in phases:
        last = "failed" if _states.FAILED in phases else "not ready"
        return stands(False, f"{last} {_seconds(looks[-1].at - begin)} after the purchase")
    number = phases.index(_states.READY)
    seconds = looks[number].at - begin
    # One that is ready at the first look has been so for nobody knows how long.
    evidence = f"ready {'within ' if number == 0 else ''}{_seconds(seconds)} after the purchase"
    return stands(seconds <= LONGEST_BOOT, evidence)


def _lets_in(exchanges: Exchanges) -> RuleResult:
    """You can log in within a minute after a machine is ready. Source: inferred. If not: the role waits
    (`provision_boot_timeout`).
    """
    ready = needed([item for item in exchanges.all("life_status") if phase_of(item.fields) == _states.READY])[0]
    # The first look at the machine comes once it has let in.
    look = needed(_since(exchanges, "life_resource", ready.end))[0]
    if exchanges.lets_in is None:
        return stands(False, "SSH did not answer")
    seconds = look.at - ready.at if exchanges.lets_in else 0
    evidence = f"SSH answered {_seconds(seconds)} after it was ready"
    return stands(seconds <= LONGEST_DELAY, evidence)


def _listed(exchanges: Exchanges) -> RuleResult:
    """By the time it is ready, the purchase is listed. Source: inferred. If not: with a registry nothing; without one,
    a run soon after might buy again.
    """
    made, ids = _made(exchanges), needed(bought_ids(exchanges))
    # Before it is ready, nothing is expected of the list.
    ready = (item.at for item in _statuses(exchanges, made) if phase_of(item.fields) == _states.READY)
    first = needed([item for item in _since(exchanges, "life_list", next(ready, made.end)) if item.is_success])[0]
    listed = {normalized_id(item.get("resource_id")) for item in first.items}
    when = f"{_seconds(first.at - made.end)} after the answer"
    return stands(ids <= listed, f"{'listed' if ids <= listed else 'not listed'} {when}")


def _running_price(exchanges: Exchanges) -> RuleResult:
    """A machine's `pricing_total_hourly` is its offer's price. Source: inferred. If not: of its own machines the
    registry's price counts, or the machine's where that is higher; for the account's ceiling the machine's price.
    """
    price = price_per_hour(needed(exchanges.objects("life_offer"))[-1])
    if price is None:
        raise NotSeen
    told = needed([item.get("pricing_total_hourly") for item in exchanges.objects("life_resource")])
    numbers = [item for item in told if isinstance(item, (int, float)) and not isinstance(item, bool)]
    if not numbers:
        return stands(False, "pricing_total_hourly is missing")
    is_same = abs(numbers[0] - price) < 1e-6
    return stands(is_same, f"USD {numbers[0]:g} of the machine, USD {price:g} of its offer")


def _end_answer(exchanges: Exchanges) -> RuleResult:
    """A DELETE is answered with `deleting` or `deleted`. Source: delete-resource, inferred word. If not: any success
    starts the end; the machine is read until it is gone.
    """
    deletion = needed(exchanges.last("deletion"))
    word = _states.word(deletion.fields.get("status"))
    if word is None:
        return stands(False, f"{deletion.status}{f': {deletion.detail}' if deletion.detail else ' without a status'}")
    return stands(_states.is_ending(word), f"{deletion.status}, {word}")


def _end_time(exchanges: Exchanges) -> RuleResult:
    """A machine is gone within 5 minutes of its DELETE. Source: inferred. If not: `decommission` fails, says that the
    machine may be billed, and waits again on the next run (`decommission_wait_timeout`).
    """
    deletion = needed(exchanges.success("deletion"))
    looks = needed(_since(exchanges, "life_resource", deletion.end))
    gone = [look for look in looks if look.status == 404 or _states.is_gone(_states.word(look.fields.get("status")))]
    if not gone:
        return stands(False, f"not gone {_seconds(looks[-1].at - deletion.at)} after the DELETE")
    seconds = gone[0].at - deletion.at
    evidence = f"gone {'within ' if gone[0] is looks[0] else ''}{_seconds(seconds)} after the DELETE"
    return stands(seconds <= LONGEST_END, evidence)


def bought_ids(exchanges: Exchanges) -> set[str]:
    """The ids of the machines whose life was followed."""
    named = [key for item in exchanges.all("purchase") for key in _ids(item)]
    ended = [exchange.path.rpartition("/")[2] for exchange in exchanges.exchanges if exchange.name == "deletion"]
    return {*named, *ended}


def _ids(answer: Exchange) -> list[str]:
    """The ids that the answer to a purchase names."""
    named = answer.fields.get("resource_ids")
    return list(filter(None, map(normalized_id, named))) if isinstance(named, list) else []


ASSUMPTIONS: tuple[Assumption, ...] = (
    Assumption("post-time", _post_time, _NEEDS, "Give `procure_offer` a higher `procure_timeout` (`module_defaults`)."),
    Assumption("post-moment", _post_moment, f"{_NEEDS} that takes time"),
    Assumption("post-answer", _post_answer, _NEEDS),
    Assumption("post-ids", _post_ids, _NEEDS),
    Assumption("sold", _sold, _NEEDS),
    Assumption("boot-time", _boot_time, _NEEDS, "Set `provision_poll_retries` to wait for longer than that."),
    Assumption("lets-in", _lets_in, _NEEDS, "Set `provision_boot_timeout` to wait for longer than that."),
    Assumption("listed", _listed, _NEEDS, KEEP_A_REGISTRY),
    Assumption("running-price", _running_price, _NEEDS),
    Assumption("end-answer", _end_answer, _NEEDS),
    Assumption("end-time", _end_time, _NEEDS, "Set `decommission_wait_timeout` to wait for longer than that."),
)
