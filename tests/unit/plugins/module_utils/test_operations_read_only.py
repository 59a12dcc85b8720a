# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps that only read write nothing: quote, spend, probe, an audit without settling, and every step in check mode.

Random registries of both kinds are compared byte for byte before and after. The API client of these tests only reads.
"""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import steps
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import Failure
from ansible_collections.compute_index.supply.plugins.module_utils._api.http import Answer
from ansible_collections.compute_index.supply.plugins.module_utils._api.market import Market
from ansible_collections.compute_index.supply.plugins.module_utils._operations._registries import Registries
from ansible_collections.compute_index.supply.plugins.module_utils._operations.audit import audit, orphan
from ansible_collections.compute_index.supply.plugins.module_utils._operations.delete_resource import delete
from ansible_collections.compute_index.supply.plugins.module_utils._operations.end import end, ended, storage_ended
from ansible_collections.compute_index.supply.plugins.module_utils._operations.extend import extend
from ansible_collections.compute_index.supply.plugins.module_utils._operations.judge import (
    accepted,
    judge,
    reached,
    release,
    release_begins,
)
from ansible_collections.compute_index.supply.plugins.module_utils._operations.offers import offers
from ansible_collections.compute_index.supply.plugins.module_utils._operations.order import ORDER, named
from ansible_collections.compute_index.supply.plugins.module_utils._operations.plan import plan
from ansible_collections.compute_index.supply.plugins.module_utils._operations.probe import (
    Prober,
    probe,
    probe_ended,
    probe_purchase,
)
from ansible_collections.compute_index.supply.plugins.module_utils._operations.procure_offer import procure_offer
from ansible_collections.compute_index.supply.plugins.module_utils._operations.reading import offer_statuses
from ansible_collections.compute_index.supply.plugins.module_utils._operations.reap import reap, reap_asked, reaped
from ansible_collections.compute_index.supply.plugins.module_utils._operations.registry import registry
from ansible_collections.compute_index.supply.plugins.module_utils._operations.sealing import seal
from ansible_collections.compute_index.supply.plugins.module_utils._operations.spend import spend
from ansible_collections.compute_index.supply.plugins.module_utils._operations.timer import timer
from ansible_collections.compute_index.supply.plugins.module_utils._operations.verified import verified
from ansible_collections.compute_index.supply.plugins.module_utils._provision import ending_by_id
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import (
    Place,
    SharedProject,
    place_of,
)
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile
from ansible_collections.compute_index.supply.plugins.module_utils._registry._postgresql import Database
from ansible_collections.compute_index.supply.plugins.module_utils._registry._protocol import (
    ReadOnlyRegistry,
    RegistryError,
)
from ansible_collections.compute_index.supply.plugins.module_utils._spec import PROCURE_OFFER
from ansible_collections.compute_index.supply.plugins.module_utils._text import utc

import postgresql
from account_api import AccountApi
from provision_samples import SPEC, machine, machine_id, offer_id, raw
from samples import BASE, KEY, status

Json = dict[str, Any]
HOSTS = ("gpu-1", "gpu-2", "gpu-3")
STATES = ("nothing", "sent", "answered", "freed", "made", "made, no ids", "gone", "over", "reaped", "a colleague's")
HOUR = 3600.0


class World:
    """A registry whose hosts are in random states, and an API with their machines. ``url``: None for files."""

    def __init__(self, folder: Path, url: str | None, seed: int) -> None:
        self.folder, self.url, self.chance = folder, url, Random(seed)
        self.states = {host: self.chance.choice(STATES) for host in HOSTS}
        with Registries(url, BASE, read_only=False) as registries:
            listed, bought, gone = [], {}, []
            for number, (host, state) in enumerate(self.states.items()):
                key, offer = machine_id(number), offer_id(number)
                self._note(registries, host, state, number)
                # A freed purchase may still have a machine, and a colleague may have one with the name of a host.
                if state in ("made", "made, no ids", "gone", "over", "reaped", "freed", "sent", "a colleague's"):
                    listed.append(machine(number, host, offer))
                    bought[offer] = status("ready", resource_ids=[key])
                gone += [key] if state == "gone" else []
            self.api = AccountApi(*listed, gone=gone, bought=bought)

    def _note(self, registries: Registries, host: str, state: str, number: int) -> None:
        store = registries.at(self.place).host(host)
        assert store is not None
        if state in ("nothing", "a colleague's"):
            return
        leased = {
            "provision_leased": "1h",
            "provision_ends_at": utc(time.time() + (-HOUR if state == "over" else HOUR)),
        }
        offer = {"provision_procured_offer_id": offer_id(number)}
        store.read()
        store.claim(
            {
                **{"provision_resource_name": host, "provision_price_per_hour": 2.0, **leased, **offer},
                **{"provision_journaled_at": utc(time.time()), "provision_purchase": "sent"},
            }
        )
        if state == "answered":
            store.note({"provision_refused_status": 429})
        elif state == "freed":
            store.note({**offer, "provision_purchase": "refused"})
        elif state != "sent":
            ids = [] if state == "made, no ids" else [machine_id(number)]
            store.note({**offer, "provision_purchase": "made", "provision_resource_ids": ids})
        if state == "reaped":
            store.compare_and_set({"provision_reaped_at": utc(time.time())})
        store.close()

    @property
    def place(self) -> Place:
        return SharedProject("default") if self.url else place_of(str(self.folder / "host_vars"))

    @property
    def content(self) -> Any:
        """The whole registry: the rows of each table (None without tables), or each file and folder."""
        if self.url:
            tables = ("purchase", "machine", "sweep", "meta")
            select = "SELECT to_jsonb(t)::text FROM compute_index_supply.{} t ORDER BY 1"
            has_tables = postgresql.execute(self.url, "SELECT to_regclass('compute_index_supply.meta')::text")[0][0]
            return [postgresql.execute(self.url, select.format(each)) for each in tables] if has_tables else None
        return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(self.folder.rglob("*"))}

    def params(self, spec: Json, **given: Any) -> Json:
        defaults = {name: option.get("default") for name, option in spec.items()}
        common = {"api_url": BASE, "api_token": "t", "api_retries": 0, "registry_url": self.url, "here": "/"}
        return {**defaults, **common, **given}

    def hosts(self, **fields: Any) -> list[Json]:
        """The declarations of all hosts, with the fields that the steps read."""
        own = {"declares": True, "prefix": "", "resource_id": "", "listed_id": "", "activity": None, **fields}
        where = {"registry_dir": str(self.folder / "host_vars"), "inventory_dir": None}
        return [raw(host=host, name=host, id=host, **where, **own) for host in HOSTS]

    def plan_params(self, **given: Any) -> Json:
        chance = self.chance
        fields = {"adopt": chance.random() < 0.5, "lease": chance.choice(["", "2h"]), "reach": False}
        ceiling = chance.choice([{}, {"max_total_price_per_hour": "3"}, {"budget": "9"}])
        hosts = self.hosts(**fields, **ceiling)
        if self.url:
            fields.update(chance.choice([{}, {"max_account_price_per_hour": "3"}]))
        return self.params(steps.PLAN, hosts=hosts, ids=list(HOSTS), **given)

    def judge_params(self, outcome: str) -> Json:
        plans = [
            {**each, "unused": True, "may_release": True}
            for each in plan(self.market, self.plan_params(), True)["plans"]
        ]
        for each in plans:
            each["action"] = "buy"
        purchases = {
            each["host"]: {"outcome": outcome, "resource_ids": each["resource_ids"], "changed": True} for each in plans
        }
        offers = offer_statuses(self.market, {each["offer_id"]: () for each in plans})
        return self.params(steps.JUDGE, plans=plans, purchases=purchases, offers=offers)

    @property
    def market(self) -> Market:
        return cast(Market, self.api)


class SilentHttp:
    """A connection with empty answers. ``sent``: the requests so far."""

    account, ahead, base_url = "account", 0.0, "https://supply-api.example.com"

    def __init__(self) -> None:
        self.sent: set[tuple[str, str]] = set()

    def exchange(self, method: str, path: str, **_how: Any) -> Answer:
        self.sent.add((method, path))
        return Answer(200, True, {"H100": []} if path == "/available_gpus" else [])

    def for_server(self, _base_url: str, _token: str) -> SilentHttp:
        return self

    def redact(self, text: str) -> str:
        return text


def prober() -> Prober:
    return Prober(cast(Any, SilentHttp()), read_only=True)


def run_procure_offer(world: World) -> Json:
    number = world.chance.choice([0, 1, 100])
    where = {"registry_file": None} if world.url else {"registry_file": world.place.entry_file("gpu-1")}
    given = {"offer_id": offer_id(number), "ssh_public_key": KEY, "resource_name": "gpu-1", "settle_timeout": 0.0}
    return procure_offer(world.market, world.params(PROCURE_OFFER, **given, **where), True)


def run_end(world: World, check_mode: bool = True) -> Json:
    sweep = {"unsaved": True, "grace": 30, "lease": "", "place": world.place.text, "due": 0, "ends_at": "", "idle": 0}
    hosts = world.hosts(**world.chance.choice([{}, {"reaped": sweep}]))
    return end(world.market, world.params(steps.END, hosts=hosts, ids=list(HOSTS)), check_mode)


def run_ended(world: World) -> Json:
    """Run ended and storage_ended after all deletions."""
    plans = list(run_end(world)["ends"].values())
    answers = {key: {"resource_id": key, "billing_stopped": True} for each in plans for key in each["ids"]}
    for plan_ in plans:
        given = {"end": plan_, "deleted": list(answers.values())}
        storage_ended(world.market, world.params(steps.STORAGE_ENDED, **given), True)
    return ended(world.market, world.params(steps.ENDED, ends=plans, answers=answers), True)


def run_delete(world: World) -> Json:
    """Run delete for the machines of `run_end`."""
    jobs = ending_by_id.jobs(run_end(world)["ends"].values())
    return delete(world.market, world.params(steps.DELETE, jobs=jobs), True)


def run_audit(world: World, settle: bool, check_mode: bool) -> Json:
    given = {"hosts": world.hosts(), "settle": settle}
    return audit(world.market, world.params(steps.AUDIT, **given), check_mode)


def run_orphan(world: World) -> Json:
    given = {"hosts": world.hosts(), "resource_id": machine_id(world.chance.choice([0, 1, 2, 100])), "reason": "a test"}
    return orphan(world.market, world.params(steps.ORPHAN, **given), False)


def run_probe(world: World, check_mode: bool) -> Json:
    return probe(prober(), world.params(steps.PROBE, hosts=world.hosts()), check_mode)


def run_probe_purchase(world: World) -> Json:
    given = {"hosts": world.hosts()[:1], "buy": True, "max_usd": "3"}
    return probe_purchase(prober(), world.params(steps.PROBE_PURCHASE, **given), False)


def in_check_mode(step: Callable[..., Json], spec: Json, **given: Any) -> Callable[[World], Json]:
    return lambda world: step(world.market, world.params(spec, **{"hosts": world.hosts(), **given}), True)


BAD = {"item": "gpu-1", "verdict": "bad", "reasons": ["driver: there is none (bad)"]}

# The options of the step timer
TIMED: Json = {
    "timer": {"sources": ["/hosts"], "here": "/", "home": "/home/me", "command": ["reap"]},
    "observed": {"has_crontab": True},
    "variables": ["COMPUTE_INDEX_API_TOKEN"],
}

# Every step of `decide` in a mode in which it only reads, and procure_offer in check mode
READING_STEPS: dict[str, Callable[[World], Json]] = {
    "plan": lambda world: plan(world.market, world.plan_params(), True),
    "quote": lambda world: plan(world.market, world.plan_params(quote=True), False),
    "quote in check mode": lambda world: plan(world.market, world.plan_params(quote=True), True),
    "seal": lambda world: seal(
        world.market,
        world.params(
            steps.SEAL, plan=plan(world.market, world.plan_params(quote=True), False).get("plan", {"hosts": {}})
        ),
        False,
    ),
    "judge": lambda world: judge(world.market, world.judge_params(world.chance.choice(["created", "rejected"])), True),
    "release_begins": lambda world: release_begins(world.judge_params("created"), True),
    "release": lambda world: release(world.market, world.judge_params("created"), True),
    "tested": lambda world: accepted({**world.judge_params("created"), "tests": [BAD]}, True),
    "verified": lambda world: verified(
        world.params(steps.VERIFIED, hosts=[{**row, "tested": {**BAD, "item": row["host"]}} for row in world.hosts()]),
        True,
    ),
    "reached": lambda world: reached(world.judge_params("created"), True),
    "order": lambda world: ORDER.function(world.params(steps.ORDER, group="gpu"), False),
    "offers": lambda world: offers(world.market, {**world.params(steps.OFFERS), "spec": SPEC}, False),
    "named": lambda world: named(world.market, world.params(steps.NAMED, hosts="gpu-1", known=["gpu-1"]), False),
    "end": run_end,
    "delete": run_delete,
    "gone": run_delete,
    "ended": run_ended,
    "storage_ended": run_ended,
    "audit": lambda world: run_audit(world, False, False),
    "audit with settle in check mode": lambda world: run_audit(world, True, True),
    "orphan": run_orphan,
    "spend": lambda world: spend(world.params(steps.SPEND, hosts=world.hosts()), False),
    "reap": in_check_mode(reap, steps.REAP),
    "reap_asked": lambda world: reap_asked(world.params(steps.REAP_ASKED), True),
    "reaped": lambda world: reaped(world.params(steps.REAPED), True),
    "extend": lambda world: extend(
        world.params(steps.EXTEND, hosts=world.hosts(lease_max="", max_bill=""), by="1h"), True
    ),
    "probe": lambda world: run_probe(world, False),
    "probe in check mode": lambda world: run_probe(world, True),
    "probe_purchase": run_probe_purchase,
    "probe_ended": lambda world: probe_ended(world.params(steps.PROBE_ENDED), False),
    "registry": lambda world: registry(world.params(steps.REGISTRY, hosts=world.hosts()), True),
    "timer": lambda world: timer(world.params(steps.TIMER, **TIMED), False),
    "procure_offer in check mode": run_procure_offer,
}


def test_table_has_every_step_of_decide() -> None:
    text = Path(__file__).parents[4].joinpath("plugins/modules/decide.py").read_text()
    choices = re.search(r"choices:\n((?: +- \w+\n)+)", text)
    assert choices is not None
    listed = set(choices[1].replace("-", "").split())
    # test_operations_run.py has the steps of runs: in check mode, a run stops after its quote.
    of_runs = {step for step in listed if step in ("run", "runs") or step.startswith("run_")}
    without_operation = {"declare", "declare_end", "awx"}  # they read variables alone
    assert listed - without_operation - of_runs <= {*READING_STEPS}


def assert_only_reads(world: World, step: str) -> None:
    before = world.content
    result = ""
    try:
        result = str(READING_STEPS[step](world))
    except Failure as failure:
        result = str(failure.result)
    assert world.content == before, f"{step} has changed {world.states}: {result}"
    assert "is only read here" not in result, f"{step} tries to change {world.states}: {result}"


@pytest.mark.parametrize("step", READING_STEPS)
def test_reading_step_leaves_registry_files_unchanged(tmp_path: Path, step: str) -> None:
    for seed in range(12):
        assert_only_reads(World(tmp_path / str(seed), None, seed), step)


@pytest.mark.parametrize("step", READING_STEPS)
def test_reading_step_leaves_the_shared_registry_unchanged(tmp_path: Path, registry_url: str, step: str) -> None:
    for seed in range(3):
        assert_only_reads(World(tmp_path / str(seed), registry_url, seed), step)
        postgresql.forget(registry_url)


@pytest.mark.parametrize("step", READING_STEPS)
def test_reading_step_creates_no_registry(tmp_path: Path, registry_url: str, step: str) -> None:
    for url in (None, registry_url):
        world = World.__new__(World)
        world.folder, world.url, world.chance = tmp_path, url, Random(1)
        world.states, world.api = {}, AccountApi()
        assert_only_reads(world, step)


# Changed in check mode

ChangingStep = tuple[Callable[[World], Json], Callable[[World, Json, bool], Json]]  # its options, and the step

CHANGING_STEPS: dict[str, ChangingStep] = {
    "plan": (World.plan_params, lambda world, params, check_mode: plan(world.market, params, check_mode)),
    "judge a purchase": (
        lambda world: world.judge_params("existing"),
        lambda world, params, check_mode: judge(world.market, params, check_mode),
    ),
    "judge a refusal": (
        lambda world: world.judge_params("rejected"),
        lambda world, params, check_mode: judge(world.market, params, check_mode),
    ),
    "reached": (
        lambda world: {"plans": [{**world.judge_params("created")["plans"][0], "verify": "specs"}]},
        lambda _world, params, check_mode: reached(params, check_mode),
    ),
    "extend": (
        lambda world: world.params(steps.EXTEND, hosts=world.hosts(lease_max="", max_bill=""), by="1h"),
        lambda _world, params, check_mode: extend(params, check_mode),
    ),
}


@pytest.mark.parametrize("step", CHANGING_STEPS)
def test_check_mode_reports_the_same_changed_as_a_real_run(tmp_path: Path, step: str) -> None:
    options_of, perform = CHANGING_STEPS[step]
    changed = set()
    for seed in range(12):
        world = World(tmp_path / str(seed), None, seed)
        params, before = options_of(world), world.content

        def result(world: World, params: Json, check_mode: bool) -> Json:
            try:
                return perform(world, copy.deepcopy(params), check_mode)
            except Failure as failure:
                return failure.result

        checked = result(world, params, True)["changed"]
        real = result(world, params, False)["changed"]
        assert checked == real == (world.content != before), f"seed {seed}: {world.states}"
        changed.add(real)
    assert changed == {False, True}


# Read-only registries


PURCHASE = {"provision_procured_offer_id": offer_id(9), "provision_purchase": "sent", "provision_price_per_hour": 2.0}


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_read_only_registry_refuses_every_change(tmp_path: Path, registry_url: str, is_shared: bool, seed: int) -> None:
    world = World(tmp_path, registry_url if is_shared else None, seed)
    before = world.content
    with Registries(world.url, BASE, read_only=True) as registries:
        for host in HOSTS:
            known = registries.at(world.place).host(host)
            assert known is not None and known.read_only
            changes = [
                partial(known.claim, PURCHASE),
                partial(known.note, {**PURCHASE, "provision_resource_ids": [machine_id(9)]}),
                partial(known.compare_and_set, {"provision_groups": ["a"]}),
                known.end,
                *([known.hold] if world.states[host] in ("sent", "answered") else []),
            ]
            for change in changes:
                is_empty = known.read() is None
                if is_shared and is_empty and change == known.end:
                    assert change() is None
                    continue
                with pytest.raises(RegistryError):  # a shared registry may first object that there is no entry
                    change()
        with pytest.raises(ReadOnlyRegistry):
            registries.at(world.place).note_sweep(time.time())
    assert world.content == before


def test_refused_change_creates_no_registry(tmp_path: Path, registry_url: str) -> None:
    file = HostFile(str(tmp_path / "gpu-1" / "compute_index_supply.yml"), read_only=True)
    for change in (
        partial(file.claim, PURCHASE),
        partial(file.note, PURCHASE),
        partial(file.compare_and_set, PURCHASE),
        file.end,
        file.hold,
    ):
        with pytest.raises(ReadOnlyRegistry, match="is only read here"):
            change()
    shared = Database(registry_url, {}, read_only=True)
    for change in (shared.make_tables, partial(shared.note_sweep, "default"), partial(shared.note_ended, BASE, [])):
        with pytest.raises(ReadOnlyRegistry):
            change()
    assert list(tmp_path.glob("gpu-*")) == [] and not shared.has_tables()


@pytest.mark.parametrize("seed", range(5))
def test_move_into_a_shared_registry_only_reads_in_check_mode(tmp_path: Path, registry_url: str, seed: int) -> None:
    files = World(tmp_path, None, seed)
    before = files.content
    result = registry(files.params(steps.REGISTRY, hosts=files.hosts(), registry_url=registry_url), True)
    assert result["changed"] and "would" in str(result["lines"]) and files.content == before
    assert World.content.fget(SimpleNamespace(url=registry_url)) is None  # type: ignore[attr-defined]
