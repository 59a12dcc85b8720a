# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random worlds: two projects on one account, with faults, kills, strangers, deletions and lost registries.

One host of each project buys persistent storage with its machine, which the API shows in random forms.

`World.check` has the rules that must hold after each step. A failure names the world's seed, and
``SUPPLY_TEST_SEED=<seed> SUPPLY_TEST_WORLDS=1`` repeats it, except that the moments of kills depend on the computer.
``make nightly`` runs new worlds each time.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.spending import Bill
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _stores

from attack import SPEC, Attacked, Make, failed, failures
from books import Disk, Machine, Purchase
from project import Run
from standin import Answer, Hook, Proceed, Request, StandIn

WORLDS = int(os.environ.get("SUPPLY_TEST_WORLDS", "1"))
SEED = int(os.environ.get("SUPPLY_TEST_SEED", "7"))
STEPS = int(os.environ.get("SUPPLY_TEST_STEPS", "6"))
HOSTS = ("gpu-1", "gpu-2")
STORAGE_HOST = "gpu-2"  # also buys storage
STORAGE = [{"type": "block_disk", "size": "1TB", "persistent": True}]
CEILING, TOTAL = 5.0, 7.0
# The requests that may have faults, with their weights
PATHS = {
    ("POST", "/procure_offer"): 6,
    ("POST", "/get_offers"): 1,
    ("GET", "/resources"): 2,
    ("GET", "/resources/.*"): 1,
    ("GET", "/offers/.*/status"): 3,
    ("GET", "/offers/[^/]*"): 1,
    ("DELETE", "/resources/.*"): 2,
}


def faults(chance: random.Random) -> Hook:
    """A hook with a random fault, before or after the request has changed the books."""
    after, kind = (
        chance.random() < 0.6,
        chance.choice(["cut", "500", "503", "429", "html", "late", "404", "409", "410", "failed", "bare"]),
    )

    def act(request: Request, proceed: Proceed) -> Answer:
        answer = proceed() if after else Answer(200)
        if kind in ("failed", "bare"):
            return without_ids(request, answer if after or kind == "failed" else proceed(), kind)
        if kind == "cut":
            return Answer(cut=True)
        if kind == "late":
            time.sleep(0.4)
            return answer if after else proceed()
        if kind == "html":
            return Answer(200, b"<html>")
        return Answer(int(kind), {"detail": "a fault"}, {"Retry-After": "0"} if kind in ("429", "503") else {})

    return act


def without_ids(request: Request, answer: Answer, kind: str) -> Answer:
    """Remove the machines from the answer to a purchase; ``failed`` also makes it a failure. Keep other answers."""
    if request.path != "/procure_offer" or answer.status != 200:
        return answer
    failed = {"status": "failed", "error": "no capacity", "procured_at": None} if kind == "failed" else {}
    body = {"offer_id": request.json["offer_id"], **(answer.body or {})}
    return Answer(200, {**body, "resource_ids": None, **failed})


@dataclass
class World:
    """The account, both projects, and what an omniscient observer knows."""

    account: StandIn
    projects: dict[str, Attacked]
    chance: random.Random
    story: list[str] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=lambda: {"a": "", "b": ""})
    #: Project and host of each lost registry file
    lost: set[tuple[str, str]] = field(default_factory=set)
    #: Machines that a project was asked to end or to adopt, or that were deleted at the vendor
    may_end: set[str] = field(default_factory=set)
    strangers: list[Machine] = field(default_factory=list)
    #: Storage whose registry file was lost
    orphans: set[str] = field(default_factory=set)

    def stock(self) -> None:
        """Add offers with random prices, some above the ceiling or unknown: four with storage, and four without."""
        free = [offer for offer in self.account.offers if offer.purchase is None and not offer.expired]
        for has_disk in (False, True):
            for _each in range(4 - sum(bool(offer.disk) is has_disk for offer in free)):
                price = self.chance.choice([2.0, 2.2, 2.5, 3.0, 3.5, 4.5, 6.0, 9.0, None])
                self.account.sell("acme", price, disk=self.disk() if has_disk else None)

    def disk(self) -> Disk:
        """Storage in a random form, with its own price, which the offers do not show."""
        resource_type, shown_in = (
            self.chance.choice(["block_disk", "volume", "storage"]),
            self.chance.choice(["ids", "list", "link"]),
        )
        return Disk(0.25, resource_type, shown_in, names_offer=self.chance.random() < 0.5)

    def disks(self, project: str, host: str) -> list[Machine]:
        """The storage that is billed for a host, if the API links it to the host's machine or offer."""
        return [
            disk
            for purchase in self.purchases_of(project, host)
            for disk in purchase.disks
            if disk.runs and disk.resource_id not in self.orphans and (disk.links or disk.offers)
        ]

    def purchases_of(self, project: str, host: str) -> list[Purchase]:
        """The purchases for a host."""
        return self.account.bought(f"{project}-{host}")

    def live(self, project: str, host: str) -> list[Machine]:
        """The machines that are billed for a host."""
        return [
            machine for purchase in self.purchases_of(project, host) for machine in purchase.machines if machine.runs
        ]

    # Steps

    def provision(self, name: str, *words: str, kill: bool = False, **variables: object) -> Run:
        """Run the role `provision`, and perhaps kill it."""
        project = self.projects[name]
        play, bought = project.play_of("provision", vars=variables), len(self.account.purchases)
        process = project.start("ansible-playbook", "-i", str(project.inventory), play, *words)
        if kill:
            self.wait_before_kill()
            project.kill(process, self.chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
            time.sleep(self.chance.choice([0, 0.5]))
            project.kill(process)
        run = project.finish(process)
        self.outputs[name] += run.output
        # With provision_adopt, a host may take a machine that others have bought with the offer in its journal.
        own = {item for host in HOSTS for purchase in self.purchases_of(name, host) for item in purchase.ids}
        owned = {item for host in HOSTS for item in project.owned(host)}
        taken = owned - own if "provision_adopt" in variables else set()
        self.may_end |= taken
        if "--check" in words:
            assert len(self.account.purchases) == bought, "bought in check mode"
        elif not run.returncode:
            for host in HOSTS:
                ids = [machine.resource_id for machine in self.live(name, host)]
                if not ids:
                    ids = [each for each in project.owned(host) if each in taken]
                assert ids and ids == project.owned(host), f"green, and {host} of {name} has {ids}"
                self.lost.discard((name, host))
        return run

    def wait_before_kill(self) -> None:
        """Wait for a random time, or until a purchase arrives."""
        if self.chance.random() < 0.5:
            time.sleep(self.chance.uniform(0.5, 5))
            return
        sent = len(self.account.requests_to("POST", "/procure_offer"))
        for _look in range(400):  # at most 8 seconds
            if len(self.account.requests_to("POST", "/procure_offer")) > sent:
                break
            time.sleep(0.02)
        time.sleep(self.chance.choice([0, 0.02, 0.2]))

    def decommission(self, name: str) -> Run:
        """Run the role `decommission` for all hosts."""
        self.may_end |= {machine.resource_id for host in HOSTS for machine in self.live(name, host)}
        project = self.projects[name]
        run = project.role("decommission")
        self.outputs[name] += run.output
        return run

    def step(self) -> None:
        """Do one random step, with random faults, and check the world."""
        self.stock()
        self.account.hooks.clear()
        for _each in range(self.chance.choice([0, 1, 1, 2, 3])):
            method, path = self.chance.choices([*PATHS], [*PATHS.values()])[0]
            self.account.on(method, path, faults(self.chance), times=self.chance.choice([1, 1, 2]))
        name = self.chance.choice("ab")
        actions: dict[str, tuple[int, Callable[[], object]]] = {
            "provision": (5, lambda: self.provision(name)),
            "provision, adopting": (1, lambda: self.provision(name, provision_adopt=True)),
            "provision, releasing": (1, lambda: self.provision(name, provision_on_failure="release")),
            "killed": (4, lambda: self.provision(name, kill=True)),
            "check": (1, lambda: self.provision(name, "--check")),
            "decommission": (2, lambda: self.decommission(name)),
        }
        for _each in range(self.chance.choice([0, 0, 1, 2])):
            self.chance.choice([self.stranger, self.expire, self.delete, self.lose])()
        action = self.chance.choices([*actions], [weight for weight, _act in actions.values()])[0]
        self.story.append(f"{action} {name}")
        actions[action][1]()
        self.account.hooks.clear()
        self.check(name)

    def stranger(self) -> None:
        """Another user of the account buys an offer."""
        free = [offer for offer in self.account.offers if offer.purchase is None and not offer.expired]
        if free:
            self.story.append("a stranger buys")
            self.strangers += self.account.buy(self.chance.choice(free), f"stranger-{len(self.strangers)}").machines

    def expire(self) -> None:
        """Let an offer expire."""
        free = [offer for offer in self.account.offers if offer.purchase is None]
        self.story.append("an offer expires")
        self.chance.choice(free).created -= 3600

    def delete(self) -> None:
        """A project's machine is deleted in the vendor's console."""
        live = [machine for name in "ab" for host in HOSTS for machine in self.live(name, host)]
        if live:
            machine = self.chance.choice(live)
            self.story.append(f"{machine.name} is deleted at the vendor")
            machine.state, machine.ended = "deleted", time.time()
            self.may_end.add(machine.resource_id)

    def lose(self) -> None:
        """The registry file of a host is lost."""
        name, host = self.chance.choice("ab"), self.chance.choice(HOSTS)
        file = self.projects[name].registry_file(host)
        if file.exists():
            self.story.append(f"the registry of {host} of {name} is lost")
            file.unlink()
            self.orphans |= {disk.resource_id for disk in self.disks(name, host)}
            self.lost.add((name, host))

    # Rules

    def check(self, acted: str) -> None:
        """Assert the rules. ``acted``: the project that acted in this step."""
        ended = {machine.resource_id for machine in self.strangers if not machine.runs}
        assert ended <= self.may_end, "a stranger's machine was ended"
        for name, project in self.projects.items():
            spent, memory = 0.0, project.all_registry_texts
            ledger = {bill.offer_id: bill for bill in _stores.ledger(str(project.folder / "host_vars")).bills}
            for host in HOSTS:
                live = self.live(name, host)
                assert len(live) < 2, f"{host} of {name} has {len(live)} machines"
                spent += sum(machine.price or 0 for machine in [*live, *self.disks(name, host)])
                for purchase in self.purchases_of(name, host):
                    self.check_bill(host, purchase, ledger.get(purchase.offer.offer_id))
                    self.check_disks(name, host, purchase, ledger, memory)
                    price = purchase.offer.total_with_disk
                    assert price is not None and price <= CEILING, "above the ceiling"
                    for machine in purchase.machines:
                        self.check_machine(acted, name, host, purchase, machine, memory)
            assert spent <= TOTAL + 1e-6, f"{name} spends {spent}, above its total"

    def check_bill(self, host: str, purchase: Purchase, bill: Bill | None) -> None:
        """Assert that the ledger has the purchase, for at least the time that it is billed, at no lower price."""
        offer_id = purchase.offer.offer_id
        assert bill is not None and bill.begin is not None, f"offer {offer_id} of {host} is not in the ledger"
        assert bill.begin <= purchase.made, f"offer {offer_id} of {host} is billed since {purchase.made}: {bill}"
        price = bill.price_per_hour
        assert price is not None and price >= (purchase.offer.total_with_disk or 0.0), f"{host}: {bill}"
        for machine in purchase.machines:
            assert bill.end is None or (machine.ended or time.time()) <= bill.end, f"{machine.name} of {host}: {bill}"

    def check_disks(self, name: str, host: str, purchase: Purchase, ledger: dict[str, Bill], memory: str) -> None:
        """Assert that storage runs, is registered, and has an open bill, since its end was not requested."""
        for disk in purchase.disks:
            assert disk.runs, f"{disk.name} was ended"
        for disk in (disk for disk in purchase.disks if disk in self.disks(name, host)):
            ids = (disk.resource_id, purchase.offer.offer_id)
            is_registered = any(each in memory for each in ids)
            assert is_registered or (name, host) in self.lost, f"{disk.name} ({disk.resource_id}) is forgotten"
            bills = [ledger[each] for each in ids if each in ledger]
            assert any(bill.end is None for bill in bills), f"{disk.name} ({disk.resource_id}) has no bill: {bills}"

    def check_machine(
        self, acted: str, name: str, host: str, purchase: Purchase, machine: Machine, memory: str
    ) -> None:
        """Assert that the machine is not forgotten, and was ended only by its own project."""
        ends = machine.resource_id in self.may_end
        # With provision_on_failure "release" a project ends the machine of a failed purchase.
        assert machine.runs or ends or name == acted, f"{machine.name} was ended by the other project"
        self.may_end |= set() if machine.runs else {machine.resource_id}
        is_registered = machine.resource_id in memory or purchase.offer.offer_id in memory
        is_printed = machine.resource_id in self.outputs[name]
        is_remembered = is_registered or is_printed or (name, host) in self.lost
        assert not machine.runs or is_remembered, f"{machine.name} is forgotten"

    def settle(self) -> None:
        """Without faults: provision twice, so that green hosts buy nothing more, and decommission them."""
        self.stock()
        for name in self.projects:
            first = self.provision(name, provision_adopt=True)
            green = [host for host in HOSTS if not failed(first, host)]
            for host in {*HOSTS} - {*green}:
                assert failures(first, host), f"{host} of {name} fails without a message"
            bought = len(self.account.purchases)
            second = self.provision(name, provision_adopt=True)
            assert not any(failed(second, host) for host in green), second.output
            names = [purchase.name for purchase in self.account.purchases[bought:]]
            assert not {f"{name}-{host}" for host in green} & {*names}, "a run after a green one has bought"
            self.check(name)
            self.decommission(name)
            for host in green:
                assert not self.live(name, host), f"{host} of {name} was not ended"
            self.check(name)


@pytest.mark.parametrize("seed", range(SEED, SEED + WORLDS))
def test_random_worlds(account: StandIn, make: Make, seed: int) -> None:
    projects = {name: make(name) for name in "ab"}
    for name, project in projects.items():
        spec = {**SPEC, "vendor": "acme"}
        project.declare(
            {host: {"provision_spec": {**spec, "storage": STORAGE}} if host == STORAGE_HOST else {} for host in HOSTS},
            provision_project=name,
            provision_spec=spec,
            provision_max_price_per_hour=CEILING,
            provision_max_total_price_per_hour=TOTAL,
        )
    world = World(account, projects, random.Random(seed))
    try:
        for _step in range(STEPS):
            world.step()
        world.story.append("settle")
        world.settle()
    except AssertionError as error:
        output = "\n".join(world.outputs.values())
        files = {
            str(f): f.read_text() for p in projects.values() for f in p.folder.glob("host_vars/**/*") if f.is_file()
        }
        output += f"\nregistry: {files}"
        story = "; ".join(world.story)
        pytest.fail(f"SUPPLY_TEST_SEED={seed}: {error}\nwhat happened: {story}\n{output[-20000:]}", pytrace=False)
