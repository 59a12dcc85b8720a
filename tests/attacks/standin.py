# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A second stand-in of the Supply API, which shares no code and no assumption with the simulator.

By default it answers as the documentation says. A test changes its answers with hooks: functions that receive each
request first, and may answer it themselves, before or after the books have changed (``proceed``), or not at all.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace, TracebackType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import yaml

from books import Machine, Offer, Purchase, moment

Json = dict[str, Any]
TOKEN = "attack-token-7b1f"


@dataclass
class Request:
    """A request."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes
    headers: dict[str, str]
    time: float = field(default_factory=time.time)

    @property
    def json(self) -> Json:
        """The body of a purchase."""
        body: Json = json.loads(self.body or b"{}")
        return body


@dataclass
class Answer:
    """An answer. Bytes are sent as they are; an iterable is sent part by part, and then the connection ends."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    #: Cut the connection instead of answering.
    cut: bool = False


Proceed = Callable[[], Answer]
Hook = Callable[[Request, Proceed], "Answer | None"]


def refuse(status: int, detail: str) -> Answer:
    """An error in FastAPI's form."""
    return Answer(status, {"detail": detail})


class StandIn:
    """The API on a free loopback port; a context manager."""

    def __init__(self) -> None:
        self.settings = SimpleNamespace(token=TOKEN)
        self.lock = threading.RLock()
        self.offers: list[Offer] = []
        self.machines: list[Machine] = []
        self.purchases: list[Purchase] = []
        self.requests: list[Request] = []
        self.hooks: list[Hook] = []
        #: Exceptions of hooks, which are bugs of the test
        self.errors: list[Exception] = []
        self.tokens = {TOKEN}
        self.end_seconds = 0.0
        stand_in = self

        class Handler(_Handler):
            owner = stand_in

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> StandIn:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.server.shutdown()
        self.server.server_close()

    # For tests

    def sell(self, vendor: str = "acme", price: float | None = 2.0, **fields: Any) -> Offer:
        """Add an offer."""
        offer = Offer(price=price, vendor=vendor, **fields)
        with self.lock:
            self.offers.append(offer)
        return offer

    def add_machine(self, name: str | None, price: float | None = 2.0, **fields: Any) -> Machine:
        """Add a machine of another user, bought two hours ago with an offer of its own."""
        offer = self.sell("elsewhere", price, created=time.time() - 7200)
        self.buy(offer, name, **fields)
        return offer.purchase.machines[0] if offer.purchase else Machine(name, [])

    def buy(self, offer: Offer, name: str | None, body: Json | None = None, **fields: Any) -> Purchase:
        """Buy the offer, for a request or for another user."""
        with self.lock:
            assert offer.purchase is None, "an offer is sold once"
            kept = name if offer.keeps_name else f"vm-{len(self.machines)}"
            names = [kept] if offer.machines == 1 else [f"{kept}-{number + 1}" for number in range(offer.machines)]
            share = None if offer.total is None else round(offer.total / offer.machines, 6)
            state = "failed" if offer.fails else "running"
            place = {"vendor": offer.vendor, "region": offer.region, **fields}
            bought = [Machine(each, [offer.offer_id], share, state, **place) for each in names]
            self.machines += bought
            offer.purchase = Purchase(offer, name, bought, body or {})
            offer.purchase.disks = self._disks(offer, bought, place)
            self.purchases.append(offer.purchase)
            return offer.purchase

    def _disks(self, offer: Offer, machines: list[Machine], place: Json) -> list[Machine]:
        """Add the persistent storage of a purchase to the books, and return it."""
        if offer.disk is None:
            return []
        offers = [offer.offer_id] if offer.disk.names_offer else []
        disk = Machine(
            f"{machines[0].name}-data",
            offers,
            offer.disk.price,
            "active",
            **place,
            resource_type=offer.disk.resource_type,
        )
        disk.overrides = {"access": None} if offer.disk.shows_price else {"access": None, "pricing_total_hourly": None}
        disk.unlisted = offer.disk.shown_in == "link"
        for machine in machines if offer.disk.shown_in != "list" else ():
            machine.links, disk.links = [disk], [*disk.links, machine]
        self.machines.append(disk)
        return [disk]

    def offer(self, offer_id: str) -> Offer | None:
        """The offer with this id."""
        return next((offer for offer in self.offers if offer.offer_id == offer_id), None)

    def machine(self, resource_id: str) -> Machine | None:
        """The machine with this id."""
        return next((machine for machine in self.machines if machine.resource_id == resource_id), None)

    def bought(self, name: str) -> list[Purchase]:
        """The purchases with this resource name."""
        return [purchase for purchase in self.purchases if purchase.name == name]

    def requests_to(self, method: str, path: str) -> list[Request]:
        """The requests whose whole path matches this regular expression."""
        return [r for r in list(self.requests) if r.method == method and re.fullmatch(path, r.path)]

    def on(self, method: str, path: str, act: Hook, times: int | None = None, sent: str = "") -> None:
        """Let the hook ``act`` answer requests with this method and path.

        ``times``: how many of them; by default all. ``sent``: a regular expression that query or body must contain.
        """
        remaining = [times]

        def hook(request: Request, proceed: Proceed) -> Answer | None:
            content = f"{request.query} {request.body.decode(errors='replace')}"
            if request.method != method or not re.fullmatch(path, request.path) or not re.search(sent, content):
                return None
            with self.lock:
                if remaining[0] == 0:
                    return None
                remaining[0] = None if remaining[0] is None else remaining[0] - 1
            return act(request, proceed)

        self.hooks.append(hook)

    # The endpoints

    def answer(self, request: Request) -> Answer:
        """The answer of the first hook that has one, or the answer of the books."""
        self.requests.append(request)
        try:
            for hook in list(self.hooks):
                answer = hook(request, lambda: self.proceed(request))
                if answer is not None:
                    return answer
            return self.proceed(request)
        except Exception as error:
            self.errors.append(error)
            return Answer(cut=True)

    def proceed(self, request: Request) -> Answer:
        """The answer as the documentation describes it."""
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return refuse(401, "Not authenticated")
        with self.lock:
            match [request.method, *request.path.strip("/").split("/")]:
                case ["POST", "get_offers"]:
                    return self._search(yaml.safe_load(request.body) or {})
                case ["POST", "procure_offer"]:
                    return self._procure(request.json)
                case ["GET", "offers", offer_id]:
                    offer = self.offer(offer_id)
                    return Answer(200, self._details(offer)) if offer else refuse(404, "Offer not found")
                case ["GET", "offers", offer_id, "status"]:
                    offer = self.offer(offer_id)
                    return Answer(200, self._status(offer)) if offer else refuse(404, "Offer not found")
                case ["GET", "resources"]:
                    offer_id = request.query.get("offer_id", "")
                    listed = [m for m in self.machines if m.state != "deleted" and not m.unlisted]
                    return Answer(200, [self.resource(m) for m in listed if not offer_id or offer_id in m.offers])
                case ["GET", "resources", resource_id]:
                    machine = self.machine(resource_id)
                    if machine is None or machine.hidden:
                        return refuse(404, "Not found")
                    return Answer(200, self.resource(machine))
                case ["DELETE", "resources", resource_id]:
                    return self._delete(resource_id)
        return refuse(404, "Not Found")

    def _search(self, spec: Json) -> Answer:
        compute, offers = spec.get("compute") or {}, []
        asks_for_disk = any(volume.get("persistent") for volume in spec.get("storage") or [])
        kinds = [kind.strip().lower() for kind in str(compute.get("gpu_type", "")).split("|")]
        for offer in self.offers:
            if offer.purchase or offer.expired or asks_for_disk is not (offer.disk is not None):
                continue
            if spec.get("vendor") not in (None, offer.vendor):
                continue
            if spec.get("region") not in (None, offer.region) or compute.get("gpu_count", 1) != offer.gpus:
                continue
            family = offer.gpu_type.split("-")[1]
            if compute.get("contract_type") in (None, offer.contract) and {family, offer.gpu_type, ""} & {*kinds}:
                offers.append(offer)
        offers.sort(key=lambda offer: offer.total or 0)
        facts = [(offer, self._facts(offer), f"{offer.region.lower()}-1") for offer in offers]
        listed = [{**known, "vendor_region": region, "type": "vm", **offer.listed} for offer, known, region in facts]
        return Answer(200, {"offers": listed, "total_count": len(listed), "filters_applied": {}})

    def _facts(self, offer: Offer) -> Json:
        return {
            "offer_id": offer.offer_id,
            "gpu_type": offer.gpu_type,
            "gpu_family": offer.gpu_type.split("-")[1].upper(),
            "gpu_count": offer.gpus,
            "vendor": offer.vendor,
            "region": offer.region,
            "contract_type": offer.contract,
            "gpu_price_per_hour": offer.price,
            "total_price_per_hour": offer.total_with_disk,
            "boot_disk_in_gb": 100,
            "vcpu_count": 16,
            "memory_in_gb": 128,
            "created_at": moment(offer.created),
            "expires_at": moment(offer.created + offer.lifetime),
        }

    def _word(self, offer: Offer) -> str:
        if offer.purchase:
            return "failed" if offer.fails else "procured"
        return "expired" if offer.expired else "available"

    def _details(self, offer: Offer) -> Json:
        made = offer.purchase.made if offer.purchase else None
        return {**self._facts(offer), "status": self._word(offer), "procured_at": moment(made), **offer.details}

    def _status(self, offer: Offer) -> Json:
        purchase = offer.purchase
        booting = purchase is not None and time.time() < purchase.made + offer.boot_seconds
        word = "provisioning_in_progress" if booting else "failed" if offer.fails else "ready"
        live = [m for m in purchase.machines if m.runs] if purchase and word == "ready" else []
        return {
            "offer_id": offer.offer_id,
            "status": "procured" if booting else self._word(offer),
            "created_at": moment(offer.created),
            "procurement_status": word if purchase else "available",
            "instances": [
                {"external_ip": m.address[0], "ssh_command": ssh(m.address), "status": "running"} for m in live
            ],
            "resource_ids": purchase.ids if purchase else [],
            "failure_reason": offer.fails if word == "failed" and purchase else None,
            "procured_at": moment(purchase.made) if purchase else None,
            **offer.status,
        }

    def _procure(self, body: Json) -> Answer:
        offer = self.offer(str(body.get("offer_id")))
        if offer is None:
            return refuse(404, "Offer not found")
        if offer.purchase:
            return refuse(409, "Offer already procured")
        if offer.expired:
            return refuse(410, "Offer expired")
        bought = self.buy(offer, body.get("resource_name") or body.get("cluster_name"), body)
        facts = {"status": "procured", "procured_at": moment(bought.made), "resource_ids": bought.ids, "error": None}
        return Answer(200, {"offer_id": offer.offer_id, **facts})

    def _delete(self, resource_id: str) -> Answer:
        machine = self.machine(resource_id)
        if machine is None or machine.hidden:
            return refuse(404, "Not found")
        if machine.state == "deleted":
            return refuse(409, "Resource already deleted")
        if machine.runs:
            machine.ended, machine.state = time.time(), "deleting"
            self._end_disks(machine)
        message = {"resource_id": resource_id, "status": "deleting", "message": "Deletion initiated"}
        return Answer(200, message)

    def _end_disks(self, machine: Machine) -> None:
        """End the purchase's storage if it ends with its last machine, and this was the last one."""
        for purchase in self.purchases:
            is_last = machine in purchase.machines and not any(each.runs for each in purchase.machines)
            for disk in purchase.disks if is_last and purchase.offer.disk and purchase.offer.disk.ends else ():
                disk.ended, disk.state = machine.ended, "deleting"

    def resource(self, machine: Machine) -> Json:
        """A machine, or storage, as the API shows it."""
        if machine.state == "deleting" and machine.ended and time.time() >= machine.ended + self.end_seconds:
            machine.state = "deleted"
        host, port = machine.address
        began = moment(machine.began)
        return {
            "resource_id": machine.resource_id,
            "resource_type": machine.resource_type,
            "vendor": machine.vendor,
            "vendor_region": f"{machine.region.lower()}-1",
            "status": machine.state,
            "created_at": began,
            "name": machine.name,
            "status_message": None,
            "access": {"external_ip": host, "internal_ip": None, "ssh_command": ssh(machine.address), "ssh_port": port},
            "spec": {},
            "linked_resources": [
                {
                    "resource_id": other.resource_id,
                    "resource_type": other.resource_type,
                    "status": other.state,
                    "link_type": "attachment",
                    "linked_since": began,
                    "name": other.name,
                    "linked_until": moment(other.ended or machine.ended),
                }
                for other in machine.links
            ],
            "offer_history": [
                {"offer_id": offer, "offer_type": "vm", "role": "storage" if later else "primary", "created_at": began}
                for later, offer in enumerate(machine.offers)
            ],
            "pricing_total_hourly": machine.price,
            "valid_from": began,
            "valid_to": moment(machine.ended),
            "last_synced_at": moment(time.time()),
            **machine.overrides,
        }


def ssh(address: tuple[str, int]) -> str:
    """The API's ssh_command."""
    return f"ssh root@{address[0]} -p {address[1]}"


class _Handler(BaseHTTPRequestHandler):
    owner: StandIn
    protocol_version = "HTTP/1.1"
    # Send headers and body in one packet; otherwise each answer waits for the client's acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True

    def handle_any(self) -> None:
        """Read a request, and send its answer."""
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, unquote(url.path), dict(parse_qsl(url.query)), body, headers)
        answer = self.owner.answer(request)
        if answer.cut:
            self.close_connection = True
            return
        drips = isinstance(answer.body, Iterable) and not isinstance(answer.body, (bytes, dict, list, str))
        content = answer.body if isinstance(answer.body, bytes) else b"" if drips else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        if not drips:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        if drips:
            self.close_connection = True
            for part in answer.body:
                self.wfile.write(part)
                self.wfile.flush()

    do_GET = do_POST = do_DELETE = handle_any

    def handle(self) -> None:
        """Ignore clients that were killed."""
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""
