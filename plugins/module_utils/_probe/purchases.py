# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The purchase of the probe: whether it may be made, and of which machine. Pure."""

from __future__ import annotations

import re
import typing as t

from .._api.market import price_per_hour
from .._provision.order import DECIDED_BY_PLAYS
from .._provision.spending import Bill
from .._text import amount, applicable, number_of, usd, wrapped

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
    return next(iter(applicable(reasons)), "")


def last_ended(bills: t.Iterable[Bill]) -> str:
    """The machine that ended last, empty if none is known to have ended."""
    ended = [(bill.end, bill.resource_ids[0]) for bill in bills if bill.resource_ids and bill.end is not None]
    return max(ended, default=(0.0, ""))[1]


def cheapest(offers: t.Iterable[dict[str, t.Any]]) -> dict[str, t.Any] | None:
    """The cheapest offer of one machine with one GPU whose name is a plain word; None if no such price is known."""
    priced = [(price, offer) for offer in offers if (price := price_per_hour(offer)) is not None]
    single = [(price, offer) for price, offer in priced if _is_one_machine(offer)]
    return min(single, key=lambda pair: pair[0], default=(None, None))[1]


def _is_one_machine(offer: t.Mapping[str, t.Any]) -> bool:
    is_plain = isinstance(offer.get("gpu_type"), str) and _GPU.fullmatch(offer["gpu_type"]) is not None
    return is_plain and offer.get("gpu_count") == 1 and offer.get("node_count") in (None, 1)


def announced(kind: str, price_per_hour: float | None, max_usd: float, end: str) -> list[str]:
    """What is bought, at which price (USD per hour) and for how much at most (USD), and the command that ends it."""
    bought = (
        f"The cheapest kind of machine is {kind}, at {usd(price_per_hour)}. One is bought for at most an hour if "
        f"that costs no more than probe_max_usd (USD {amount(max_usd)}), and ended as soon as it was seen."
    )
    return [*wrapped(bought), *wrapped(f"If this run is interrupted, end it: {end}", indent="  ")]
