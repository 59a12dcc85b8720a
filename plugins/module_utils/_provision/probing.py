# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the probe may buy a machine, and which."""

from __future__ import annotations

import re
import typing as t

from .._text import number_of
from .._wording import amount, usd, wrapped
from .names import DECIDED_BY_PLAYS
from .spending import Bill

# What the API calls a GPU goes into variables of the play, so it must be no template.
_GPU = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def check_usd(value: str) -> float:
    """What the machine may cost in all (USD). Raises ValueError."""
    result = number_of(value)
    if result is None or result <= 0:
        raise ValueError("must be the most that the machine of probe_buy may cost in all, a number of USD above 0")
    return result


def refusal(host: str, *, limited: bool, is_known: bool, extra: t.Iterable[str], remembers: bool) -> str:
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
    return next((reason for reason, holds in reasons.items() if holds), "")


def last_ended(bills: t.Iterable[Bill]) -> str:
    """The machine that ended last, empty if none is known to have ended."""
    over = [bill for bill in bills if bill.resource_ids and not bill.runs]
    ended = [(bill.end, bill.resource_ids) for bill in over if bill.end is not None]
    return max(ended, default=(0.0, ("",)))[1][0]


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
    priced = [(price, offer) for price, offer in offers if price is not None]
    return min(priced, key=lambda each: each[0])[1] if priced else None
