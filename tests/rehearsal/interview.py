# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a Supply API the same questions as another one, and says in which form each was answered.

A form has the status, and for each place in the JSON its type, or the word itself where the API has a vocabulary. Ids,
names, prices and times are left out, since no two APIs share them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import requests

from limits import HANGS

Form = dict[str, str]

#: The fields in which a word, and not only its type, is compared.
WORDS = ("status", "procurement_status", "resource_type", "link_type", "offer_type", "role", "deployment_type")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?")
SEARCH = "compute: {gpu_type: H100, gpu_count: 1, contract_type: ondemand}"
READS = {"machine": "", "machine anew": "?force_refresh=true"}
ENVELOPE = ".resources"
DISK = "\nstorage: [{type: block_disk, size: 100GB, persistent: true}]"


def form_of(data: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """The places of an answer, each with its type or word. The items of a list are one place."""
    if place.endswith(".spec") or place == ".filters_applied":
        # Free-form, by its page.
        yield place, "something" if data else "nothing"
    elif isinstance(data, dict):
        yield place, "object"
        for key, value in data.items():
            yield from form_of(value, f"{place}.{key}")
    elif isinstance(data, list):
        yield place, "list"
        for value in data:
            yield from form_of(value, f"{place}[]")
    else:
        yield place, kind_of(data, place.rpartition(".")[2])


def kind_of(value: Any, field: str) -> str:
    """The type or word of a single value; empty for null, which is allowed nearly everywhere."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return "boolean" if isinstance(value, bool) else "number"
    if UUID.fullmatch(value):
        return "id"
    if moment := MOMENT.match(value):
        return f"time{value[moment.end() :]}"
    return value if field in WORDS else "text"


def without_envelope(form: Form) -> Form:
    """The form of a list of resources, whose items are compared however they are wrapped."""
    if form.get(ENVELOPE) != "list":
        return form
    items = {place.removeprefix(ENVELOPE): kind for place, kind in form.items() if place.startswith(f"{ENVELOPE}[]")}
    return {**items, "status code": form["status code"], "": "an object with a list"}


def differences(one: dict[str, Form], other: dict[str, Form]) -> list[str]:
    """A line for each place where two APIs answer in different forms; what follows from a difference is left out."""
    return [line for question in one for line in _differ(question, one[question], other[question])]


def _differ(question: str, one: Form, other: Form) -> Iterator[str]:
    if one.get("status code") != other.get("status code"):
        yield f"{question}: {one['status code']} or {other['status code']}"
        return
    for place in {**one, **other}:
        kinds = [form.get(place, "missing") for form in (one, other)]
        parent = re.sub(r"(\.\w+|\[\])$", "", place)
        if (
            kinds[0] != kinds[1]
            and "" not in kinds
            and (place == parent or all(parent in form for form in (one, other)))
        ):
            yield f"{question}: {place.lstrip('.')}{' ' if place else ''}{kinds[0]} or {kinds[1]}"


def is_ready(status: dict[str, Any]) -> bool:
    """Whether an offer's machine runs, by its status."""
    return bool(status["procurement_status"] == "ready")


class Interview:
    """The questions to one API, in the order of a machine's life; ``forms`` has the answers by question."""

    def __init__(self, url: str, token: str, let_pass: Callable[[float], None]) -> None:
        """``let_pass``: lets so many seconds pass for the API, which must not see any other time pass."""
        self.url = url
        self.let_pass = let_pass
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {token}"
        self.forms: dict[str, Form] = {}

    def ask(self, question: str, method: str, path: str, **options: Any) -> Any:
        """Send a request, note the form of its answer, and return the JSON."""
        answer = self.session.request(method, self.url + path, timeout=60, **options)
        form: Form = {"status code": str(answer.status_code)}
        for place, kind in form_of(answer.json()):
            form[place] = form.get(place) or kind
        self.forms[question] = without_envelope(form)
        return answer.json()

    def note(self, question: str, fact: str) -> None:
        """Note a fact that no single answer shows."""
        self.forms[question] = {"": fact}

    def search(self, question: str, spec: str) -> list[dict[str, Any]]:
        """The offers of a search."""
        answer = self.ask(question, "POST", "/get_offers", data=spec, headers={"Content-Type": "application/yaml"})
        return list(answer.get("offers", []))

    def buy(self, question: str, offer: dict[str, Any], **fields: Any) -> Any:
        """POST /procure_offer."""
        order = {"offer_id": offer["offer_id"], "ssh_public_key": "ssh-ed25519 AAAA", **fields}
        return self.ask(question, "POST", "/procure_offer", json=order)

    def wait(self, path: str, is_so: Callable[[Any], bool]) -> Any:
        """Repeat a read until its answer fits, and return that. None of these answers is noted."""
        end = time.monotonic() + HANGS
        while not is_so(answer := self.session.get(self.url + path, timeout=60).json()):
            assert time.monotonic() < end, f"{path}: {answer}"
            time.sleep(0.05)
        return answer

    def whole(self) -> dict[str, Form]:
        """All questions."""
        self.ask_without_right()
        self.ask_badly()
        self.ask_the_market()
        self.follow_a_purchase()
        self.follow_a_machine_that_ends_early()
        self.follow_a_failure()
        self.let_an_offer_expire()
        return self.forms

    def ask_without_right(self) -> None:
        """Requests without a token, and with another one."""
        for question, header in (("no token", None), ("wrong token", "Bearer wrong")):
            self.ask(question, "GET", "/resources", headers={"Authorization": header})

    def ask_badly(self) -> None:
        """Requests that no API can fulfil."""
        self.ask("no such path", "GET", "/nowhere")
        self.ask("no uuid", "GET", "/offers/abc-123")
        self.ask("unknown offer", "GET", f"/offers/{uuid4()}")
        self.ask("status of an unknown offer", "GET", f"/offers/{uuid4()}/status")
        self.ask("unknown resource", "GET", f"/resources/{uuid4()}")
        self.ask("resources of an unknown offer", "GET", f"/resources?offer_id={uuid4()}")
        self.ask("end of an unknown resource", "DELETE", f"/resources/{uuid4()}")
        self.buy("purchase of an unknown offer", {"offer_id": str(uuid4())})
        self.search("no YAML", "compute: [")
        self.search("YAML in JSON", f'"{SEARCH}"')
        self.search("three GPUs", "compute: {gpu_type: H100, gpu_count: 3}")
        self.search("unknown GPU", "compute: {gpu_type: B900}")
        self.search("storage only", DISK.strip())

    def ask_the_market(self) -> None:
        """Searches, and the catalogues."""
        for kind in ("gpus", "vendors", "regions", "contracts", "storage"):
            self.ask(kind, "GET", f"/available_{kind}")
        self.search("no match", "compute: {gpu_type: H100, max_price_per_gpu_hour: 0.0001}")
        self.search("unknown key", f"{SEARCH}\ncolour: red")
        self.search("without a count", "compute: {gpu_type: H100}")
        ids = [{offer["offer_id"] for offer in self.search("search", SEARCH + DISK)} for _time in range(2)]
        self.note("the same search again", "the same offers" if ids[0] == ids[1] else "other offers")

    def follow_a_purchase(self) -> None:
        """A machine with a disk, from its offer to its end."""
        large = "#!/bin/sh\n#" + "ü" * 40_000
        self.buy("80 KB of user data in 40,000 characters", {"offer_id": str(uuid4())}, cloud_init=large)
        self.buy("user data without a header", {"offer_id": str(uuid4())}, cloud_init="echo")
        offer = self.search("search", SEARCH + DISK)[-1]
        page = f"/offers/{offer['offer_id']}"
        self.ask("offer", "GET", page)
        self.ask("status before a purchase", "GET", f"{page}/status")
        self.buy("purchase", offer, resource_name="rehearsed")
        self.ask("list at once", "GET", "/resources")
        self.ask("offer that is bought", "GET", page)
        self.buy("second purchase", offer)
        self.let_pass(60)
        self.ask("status under way", "GET", f"{page}/status")
        machine = self.path_of(offer)
        self.ask("machine under way", "GET", machine)
        self.let_pass(300)
        self.wait(f"{page}/status", is_ready)
        self.ask("status that is ready", "GET", f"{page}/status")
        plain, _fresh = (self.ask(name, "GET", f"{machine}{query}") for name, query in READS.items())
        self.note("name", "kept" if plain["name"] == "rehearsed" else "another one")
        self.follow_an_end(page, machine, self.path_of(offer, is_machine=False))

    def follow_an_end(self, page: str, machine: str, disk: str) -> None:
        """A machine that runs, and its disk."""
        self.ask("disk", "GET", disk)
        self.ask("end", "DELETE", machine)
        self.ask("end of what is ending", "DELETE", machine)
        self.ask("machine that is ending", "GET", f"{machine}?force_refresh=true")
        self.let_pass(120)
        self.ask("machine that has ended", "GET", machine)
        self.ask("end of what has ended", "DELETE", machine)
        self.ask("status of an offer whose machine has ended", "GET", f"{page}/status")
        self.ask("disk without its machine", "GET", f"{disk}?force_refresh=true")
        self.ask("list without the machine", "GET", "/resources")

    def follow_a_machine_that_ends_early(self) -> None:
        """A machine that is ended before it runs."""
        offer = self.search("search", SEARCH + DISK)[-1]
        self.buy("purchase", offer)
        self.let_pass(60)
        machine = self.path_of(offer)
        self.ask("end of a disk in use", "DELETE", self.path_of(offer, is_machine=False))
        self.ask("end of a machine under way", "DELETE", machine)

    def follow_a_failure(self) -> None:
        """An offer that its vendor cannot deliver: the cheapest."""
        offer = self.search("search", SEARCH)[0]
        self.buy("purchase that fails", offer)
        self.let_pass(300)
        self.ask("status of what has failed", "GET", f"/offers/{offer['offer_id']}/status")
        self.buy("purchase of what has failed", offer)

    def let_an_offer_expire(self) -> None:
        """An offer after its half hour."""
        offer = self.search("search", SEARCH)[0]
        self.let_pass(1900)
        self.ask("expired offer", "GET", f"/offers/{offer['offer_id']}")
        self.ask("status of an expired offer", "GET", f"/offers/{offer['offer_id']}/status")
        self.buy("purchase of an expired offer", offer)

    def path_of(self, offer: dict[str, Any], *, is_machine: bool = True) -> str:
        """The path of an offer's machine, or of its disk."""
        answer = self.session.get(f"{self.url}/resources?offer_id={offer['offer_id']}", timeout=60).json()
        listed = answer if isinstance(answer, list) else answer["resources"]
        ids = [item["resource_id"] for item in listed if (item["resource_type"] == "vm") is is_machine]
        return f"/resources/{ids[0]}"
