# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The purchase of the probe: whether it is allowed, and which machine it buys. Pure."""

from __future__ import annotations

import re
import typing as t

from .._api.client import text_or_none
from .._api.market import price_per_hour
from .._provision.order import DECIDED_BY_PLAYS
from .._provision.spending import Bill
from .._text import amount, applicable, number_of, usd, wrapped

# The API's name of a GPU becomes a variable of the play, so it must not be a template.
_GPU = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def check_usd(value: str) -> float:
    """Read the highest total cost of the machine (USD). Raises ValueError."""
    result = number_of(value)
    if result is None or result <= 0:
        raise ValueError("must be the highest total cost of probe_buy's machine, in USD and above 0")
    return result


def why_not_bought(host: str, *, limited: bool, is_known: bool, extra: t.Iterable[str], remembers: bool) -> str:
    """Why nothing may be bought for the host; empty if a purchase is allowed.

    ``limited``: ``--limit`` excludes the host. ``is_known``: the inventory has it. ``extra``: the names of extra
    variables. ``remembers``: whether a registry remembers the purchase.
    """
    overruled = ", ".join(sorted(DECIDED_BY_PLAYS & set(extra)))
    reasons = {
        f"probe_buy uses its own host {host}, which --limit excludes. Leave out --limit.": limited,
        f"probe_buy uses its own host {host} and ends its machine. Remove {host} from the inventory.": is_known,
        f"probe_buy sets {overruled} itself. Leave these extra variables out.": bool(overruled),
        "probe_buy needs a registry to remember its purchase, but provision_registry_dir is empty. Leave that variable"
        " out.": not remembers,
    }
    return next(iter(applicable(reasons)), "")


def last_ended(bills: t.Iterable[Bill]) -> str:
    """The id of the machine that ended last; empty if none has."""
    ended = [(bill.end, bill.resource_ids[0]) for bill in bills if bill.resource_ids and bill.end is not None]
    return max(ended, default=(0.0, ""))[1]


def cheapest(offers: t.Iterable[dict[str, t.Any]]) -> dict[str, t.Any] | None:
    """The cheapest priced offer of one machine with one GPU whose type is a plain word, or None."""
    single = [offer for offer in offers if offer.get("gpu_count") == 1 and offer.get("node_count") in (None, 1)]
    plain = [offer for offer in single if _GPU.fullmatch(text_or_none(offer.get("gpu_type")) or "")]
    priced = [(price, offer) for offer in plain if (price := price_per_hour(offer)) is not None]
    return min(priced, key=lambda pair: pair[0], default=(None, None))[1]


def announced(kind: str, price_per_hour: float | None, max_usd: float, end: str) -> list[str]:
    """Lines about the purchase, its price (USD per hour) and its highest cost (USD), with the command ``end``."""
    bought = (
        f"The cheapest machine is {kind}, at {usd(price_per_hour)}. The probe buys one for at most an hour, if that "
        f"costs at most probe_max_usd (USD {amount(max_usd)}), and ends it as soon as it has been observed."
    )
    return [*wrapped(bought), *wrapped(f"If this run is interrupted, end the machine: {end}", indent="  ")]
