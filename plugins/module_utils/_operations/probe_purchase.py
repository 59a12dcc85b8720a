# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the probe would buy, if it may; and how that went. The roles buy and end it.

This module util is private to the collection.
"""

from __future__ import annotations

import math
import re
import typing as t

from .. import _decide_spec, _spec
from .._api import Json
from .._log import PROBE_HOST
from .._market import price_per_hour
from .._on_api import on_api
from .._operation import Failure, Operation, Params, Result, given
from .._seen import items_in
from .._wording import amount, usd
from ._registries import Registries, with_registries
from .probe import Prober

BLANK: Result = {"changed": False, "hosts": [], "purchase": {}, "lines": []}

DECOMMISSION = f"ansible-playbook -i <inventory> compute_index.supply.decommission -e decommission_hosts={PROBE_HOST}"
#: What the play of the purchase decides on by itself. Extra variables would beat it.
OWN = frozenset(
    {
        *("provision_spec", "provision_spec_order", "provision_offer_id", "provision_max_price_per_hour"),
        *("provision_max_bill", "provision_lease", "provision_max_attempts", "provision_adopt", "provision_wait"),
        *("provision_cluster_name", "decommission_resource_id", "decommission_forget"),
    }
)
_MOST_TYPES = 8  # families that one search names
# What the API calls a GPU goes into variables of the play, so it must be no template.
_GPU = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@with_registries
def probe_purchase(api: Prober, registries: Registries, params: Params, check_mode: bool) -> Result:
    """The cheapest kind of machine, for which host, and what it may cost; nothing if none shall be bought.

    Raises Failure; nothing is sent before all that was given is found to be in order.
    """
    if not params["buy"]:
        return dict(BLANK)
    most = given("probe_max_usd", params["max_usd"], _usd)
    if refusal := _refusal(registries, params):
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
        "lines": [
            f"The cheapest kind of machine is {kind}, at {usd(price)}. One is bought for at most an hour if that costs"
            f" no more than probe_max_usd (USD {amount(most)}), and ended as soon as it was seen.",
            f"Should this run be interrupted, end it: {DECOMMISSION}",
        ],
    }


def _usd(value: str) -> float:
    """What the machine may cost in all. Raises ValueError."""
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    if not (math.isfinite(found) and found > 0):
        raise ValueError("must be the most that the machine of probe_buy may cost in all, a number of USD above 0")
    return found


def _refusal(registries: Registries, params: Params) -> str:
    """Why nothing is bought, empty if it may be."""
    if params["limited"]:
        return f"probe_buy has a host of its own, {PROBE_HOST}, which --limit leaves out. Run it without a limit."
    if params["is_known"]:
        return f"probe_buy has a host of its own and would end its machine: take {PROBE_HOST} out of the inventory."
    overruled = sorted(OWN & set(params["extra"]))
    if overruled:
        return f"probe_buy decides on {', '.join(overruled)} by itself, which extra variables would overrule."
    if not all(registries.places(params).values()):
        return "probe_buy needs a registry, which remembers what was bought: provision_registry_dir is empty."
    return ""


def _cheapest(api: Prober) -> Json:
    """The cheapest offer of one machine with one GPU, of those with a price. Raises Failure."""
    gpus = api.get_first("gpus", "available_gpus")
    families = list(gpus.data) if gpus.is_success and isinstance(gpus.data, dict) else []
    parts = [families[begin : begin + _MOST_TYPES] for begin in range(0, len(families), _MOST_TYPES)]
    found = [each for part in parts for each in _offers(api, part)]
    priced = [(price, each) for each in found if (price := price_per_hour(each)) is not None]
    if not priced:
        raise Failure(
            "There is no machine with one GPU on demand whose price is known. Nothing was bought.", "capacity"
        )
    return min(priced, key=lambda pair: pair[0])[1]


def _offers(api: Prober, families: t.Sequence[str]) -> list[Json]:
    """The offers of these families; an API that takes one name at a time is asked for each."""
    look = api.search("kinds", gpu_type=" | ".join(families), gpu_count=1, contract_type="ondemand")
    if look.is_error and len(families) > 1:
        return [offer for each in families for offer in _offers(api, [each])]
    return [each for each in items_in(look.data, "offers") if _is_one_machine(each)]


def _is_one_machine(offer: Json) -> bool:
    return (
        isinstance(offer.get("gpu_type"), str)
        and _GPU.fullmatch(offer["gpu_type"]) is not None
        and offer.get("gpu_count") == 1
        and offer.get("node_count") in (None, 1)
    )


def probe_ended(params: Params, check_mode: bool) -> Result:
    """Nothing, if the purchase went as it should. Raises Failure."""
    if params["unended"]:
        billed = f"THE MACHINE OF {PROBE_HOST} MAY STILL BE BILLED: {params['unended']}"
        raise Failure(f"{billed} End it: {DECOMMISSION}", "unavailable")
    if params["trouble"]:
        ended = f"What it may have bought has ended since: {PROBE_HOST} owns nothing."
        raise Failure(f"The purchase did not go as it should: {params['trouble']} {ended}", "unavailable")
    return {"changed": False}


PROBE_PURCHASE = on_api(Prober, probe_purchase, _decide_spec.PROBE_PURCHASE, BLANK)
PROBE_ENDED = Operation(probe_ended, {**_spec.API, **_decide_spec.PROBE_ENDED}, {"changed": False})
