# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the probe would buy, if it may; and how that went. The roles buy and end it."""

from __future__ import annotations

import typing as t

from .._ansible import steps
from .._ansible.on_api import on_api
from .._ansible.operation import Failure, Params, Result, given
from .._api.client import Json
from .._api.market import price_per_hour
from .._api.recorder import PROBE_HOST
from .._probe.assumptions import families_of
from .._probe.exchanges import items_in
from .._provision import probing
from ._registries import Registries, reading_registries
from .probe import MOST_TYPES, Prober

BLANK: Result = {"changed": False, "hosts": [], "purchase": {}, "lines": []}

DECOMMISSION = f"ansible-playbook -i <inventory> compute_index.supply.decommission -e decommission_hosts={PROBE_HOST}"


@reading_registries
def probe_purchase(api: Prober, registries: Registries, params: Params, check_mode: bool) -> Result:
    """The cheapest kind of machine, for which host, and what it may cost; nothing if none shall be bought.

    Raises Failure; nothing is sent before all that was given is found to be in order.
    """
    if not params["buy"]:
        return dict(BLANK)
    most = given("probe_max_usd", params["max_usd"], probing.check_usd)
    about = {name: params[name] for name in ("limited", "is_known", "extra")}
    remembers = all(registries.places(params).values())
    if refusal := probing.refusal(PROBE_HOST, remembers=remembers, **about):
        raise Failure(f"{refusal} Nothing was sent.", "invalid")
    offer = _cheapest(api)
    price = price_per_hour(offer)
    kind = offer["gpu_type"]
    return {
        **BLANK,
        "hosts": [PROBE_HOST],
        "purchase": {
            "spec": {"compute": {"gpu_type": kind, "gpu_count": 1, "contract_type": "ondemand"}},
            "max_usd": most,
            "log": params["log"],
        },
        "lines": probing.announced(kind, price, most, DECOMMISSION),
    }


def _cheapest(api: Prober) -> Json:
    """The cheapest offer of one machine with one GPU, of those with a price. Raises Failure."""
    families = families_of(api.get_first("gpus", "available_gpus"))
    parts = [families[begin : begin + MOST_TYPES] for begin in range(0, len(families), MOST_TYPES)]
    offers = [offer for part in parts for offer in _offers(api, part)]
    cheapest = probing.cheapest((price_per_hour(offer), offer) for offer in offers)
    if cheapest is None:
        raise Failure(
            "There is no machine with one GPU on demand whose price is known. Nothing was bought.", "capacity"
        )
    return cheapest


def _offers(api: Prober, families: t.Sequence[str]) -> list[Json]:
    """The offers of these families; an API that takes one name at a time is asked for each."""
    look = api.search("kinds", gpu_type=" | ".join(families), gpu_count=1, contract_type="ondemand")
    parts = probing.one_by_one(families, look.is_error)
    if parts:
        return [offer for part in parts for offer in _offers(api, part)]
    return list(filter(probing.is_one_machine, items_in(look.data, "offers")))


def probe_ended(params: Params, check_mode: bool) -> Result:
    """Nothing, if the purchase went as it should. Raises Failure."""
    if params["unended"]:
        billed = f"THE MACHINE OF {PROBE_HOST} MAY STILL BE BILLED: {params['unended']}"
        raise Failure(f"{billed} End it: {DECOMMISSION}", "unavailable")
    if params["trouble"]:
        ended = f"What it may have bought has ended since: {PROBE_HOST} owns nothing."
        raise Failure(f"The purchase did not go as it should: {params['trouble']} {ended}", "unavailable")
    return {"changed": False}


PROBE_PURCHASE = on_api(Prober, probe_purchase, steps.PROBE_PURCHASE, BLANK)
PROBE_ENDED = steps.operation(probe_ended, steps.PROBE_ENDED, {"changed": False})
