# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends in random worlds: no machine of another owner is deleted, and no entry is removed while its machine is billed.

The operations, the client's reader and the registry on disk are real, and are called in the order of the role: end,
delete, wait, note. The server knows the true owner and state of each machine. It answers late, oddly or not at all.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import steps
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import SupplyApi
from ansible_collections.compute_index.supply.plugins.module_utils._api.http import Answer, TransportError
from ansible_collections.compute_index.supply.plugins.module_utils._api.market import Market
from ansible_collections.compute_index.supply.plugins.module_utils._operations import delete_resource as operation
from ansible_collections.compute_index.supply.plugins.module_utils._operations.audit import audit
from ansible_collections.compute_index.supply.plugins.module_utils._operations.end import end
from ansible_collections.compute_index.supply.plugins.module_utils._operations.plan import plan
from hypothesis import event, given, settings
from hypothesis import strategies as st

import ends
from provision_samples import machine_id, offer, offer_id, raw

Json = dict[str, Any]
HOSTS = ("gpu-1", "gpu-2")
OURS = {host: offer_id(number) for number, host in enumerate(HOSTS, 1)}
THEIRS = offer_id(9)
COLLEAGUE = "a colleague"

# Outcomes of a DELETE: whether the machine ends, and the answer (None if it is lost).
DELETES: dict[str, tuple[bool, Answer | None]] = {
    "accepted": (True, Answer(200, True, {"status": "deleting"})),
    "accepted without a body": (True, Answer(202, False, None)),
    "accepted and ignored": (False, Answer(200, True, {"status": "deleting"})),
    "502, and it was done": (True, Answer(502, False, None)),
    "502, and it was not": (False, Answer(502, False, None)),
    "lost, and it was done": (True, None),
    "lost, and it was not": (False, None),
    "conflict": (False, Answer(409, True, {"detail": "busy"})),
    "refused": (False, Answer(403, True, {"detail": "no"})),
    "a gateway's 404": (False, Answer(404, False, None, is_html=True)),
    "an odd 404": (False, Answer(404, True, {"detail": "Not found"})),
}
# Answers to a look that prove nothing about the machine. Only the first has the form of the API's own answers.
OWN_404 = Answer(404, True, {"detail": "Resource not found"})
ODD: dict[str, Answer] = {
    "own 404": OWN_404,
    "page": Answer(404, False, None, is_html=True),
    "JSON page": Answer(404, True, {"detail": "Not found"}, is_html=True),
    "gateway": Answer(404, True, {"message": "no Route matched"}),
    "502": Answer(502, False, None),
}


@dataclass
class Machine:
    """A machine and its owner. ``ends_in``: requests from its deletion until it is gone; None if it never ends."""

    number: int
    owner: str
    name: str
    state: str
    history: list[Json]
    ends_in: int | None = 1
    listed_as: str | None = None  # its status in lists, if that is wrong
    word: str = "vm"

    @property
    def id(self) -> str:
        return machine_id(self.number)

    @property
    def is_billed(self) -> bool:
        return self.state != "deleted"

    def tick(self) -> None:
        """Time passes."""
        if self.state == "deleting" and self.ends_in is not None:
            self.ends_in -= 1
            self.state = "deleting" if self.ends_in > 0 else "deleted"


@dataclass
class Server:
    """The API. ``deleted_readable``: whether deleted machines keep their pages. ``odd``: unusual answers to looks.

    After an accepted deletion it never gives two 404s of its own form in a row, nor one after the word "deleted" in a
    list: no client could tell these from an end.
    """

    machines: list[Machine]
    deletes: list[str]
    odd: list[str | None]
    lags: list[bool]
    deleted_readable: bool
    lists_deleted: bool
    capitals: bool
    phases: Json = field(default_factory=dict)
    account: str = "account"
    ahead: float = 0.0
    base_url: str = "https://api.example.com"

    def __post_init__(self) -> None:
        self.before = self.listed()
        self.deleted: list[str] = []
        self.accepted: set[str] = set()
        self.was_odd = False

    def redact(self, text: str) -> str:
        return text

    def page_of(self, machine: Machine) -> Json:
        resource_id = machine.id.upper() if self.capitals else machine.id
        facts = {"resource_id": resource_id, "name": machine.name, "status": machine.state, "vendor": "v"}
        return {**facts, "resource_type": machine.word, "pricing_total_hourly": 2.0, "offer_history": machine.history}

    def listed(self) -> list[Json]:
        shown = [(each, self.page_of(each)) for each in self.machines if self.lists_deleted or each.is_billed]
        return [{**page, "status": each.listed_as or each.state} for each, page in shown]

    def exchange(self, method: str, path: str, **how: Any) -> Answer:
        for each in self.machines:
            each.tick()
        word, _slash, key = path.strip("/").partition("/")
        if method == "DELETE":
            return self._delete(self._machine(key))
        if word == "offers":
            return self._status(key.partition("/")[0])
        return self._page(self._machine(key), how) if key else self._list()

    def _machine(self, key: str) -> Machine:
        return next(each for each in self.machines if each.id == key)

    def _list(self) -> Answer:
        lags = self.lags.pop() if self.lags else False
        return Answer(200, True, self.before if lags else self.listed())

    def _page(self, machine: Machine, how: Json) -> Answer:
        if how.get("query") != {"force_refresh": "true"}:
            raise AssertionError("a decision must not use a cached answer, which may be 30 s old")
        odd = self.odd.pop() if self.odd else None
        ends = machine.id in self.accepted or machine.state != "running"
        odd = None if odd == "own 404" and ((self.was_odd and ends) or machine.listed_as) else odd
        self.was_odd = odd == "own 404"
        if odd:
            return ODD[odd]
        is_shown = machine.is_billed or self.deleted_readable
        return Answer(200, True, self.page_of(machine)) if is_shown else OWN_404

    def _status(self, key: str) -> Answer:
        own = [each for each in self.machines if each.history[0]["offer_id"] == key]
        live = [each for each in own if each.state == "running"]
        states = {"procurement_status": self.phases.get(key, "ready"), "status": "procured"}
        instances = [{"resource_id": each.id, "status": "running"} for each in live]
        return Answer(200, True, {**states, "resource_ids": [each.id for each in own], "instances": instances})

    def _delete(self, machine: Machine) -> Answer:
        self.deleted.append(machine.id)
        ends, answer = DELETES[self.deletes.pop() if self.deletes else "accepted"]
        if machine.state == "deleted":
            return Answer(409, True, {"detail": "Resource already deleted"}) if self.deleted_readable else OWN_404
        if ends:
            machine.state = "deleting"
        self.accepted |= {machine.id} if answer is not None and answer.status < 300 else set()
        if answer is None:
            raise TransportError("lost", sent=True)
        return answer


def history(*offers: str) -> list[Json]:
    return [{"offer_id": each, "role": "attached" if later else "primary"} for later, each in enumerate(offers)]


@st.composite
def servers(draw: st.DrawFn, *, is_honest: bool = False) -> Server:
    """Each host has one or two machines. A colleague's machines may have the same names, or a link to our offer."""
    states = st.just("running") if is_honest else st.sampled_from(["running", "running", "deleting", "deleted"])
    ends_in = st.integers(1, 3) if is_honest else st.sampled_from([1, 2, 3, None])
    machines: list[Machine] = []
    for host in HOSTS:
        for _each in range(draw(st.integers(1, 2))):
            number = len(machines) + 1
            machine = Machine(number, host, host, draw(states), history(OURS[host]), draw(ends_in))
            machine.listed_as = None if is_honest else draw(st.sampled_from([None, None, None, "deleted"]))
            machines.append(machine)
    for name in draw(st.lists(st.sampled_from([*HOSTS, "train"]), max_size=2)):
        linked = draw(st.sampled_from([history(THEIRS), history(THEIRS, OURS["gpu-1"])]))
        machines.append(Machine(len(machines) + 1, COLLEAGUE, name, "running", linked))
    flags = st.booleans()
    # Each odd answer comes one to four times in a row.
    odd = st.lists(st.tuples(st.sampled_from([None, *ODD]), st.integers(1, 4)), max_size=4)
    return Server(
        machines,
        [] if is_honest else draw(st.lists(st.sampled_from(sorted(DELETES)), max_size=6)),
        [] if is_honest else [each for each, count in draw(odd) for _time in range(count)],
        draw(st.lists(flags, max_size=8)),
        draw(flags),
        draw(flags),
        draw(flags),
    )


@pytest.fixture(autouse=True, scope="module")
def no_sleep() -> Iterator[None]:
    """Use one thread and a fake clock, and look only once after a lost answer to a DELETE."""
    now = [1.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operation, "time", clock)
        patch.setattr(operation, "in_parallel", lambda ask, items: list(map(ask, items)))
        patch.setattr(operation, "SETTLE_LOOKS", 1)
        yield


@contextmanager
def registry(entries: Json) -> Iterator[Path]:
    """A registry folder with these entries of hosts."""
    with tempfile.TemporaryDirectory() as name:
        for host, entry in entries.items():
            file = Path(name) / host / "compute_index_supply.yml"
            file.parent.mkdir()
            file.write_text(yaml.safe_dump({f"provision_{key}": value for key, value in entry.items()}))
        yield Path(name)


def entry_of(server: Server, host: str, count: int) -> Json:
    """The host's entry after its purchase, with the ids of its first ``count`` machines."""
    ids = [each.id for each in server.machines if each.owner == host][:count]
    known = {"procured_offer_id": OURS[host], "purchase": "made", "journaled_at": "2026-01-31T12:00:00Z"}
    return {**known, **({"resource_ids": ids} if ids else {}), "price_per_hour": 2.0}


def params(spec: Json, **given: Any) -> Json:
    return {**{name: option.get("default") for name, option in spec.items()}, **given}


def decommission(server: Server, folder: Path) -> list[str]:
    """Run the role's steps once, and return the hosts that it reports as ended."""
    api = SupplyApi(cast(Any, server))
    own = {"name": "", "resource_id": "", "project": "default", "registry_dir": str(folder), "inventory_dir": None}
    own = {**own, "wait_timeout": "20s"}
    hosts = [{**own, "id": host, "host": host, "listed_id": "", "declares": True, "known": {}} for host in HOSTS]
    plans = list(end(api, params(steps.END, hosts=hosts, ids=list(HOSTS), here="/"), False)["ends"].values())
    outcomes = ends.note_all(api, plans, ends.delete_all(api, plans))["outcomes"]
    assert all(one["left"] for one in outcomes.values() if one.get("failed")), (
        "a failed host names the machines that are left"
    )
    return [plan["host"] for plan in plans if plan["next"] in ("end", "note") and not outcomes[plan["host"]]["stop"]]


def check_against_server(server: Server, folder: Path, ended_hosts: list[str], entries: Json) -> None:
    """Compare deletions and registry with the server's truth. ``entries``: the registry before the runs."""
    named = {host: entries[host].get("resource_ids") or [] for host in HOSTS}
    by_id = {each.id: each for each in server.machines}
    foreign = [each for each in server.deleted if by_id[each].owner == COLLEAGUE]
    assert not foreign, "a colleague's machine was deleted"
    for host in HOSTS:
        file = folder / host / "compute_index_supply.yml"
        kept = yaml.safe_load(file.read_text()) if file.exists() else {}
        billed = [each.id for each in server.machines if each.owner == host and each.is_billed]
        assert kept or not billed, "an entry was removed while its machine was billed"
        gone = {*named[host]} - {*(kept.get("provision_resource_ids") or named[host])}
        assert not gone & {*billed}, "an id was removed while its machine was billed"
        assert not (host in ended_hosts and billed), "a host was reported as ended while its machine was billed"


@given(servers(), st.integers(0, 2), st.integers(1, 3))
def test_end_deletes_no_foreign_machine_and_no_entry_of_billed_machine(server: Server, count: int, runs: int) -> None:
    entries = {host: entry_of(server, host, count) for host in HOSTS}
    with registry(entries) as folder:
        for _run in range(runs):
            ended_hosts = decommission(server, folder)
            event(f"{len(ended_hosts)} hosts ended")
            check_against_server(server, folder, ended_hosts, entries)


@pytest.mark.parametrize(
    "delete_outcome", [each for each, (ends, _answer) in DELETES.items() if not ends and "accepted" not in each]
)
@settings(max_examples=30)
@given(servers(is_honest=True), st.integers(1, 12))
def test_404_without_accepted_deletion_ends_no_host(delete_outcome: str, server: Server, looks: int) -> None:
    """The first looks show a running machine, all later ones 404s of the API's own form, for example from a replica."""
    server.deletes, server.odd = [delete_outcome] * 99, [*["own 404"] * 99, *[None] * looks]
    entries = {host: entry_of(server, host, 2) for host in HOSTS}
    with registry(entries) as folder:
        ended_hosts = decommission(server, folder)
        assert ended_hosts == []
        check_against_server(server, folder, ended_hosts, entries)


@given(servers(is_honest=True))
def test_end_succeeds_with_reliable_api(server: Server) -> None:
    """Lists may lag, deleted machines may keep their pages, and ids may be in capitals."""
    entries = {host: entry_of(server, host, 2) for host in HOSTS}
    with registry(entries) as folder:
        assert decommission(server, folder) == list(HOSTS)
        check_against_server(server, folder, list(HOSTS), entries)
        assert sorted(server.deleted) == sorted(each.id for each in server.machines if each.owner != COLLEAGUE)


@given(servers(), st.integers(0, 2))
def test_restored_old_registry_ends_no_foreign_machine(server: Server, count: int) -> None:
    """Its entry of gpu-1 names an earlier purchase, whose machines are gone."""
    own = [each for each in server.machines if each.owner == "gpu-1"]
    for each in own:
        each.state, each.history = "deleted", history(offer_id(7))
    server.before = server.listed()
    entries = {host: entry_of(server, host, count) for host in HOSTS}
    entries["gpu-1"]["procured_offer_id"] = offer_id(7)
    with registry(entries) as folder:
        ended_hosts = decommission(server, folder)
        check_against_server(server, folder, ended_hosts, entries)


@given(servers(), st.integers(0, 2))
def test_audit_shows_every_billed_machine(server: Server, count: int) -> None:
    server.odd, server.lags = [], []
    for each in server.machines:
        each.listed_as = None
    with registry({host: entry_of(server, host, count) for host in HOSTS}) as folder:
        hosts = [{"host": host, "name": host, "registry_dir": str(folder), "inventory_dir": None} for host in HOSTS]
        declared = [{**each, "known": {}, "declares": True} for each in hosts]
        found = audit(SupplyApi(cast(Any, server)), params(steps.AUDIT, hosts=declared, here="/"), False)
    shown_ids = [row["resource_id"] for rows in ("claimed", "orphans", "ending") for row in found["audit"][rows]]
    billed_ids = {each.id for each in server.machines if each.is_billed}
    assert billed_ids <= {*shown_ids} and len(shown_ids) == len({*shown_ids})
    ending_ids = {row["resource_id"] for row in found["audit"]["ending"]}
    assert {*shown_ids} - billed_ids <= ending_ids, "only its page could show that a machine is gone"
    assert found["audit"]["price_per_hour"]["total"] == 2.0 * len(shown_ids)
    assert all(each in " ".join(found["lines"]) for each in shown_ids)


class Seller(Server):
    """A server that also has offers to sell."""

    def exchange(self, method: str, path: str, **how: Any) -> Answer:
        if path == "/get_offers":
            prices = {"gpu_price_per_hour": 2.0, "total_price_per_hour": 2.0}
            offers = [offer(number, region="EU", contract_type="ondemand", **prices) for number in (20, 21, 22)]
            return Answer(200, True, {"offers": offers, "total_count": 3})
        return super().exchange(method, path, **how)


@st.composite
def sellers(draw: st.DrawFn) -> Seller:
    """Machines with the host's name in any state, perhaps bought earlier, which lists may still show as running.

    There may also be storage of that name: kept, sold alone, or a colleague's.
    """
    count = draw(st.integers(1, 3))
    machines = [Machine(n, "gpu-1", "gpu-1", "running", history(offer_id(n)), None) for n in range(1, count + 1)]
    words = draw(st.lists(st.sampled_from(["storage", "block_disk", "volume"]), max_size=2))
    for n, word in enumerate(words, count + 1):
        offers = draw(st.sampled_from([history(offer_id(n)), history(offer_id(1))]))
        machines.append(Machine(n, COLLEAGUE, "gpu-1", "running", offers, None, word=word))
    odd = draw(st.lists(st.sampled_from([None, None, *ODD]), max_size=4))
    seller = Seller(machines, [], odd, [draw(st.booleans()) for _each in range(4)], draw(st.booleans()), False, False)
    for each in machines:
        each.state = draw(st.sampled_from(["running", "deleting", "deleted"]))
    return seller


@given(sellers(), st.sampled_from(["registry", "adopt", "name"]), st.booleans())
def test_plan_with_lagging_list_takes_no_dead_machine_and_buys_no_second(
    seller: Seller, how: str, was_released: bool
) -> None:
    fields = {"adopt": how == "adopt", "max_price_per_hour": 10}
    machines = [each for each in seller.machines if each.word == "vm"]
    dead = [each.id for each in machines if each.state == "deleted"]
    attempts = {"gpu-1": [{"offer_id": offer_id(1), "ended": dead}]} if was_released else {}
    with tempfile.TemporaryDirectory() as folder:
        host = raw(registry_dir="" if how == "name" else folder, id="1", **fields)
        plan_input = params(
            steps.PLAN, hosts=[host], ids=["1"], attempts=attempts, sources=[], here="/", api_token="token"
        )
        odd = bool(seller.odd)
        (found,) = plan(Market(cast(Any, seller)), plan_input, True)["plans"]
    live = {each.id: each for each in machines if each.state == "running"}
    event(found["action"])
    if found["action"] == "buy":
        assert not live, "a machine of this name runs"
    elif found["action"] == "wait":
        assert set(found["resource_ids"]) <= live.keys(), "it takes a machine that is dead"
    elif not odd and not live:
        assert not seller.deleted_readable and not was_released, found["refusal"]
