# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plan of a host tells people: what is bought, or why nothing is."""

from __future__ import annotations

import math
import typing as t

from .._wording import COLUMNS, amount, plural, usd, usd_short
from .machines import Machine
from .messages import NOTHING_SENT, ids_of, some

AVOIDS_NOTHING = "To look there all the same, add -e provision_avoid=0."


def another_registry(fingerprint: str, others: str) -> str:
    """A host of the play has another shared registry than the first one, by the fingerprints of their URLs."""
    if fingerprint == others:
        return ""
    return "The hosts of a play share one registry, and these have different values of provision_registry_url."


def buys_there(words: str, host: str, *, by_id: bool) -> str:
    """A host buys where a machine did not pass its test (``words``), since it wants just that."""
    wanted = "it names that offer" if by_id else "its search names that vendor and region"
    return f"{words}. {host} buys there all the same, since {wanted}."


def not_declared(host: str) -> str:
    """A play has entered the role in its middle."""
    return (
        f"{host} has declared nothing, so nothing can be decided for it. The role begins with its first task: leave"
        " --start-at-task out. Nothing was sent."
    )


def strategy(name: str) -> str:
    """A play whose hosts do not go step by step together."""
    return (
        f"The play's strategy is {name}, under which nothing can be decided for all hosts together. Use linear,"
        f" Ansible's default. {NOTHING_SENT}"
    )


def wanted_by_another(host: str, offer_id: str, others: t.Iterable[str]) -> str:
    """The very offer that the host wants is another host's."""
    return (
        f"provision_offer_id {offer_id} of {host} is what {', '.join(others)} also has or wants. A machine belongs to"
        f" one host. {NOTHING_SENT}"
    )


def no_match(why: str) -> str:
    """Nothing on the market is what a host searches for; ``why`` says where there is something, or none."""
    where = "" if why == "none" else f": {why}"
    return (
        f"No offer matches provision_spec{where}. Ask for less (region, vendor, contract_type, another gpu_type), or"
        " try again later. Nothing was bought."
    )


def looks_only_at(host: str, place: str, storage_ids: t.Iterable[str]) -> str:
    """A host looks for its next machine where the storage of an earlier one is."""
    return f"{host} looks only at {place}, where its storage {', '.join(storage_ids)} is."


def narrowed_to(host: str, place: str, storage_ids: t.Iterable[str], key: str) -> str:
    """The same if that finds nothing; ``key``: of a search, that makes it look elsewhere."""
    return (
        f"The search was narrowed: {looks_only_at(host, place, storage_ids)} To look elsewhere, set {key} in"
        f" provision_spec ({key}: any for every {key})."
    )


def no_choice(reasons: t.Iterable[str]) -> str:
    """No search of a host with several searches has an offer for it; ``reasons``: one for each search."""
    return (
        f"None of the searches of provision_spec has an offer for this host. {'; '.join(reasons)}. Nothing was bought."
    )


def looked_for_later(host: str, until: str) -> str:
    """A line for a host that has no offer yet, and for which a later run looks again."""
    return f"{host}: no offer yet; runs look until {until}"


def waits(hosts: t.Sequence[str], since: str, text: str, again: str, until: str) -> str:
    """What is waited for, in a line of the terminal."""
    return f"Since {since} waiting for {len(hosts)} ({some(hosts)}): {text}. Next look {again}, until {until}."


def later_choice(host: str, number: int, what: str, reasons: t.Iterable[str]) -> str:
    """Why a host gets something else than what it wants most."""
    return f"{host} gets choice {number} ({what}): {'; '.join(reasons)}."


def too_few(offers: int, hosts: int) -> str:
    """There are fewer offers within a ceiling than hosts that share their search."""
    return f"{plural(offers, 'offer')} for {hosts} hosts."


def none_left(count: int, ceiling: str, cheapest: float | None, tried: int, bill: float | None = None) -> str:
    """Offers match, but none is left for this host within its ``ceiling`` (see `ceiling_of`, `bill_of`).

    ``bill``: USD that the cheapest would cost in all, if that is too much.
    """
    again = f" after {tried} tried" if tried else ""
    why = "; hosts of a play never share an offer"
    if bill is not None:
        usd_in_all = math.ceil(round(bill * 100, 6)) / 100  # so that this sum is enough
        why = f", and USD {amount(usd_in_all)} in all: raise provision_max_bill, or shorten provision_lease"
    return (
        f"None of the {count} matching offers is left for this host{again} within its {ceiling}. The cheapest costs"
        f" {usd(cheapest)}{why}. Nothing was bought."
    )


def ceiling_of(max_price_per_hour: float) -> str:
    """The ceiling of a host in a sentence."""
    shown = "unlimited" if max_price_per_hour == float("inf") else usd(max_price_per_hour)
    return f"provision_max_price_per_hour ({shown})"


def price_of_plan(number: str, max_price_per_hour: float) -> str:
    """The ceiling of a host in a sentence, if it buys by a sealed plan."""
    return f"the price in plan {number} ({usd(max_price_per_hour)})"


def bill_of(max_bill: float, lease: str, max_price_per_hour: float) -> str:
    """The ceiling of a host in a sentence, if its largest bill (USD) and its ``lease`` set it."""
    return f"provision_max_bill (USD {amount(max_bill)} with the lease {lease}, so {usd(round(max_price_per_hour, 6))})"


def unread_ledger(text: str) -> str:
    """A budget, and a ledger that cannot be read."""
    return f"What was spent cannot be read, so whether provision_budget holds is not known: {text} {NOTHING_SENT}"


def too_dear(offer_id: str, price: float | None, ceiling: str) -> str:
    """The offer that is wanted by its id is above the ``ceiling`` (see `ceiling_of`, `bill_of`)."""
    return f"Offer {offer_id} costs {usd(price)}, which is not within {ceiling}. Nothing was bought."


def all_or_none(hosts: t.Iterable[str]) -> str:
    """Some hosts cannot have what they need, and all or none was asked for."""
    return f"provision_all_or_nothing: nothing was bought, since {some(hosts)} cannot have a machine."


def what_is_bought(host: str, offer: Machine, lease: str, bill: float | None) -> str:
    """What a host is about to buy, as much as fits behind its name in a line of the terminal; the quote says more.

    ``lease``: how long, as in ``in 8h``, empty if there is no end; ``bill``: USD in all that time.
    """
    gpus = [str(name) for name in (offer.get("gpu_type"), offer.get("gpu_family")) if name]
    total = "unknown price" if bill is None else f"USD {amount(round(bill, 2))}"
    in_short = total.removeprefix("USD ")
    bills = [f"{total} {lease}", f"{in_short} {lease}", f"{in_short} in all"] if lease else [""]
    texts = [_in_short(offer, gpu, text) for text in bills for gpu in gpus or ["None"]]
    room = COLUMNS - len(f"changed: [{host} -> localhost] => (item=)")
    return next((text for text in texts if len(text) <= room), min(texts, key=len))


def _in_short(offer: Machine, gpu: str, bill: str) -> str:
    contract = offer.get("contract_type")
    facts = [
        f"{offer.get('gpu_count')} x {gpu}",
        usd_short(offer.get("price_per_hour")),
        contract if contract != "ondemand" else "",
        bill,
    ]
    return ", ".join(str(fact) for fact in facts if fact)


def locked_out_of(host: str, offer_id: str, price: float | None, ids: t.Iterable[str]) -> str:
    """A host whose machine another run has bought, or is buying, and that this job cannot log in to."""
    return (
        f"Another run buys or has bought the machine of {host}: offer {offer_id} at {usd(price)}, resource ids:"
        f" {ids_of(ids)}. It is billed, and this job has bought nothing."
    )


def few_forks(buyers: int, forks: int) -> str:
    """More hosts buy than can do so at once."""
    return (
        f"{buyers} hosts buy, {forks} at a time: a purchase may take minutes, and offers expire after half an hour. Let"
        f" them all buy at once: --forks {buyers}, or forks in ansible.cfg."
    )


def drift(host: str, what: str) -> str:
    """A host owns something else than it declares now. That is reported, and never repaired by a replacement."""
    return f"{host} owns something other than it declares: {what}. It stays as it is."


def unjudged(host: str) -> str:
    """A host buys, and no task has looked what became of its purchase."""
    return (
        f"{host} was not told what became of its purchase: the first host looks for all, and the role's condition"
        " (when) does not hold any more. What was bought is billed. Run again: nothing is bought twice."
    )
