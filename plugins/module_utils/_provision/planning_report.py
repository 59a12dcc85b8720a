# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plan of a host tells people: what is bought, or why nothing is."""

from __future__ import annotations

import math

from .._wording import COLUMNS, amount, usd, usd_short
from .messages import NOTHING_SENT
from .ownership import Machine


def another_registry(fingerprint: str, others: str) -> str:
    """A host of the play has another shared registry than the first one, by the fingerprints of their URLs."""
    if fingerprint == others:
        return ""
    return "The hosts of a play share one registry, and these have different values of provision_registry_url."


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


def no_match(why: str) -> str:
    """Nothing on the market is what a host searches for; ``why`` says where there is something, or none."""
    where = "" if why == "none" else f": {why}"
    return (
        f"No offer matches provision_spec{where}. Ask for less (region, vendor, contract_type, another gpu_type), or"
        " try again later. Nothing was bought."
    )


def none_left(
    count: int, ceiling: str, cheapest: float | None, tried: int, bill: float | None, is_affordable: bool
) -> str:
    """Offers match, but none is left for this host within its ``ceiling``, in words.

    ``bill``: USD that the cheapest would cost in all, if that is too much. ``is_affordable``: the cheapest is within
    the ceiling, so something else keeps it from the host.
    """
    again = f" after {tried} tried" if tried else ""
    why = "; hosts of a play never share an offer" if is_affordable else ""
    if bill is not None:
        usd_in_all = math.ceil(round(bill * 100, 6)) / 100  # so that this sum is enough
        why = f", and USD {amount(usd_in_all)} in all: raise provision_max_bill, or shorten provision_lease"
    none = "The only matching offer is not" if count == 1 else f"None of the {count} matching offers is"
    return (
        f"{none} left for this host{again} within its {ceiling}. The cheapest costs {usd(cheapest)}{why}."
        " Nothing was bought."
    )


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
