# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the API's behaviour with our assumptions, with requests that only read."""

from __future__ import annotations

import contextlib
import json
import os
import time
import typing as t
from dataclasses import asdict, replace

from .._ansible import steps
from .._ansible.operation import Failure, Params, Result, checked_option, on_api, refusing
from .._api import recorder
from .._api.client import VERSION, SupplyApi, path_to
from .._api.http import Answer, HttpClient, TransportError
from .._api.market import price_per_hour, search_body
from .._machine.readings import read_text_file
from .._probe import assumptions, purchases
from .._probe.exchanges import (
    CATALOGS,
    Exchange,
    Exchanges,
    hosts_to_compare,
    named_by_path,
    reads_of_machines,
    reads_of_offer,
)
from .._probe.recording import lines_of, redacted
from .._provision.order import PROBE_HOST
from .._provision.place import Place
from .._provision.spending import Bill
from .._registry._files import as_registry_error, write_durably
from .._registry._protocol import RegistryError
from ._registries import Registries, RegistrySnapshot, reading_registries

BLANK: Result = {"changed": False, "probe": {}, "lines": []}
HOST_TIMEOUT = 10.0  # seconds; the host may not exist
FORMAT = 1  # of the recording; the simulator reads it

UNUSED_ID = "00000000-0000-4000-8000-0000000000aa"
WRONG_TOKEN = "a-wrong-token-of-the-probe"
# Searches by name. No offer costs as little as ``no_match`` asks, and no GPU has the name in ``invalid``.
SEARCHES: dict[str, dict[str, t.Any]] = {
    "search": {"gpu_count": 1},
    "without_count": {},
    "eight_gpus": {"gpu_count": 8},
    "nodes": {"gpu_count": 8, "node_count": 2},
    "no_match": {"gpu_count": 1, "max_price_per_gpu_hour": 0.0001},
    "invalid": {"gpu_count": 1, "gpu_type": "no-such-gpu"},
}
MOST_TYPES = 8  # GPU families in one search


class Prober(SupplyApi):
    """Sends only requests that read, in any mode, and keeps each exchange."""

    def __init__(self, http: HttpClient, *, read_only: bool = False) -> None:
        super().__init__(http, read_only=True)
        self.exchanges: list[Exchange] = []

    def get(self, name: str, *parts: str, **query: str) -> Exchange:
        """GET the path made of these parts."""
        return self._look(self._http, Exchange(name, "GET", path_to(*parts), query))

    def get_first(self, name: str, *parts: str) -> Exchange:
        """GET the path a first time to check that it works, and once more as an exchange. Raises ApiError."""
        self._read("GET", path_to(*parts), retries=1)
        return self.get(name, *parts)

    def search(self, name: str, **compute: t.Any) -> Exchange:
        """POST /get_offers, which is a read."""
        return self._look(self._http, Exchange(name, "POST", "/get_offers", spec={"compute": compute}))

    def get_as_stranger(self, *parts: str) -> Exchange:
        """GET the path with an invalid token."""
        stranger = self._http.for_server(self._http.base_url, WRONG_TOKEN)
        return self._look(stranger, Exchange("wrong_token", "GET", path_to(*parts)))

    def ask_hosts(self) -> dict[str, int | None]:
        """The HTTP status with which each documented host of the API answers a GET without token; None if it does not.

        Only the host of ``api_url`` ever gets the token.
        """
        how: t.Any = {"repeatable": True, "retries": 0, "timeout": HOST_TIMEOUT}
        statuses: dict[str, int | None] = dict.fromkeys(hosts_to_compare(self._http.base_url))
        for host in statuses:
            with contextlib.suppress(TransportError):
                statuses[host] = (
                    self._http.for_server(f"https://{host}", "").exchange("GET", "/available_gpus", **how).status
                )
        return statuses

    def _look(self, http: HttpClient, request: Exchange) -> Exchange:
        """Send a request once, and return the exchange."""
        begin, at = time.monotonic(), time.time()
        sent: dict[str, t.Any] = {"query": request.query or None}
        if request.spec is not None:
            sent.update(body=search_body(request.spec), content_type="application/yaml")
        answer = Answer(0, False, None)
        with contextlib.suppress(TransportError):
            answer = http.exchange(request.method, request.path, repeatable=True, retries=0, **sent)
        same = {name: getattr(answer, name) for name in ("data", "is_json", "retry_after", "ahead")}
        exchange = replace(request, status=answer.status or None, seconds=time.monotonic() - begin, at=at, **same)
        self.exchanges.append(exchange)
        return exchange


# The page that says what follows if an assumption is wrong
PAGE = os.path.join(os.path.dirname(__file__), *[os.pardir] * 3, "docs", "api.md")


@reading_registries
def probe(api: Prober, registries: Registries, params: Params, check_mode: bool) -> Result:
    """Return each assumption with its verdict, as data and lines, and write a recording if asked. Raises Failure."""
    file, places = _checked(params["recording"], params["here"]), list(registries.places(params).values())
    snapshot = RegistrySnapshot(registries, places)
    requested_names = {key: claim.name for claim in snapshot.claims() for key in claim.resource_ids}
    ended = _ended(registries, places)
    _look_around(api, ended, params["wrong_token"])
    # The exchanges that the tasks of a purchase have recorded, if the probe made one
    lines = recorder.recorded_exchanges(params["log"])
    life = [Exchange(named_by_path(line["method"], line["path"]), **line) for line in lines]
    hosts = api.ask_hosts()
    seen = Exchanges((*life, *api.exchanges), requested_names, ended, params["lets_in"], hosts)
    # The machine that the probe bought has ended, so no registry knows its name any more.
    requested_names.update({key: str(params["name"]) for key in assumptions.bought_ids(seen) if params["name"]})
    own = [params["api_token"].strip(), WRONG_TOKEN, *requested_names.values(), *assumptions.names_of_machines(seen)]
    exchanges, found = redacted(seen.exchanges, assumptions.assumption_findings(seen), own)
    findings, writes = list(map(asdict, found)), bool(file) and not check_mode
    if writes:
        recording = {"format": FORMAT, "version": VERSION, "findings": findings, "exchanges": exchanges}
        with refusing(RegistryError), as_registry_error(f"probe_recording: {file} cannot be written"):
            write_durably(file, json.dumps(recording, indent=1) + "\n")
    return {
        **BLANK,
        "changed": bool(file),
        "probe": {**_by_verdict(found), "findings": findings, "requests": len(api.exchanges) + len(hosts)},
        "lines": lines_of(found, api.exchanges, params["recording"] if writes else "", read_text_file(PAGE)),
        "warnings": snapshot.warnings(),
    }


def _checked(recording: str, here: str) -> str:
    """The path of the recording; empty if none is asked for. Raises Failure."""
    name = recording.strip()
    file = os.path.join(here, os.path.expanduser(name)) if name else ""
    if file and (os.path.isdir(file) or not os.access(os.path.dirname(file), os.W_OK)):
        raise Failure(f"probe_recording: no file can be written at {file}. Nothing was sent.", "invalid")
    return file


def _by_verdict(found: t.Iterable[assumptions.AssumptionFinding]) -> dict[str, list[str]]:
    rows = list(found)
    return {word.replace(" ", "_"): [row.id for row in rows if row.verdict == word] for word in assumptions.VERDICTS}


def _ended(registries: Registries, places: t.Iterable[Place]) -> str:
    """The id of the machine that ended last, by the ledgers; empty if they know none."""
    bills: list[Bill] = []
    for place in dict.fromkeys(filter(None, places)):
        with contextlib.suppress(RegistryError):  # the snapshot warns of unreadable registries
            bills += registries.at(place).ledger().bills
    return purchases.last_ended(bills)


def _look_around(api: Prober, ended: str, wrong_token: bool) -> None:
    """Send the probe's requests to the API: at most 29, besides those of `Prober.ask_hosts`."""
    listed = api.get_first("resources", "resources")
    families = list(api.get("gpus", "available_gpus").fields)
    for kind in CATALOGS:
        api.get(kind, f"available_{kind}")
    looks = _look_at_market(api, families)
    reads = [
        *reads_of_offer([item for look in looks for item in look.items]),
        ("unknown_offer", ("offers", UNUSED_ID), {}),
        ("unknown_resource", ("resources", UNUSED_ID), {}),
        *reads_of_machines(listed.items),
        *([("ended", ("resources", ended), {})] if ended else []),
    ]
    for name, parts, query in reads:
        api.get(name, *parts, **query)
    if wrong_token:
        api.get_as_stranger("resources")


def _look_at_market(api: Prober, families: list[str]) -> list[Exchange]:
    types = " | ".join(families[:MOST_TYPES])
    if len(families) > 1 and not api.search("several_types", gpu_type=types, gpu_count=1).is_success:
        types = families[0]
    return [api.search(name, **{"gpu_type": types or "H100", **compute}) for name, compute in SEARCHES.items()]


PROBE = on_api(Prober, probe, steps.PROBE, BLANK)


# The machine that the probe may buy. The roles buy and end it

BLANK_PURCHASE: Result = {"changed": False, "hosts": [], "purchase": {}, "lines": []}

DECOMMISSION = f"ansible-playbook -i <inventory> compute_index.supply.decommission -e decommission_hosts={PROBE_HOST}"


@reading_registries
def probe_purchase(api: Prober, registries: Registries, params: Params, check_mode: bool) -> Result:
    """Return the host, search and cost limit of the cheapest machine; nothing if the probe may not buy.

    Checks all options before the first request. Raises Failure.
    """
    if not params["buy"]:
        return dict(BLANK_PURCHASE)
    most = checked_option("probe_max_usd", params["max_usd"], purchases.check_usd)
    about = {name: params[name] for name in ("limited", "is_known", "extra")}
    remembers = all(registries.places(params).values())
    if refusal := purchases.why_not_bought(PROBE_HOST, remembers=remembers, **about):
        raise Failure(f"{refusal} Nothing was sent.", "invalid")
    families = list(api.get_first("gpus", "available_gpus").fields)
    looks = [api.search("kinds", gpu_type=name, gpu_count=1, contract_type="ondemand") for name in families]
    offer = purchases.cheapest(item for look in looks for item in look.items)
    if offer is None:
        message = "The market has no on-demand machine with one GPU and a known price. Nothing was bought."
        raise Failure(message, "capacity")
    price, kind = price_per_hour(offer), offer["gpu_type"]
    return {
        **BLANK_PURCHASE,
        "hosts": [PROBE_HOST],
        "purchase": {
            "spec": {"compute": {"gpu_type": kind, "gpu_count": 1, "contract_type": "ondemand"}},
            "max_usd": most,
            "log": params["log"],
        },
        "lines": purchases.announced(kind, price, most, DECOMMISSION),
    }


def probe_ended(params: Params, check_mode: bool) -> Result:
    """Check that the purchase went well and its machine has ended. Raises Failure."""
    trouble, unended = (params["got"].get(name) for name in ("probe__trouble", "probe__unended"))
    if unended:
        billed = f"THE MACHINE OF {PROBE_HOST} MAY STILL BE BILLED: {unended}"
        raise Failure(f"{billed} End it: {DECOMMISSION}", "unavailable")
    if trouble:
        ended = f"If it bought a machine, that has ended: {PROBE_HOST} owns nothing."
        raise Failure(f"The purchase failed: {trouble} {ended}", "unavailable")
    return {"changed": False}


PROBE_PURCHASE = on_api(Prober, probe_purchase, steps.PROBE_PURCHASE, BLANK_PURCHASE)
PROBE_ENDED = steps.operation(probe_ended, steps.PROBE_ENDED, {"changed": False})
