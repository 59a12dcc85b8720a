# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings of the probe, made at a simulator, set the same switches in another simulator."""

from __future__ import annotations

import json
import re
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._api.recorder import LOG
from ansible_collections.compute_index.supply.plugins.module_utils._operations import delete_resource
from ansible_collections.compute_index.supply.plugins.module_utils._operations.delete_resource import DELETE_RESOURCE
from ansible_collections.compute_index.supply.plugins.module_utils._operations.probe import PROBE
from ansible_collections.compute_index.supply.plugins.module_utils._operations.procure_offer import PROCURE_OFFER
from ansible_collections.compute_index.supply.plugins.module_utils._operations.reading import (
    OFFER_STATUS,
    RESOURCE_INFO,
)
from ansible_collections.compute_index.supply.plugins.module_utils._probe.assumptions import ASSUMPTIONS
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile

from simulator import Offer, Settings
from simulator.__main__ import arguments
from simulator.like import READERS, Unreadable, switches

Make = Callable[..., Any]
PAGE = Path(__file__).parents[3] / "docs" / "api.md"

VALUES: dict[str, list[Any]] = {
    "auth_failure_status": [401, 403],
    "clock_ahead": [0, 90, -3600],
    "offer_seconds": [1800, 600],
    "gpu_count_required": [False, True],
    "lists_clusters": [True, False],
    "total_price": [True, False],
    "keeps_name": [True, False],
    "vocabulary": ["A", "B"],
    "odd_word": [None, "warming up"],
    "status_resources": ["resource_ids", "resources", "resource_objects", None],
    "progress_field": ["progress", "message", "note_of_vendor"],
    "address_in": ["both", "ssh_command", "access"],
    "ssh_command": ["ssh root@{ip} -p {port}", "ssh -p {port} root@{ip}", "ssh -p{port} -l root {ip}", "ssh root@{ip}"],
    "sync_seconds": [30, 0],
    "list_envelope": [None, "resources", "items", "data", "results"],
    "page_size": [None, 1, 2],
    "page_links": [True, False],
    "offer_history": ["primary", "other_words", "missing"],
    "spec_known": [True, False],
    "discovery_envelope": [False, True],
    "deleted_readable": [True, False],
    "deleted_listed": [False, True],
    "timestamps": ["Z", "offset", "naive"],
}
# Switches that only a purchase shows
PURCHASE_VALUES: dict[str, list[Any]] = {
    "procure_seconds": [0, 3],
    "purchase_at": ["start", "end"],
    "procure_answer": ["procured", "provisioning_in_progress"],
    "procure_returns_ids": [True, False],
    "provision_seconds": [0, 3],
    "ssh_delay_seconds": [0, 3],
    "delete_seconds": [0, 3],
}
# Switches that both an existing machine and a purchase show
ALSO_OF_PURCHASE = (
    "vocabulary",
    "odd_word",
    "status_resources",
    "progress_field",
    "address_in",
    "ssh_command",
    "keeps_name",
)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f test"
# Further settings that a switch needs to have an effect
FURTHER_SETTINGS = {"page_links": {"page_size": 2}, "purchase_at": {"procure_seconds": 3}}
FURTHER_SETTINGS |= {each: {"provision_seconds": 3} for each in ("vocabulary", "odd_word", "progress_field")}
# Seconds by which a measured duration may be too short
TOLERANCE = 1.4


class Account:
    """A simulated account with four machines: three run, and one is being provisioned."""

    def __init__(self, simulate: Make, folder: Path, **settings: Any) -> None:
        offers = [Offer(gpu_price_per_hour=2), Offer(gpu_count=8), Offer(gpu_count=16, node_count=2), Offer()]
        ahead = timedelta(seconds=settings.get("clock_ahead", 0))
        self.api = simulate(offers, lambda: datetime.now(timezone.utc) + ahead, **settings)
        self.folder, self.simulator = folder, self.api.simulator
        self.machines = self.simulator.populate(3)
        slow = self.simulator.add_offer(outcome="never_ready")
        self.simulator.settings.provision_seconds = 3600
        self.simulator.market.procure(slow.offer_id, {"ssh_public_key": "", "resource_name": "slow"})
        # Two thirds of its provisioning time have passed.
        slow.purchase.time -= timedelta(seconds=2400)

    def register(self, host: str, machine: Any, name: str, ended: bool = False) -> None:
        """Register a machine as that of a host. ``ended``: note its end in the ledger."""
        file = self.folder / host / "compute_index_supply.yml"
        file.parent.mkdir(parents=True, exist_ok=True)
        entry = {
            "provision_procured_offer_id": machine.purchase.offer_id,
            "provision_purchase": "made",
            "provision_resource_ids": [machine.resource_id],
            "provision_resource_name": name,
        }
        file.write_text(yaml.safe_dump(entry))
        if ended:
            registry = HostFile(str(file))
            registry.read()
            registry.end("decommissioned")

    def probe(self, **params: Any) -> dict[str, Any]:
        """The result of the probe."""
        host = {"host": "gpu-1", "project": "default", "registry_dir": str(self.folder), "inventory_dir": None}
        spec = PROBE.argument_spec
        defaults = {name: option.get("default") for name, option in spec.items()}
        client = {"api_url": self.simulator.url, "api_token": self.simulator.settings.token, "api_retries": 0}
        return PROBE.perform({**defaults, **client, "hosts": [host], "here": str(self.folder), **params}, False)


@pytest.fixture
def make_account(simulate: Make, tmp_path: Path) -> Callable[..., Account]:
    """``make_account(**settings)``: an account whose first machine is registered."""

    def make(**settings: Any) -> Account:
        account = Account(simulate, tmp_path, **settings)
        account.register("gpu-1", account.machines[0], "machine-1")
        return account

    return make


@pytest.mark.parametrize(("switch", "value"), [(name, value) for name, values in VALUES.items() for value in values])
def test_recording_sets_the_same_switch(make_account: Make, tmp_path: Path, switch: str, value: Any) -> None:
    account = make_account(**{**FURTHER_SETTINGS.get(switch, {}), switch: value})
    if switch.startswith("deleted"):
        account.register("gpu-2", account.machines[1], "machine-2", ended=True)
        account.simulator.vanish(account.machines[1].resource_id)
    result = account.probe(recording="recording.json")
    assert not result.get("failed"), result["msg"]
    seen = switches(str(tmp_path / "recording.json"))
    if switch.endswith("seconds"):  # more on a busy computer
        assert seen[switch] >= value - TOLERANCE, "\n".join(result["lines"])
    else:
        assert seen.get(switch, "not decided") == value, "\n".join(result["lines"])
    Settings(**seen)
    changing = [each for each in account.simulator.requests if each.method != "GET" and each.path != "/get_offers"]
    assert changing == [] and len(account.simulator.requests) <= 29
    assert max(map(len, result["lines"])) <= 80


def test_all_switches_of_assumptions_are_tested() -> None:
    of_assumptions = {name for name, _reader in READERS.values()} | {"page_size", "page_links"}
    every = VALUES | PURCHASE_VALUES
    assert of_assumptions == every.keys()
    assert all(getattr(Settings, name) == values[0] or name == "list_envelope" for name, values in every.items())


# A purchase


class Purchase:
    """An account without machines. Runs the tasks of a purchase there, with a file of their exchanges."""

    def __init__(self, simulator: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.simulator, self.folder, self.log = simulator, folder, str(folder / "probe.log")
        self.monkeypatch = monkeypatch

    def perform(self, operation: Any, **params: Any) -> Any:
        """The result of a module."""
        defaults = {name: option.get("default") for name, option in operation.argument_spec.items()}
        client = {"api_url": self.simulator.url, "api_token": self.simulator.settings.token, "api_retries": 0}
        result = operation.perform({**defaults, **client, **params}, False)
        assert not result.get("failed"), result["msg"]
        return result

    def buy_and_end(self) -> float:
        """Buy a machine, wait for it, read it, and end it. Returns the seconds until it accepted connections."""
        (offer_id,) = self.simulator.offers
        self.perform(PROCURE_OFFER, offer_id=offer_id, ssh_public_key=KEY, resource_name="supply-probe")
        while not (ready := self.perform(OFFER_STATUS, offer_id=offer_id))["ready"]:
            time.sleep(0.3)
        (resource_id,) = self.simulator.resources
        self.perform(RESOURCE_INFO)
        begin = time.monotonic()
        address = ready["instances"][0]
        while socket.socket().connect_ex((address["external_ip"], self.simulator.resources[resource_id].address.port)):
            time.sleep(0.1)
        seconds = time.monotonic() - begin
        self.perform(RESOURCE_INFO, resource_id=resource_id, force_refresh=True)
        self.perform(RESOURCE_INFO, resource_id=resource_id)
        self.perform(DELETE_RESOURCE, resource_id=resource_id, wait=True)
        return seconds

    def probe(self, seconds: float) -> Any:
        """The probe's result about the purchase. The probe's own reads are not part of the file of exchanges."""
        self.monkeypatch.delenv(LOG)
        known = {"log": self.log, "name": "supply-probe", "lets_in": seconds}
        return self.perform(PROBE, recording="recording.json", here=str(self.folder), **known)


@pytest.fixture
def make_purchase(simulate: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Purchase]:
    """``make_purchase(**settings)``: an account with one offer."""
    monkeypatch.setattr(delete_resource, "PAUSE", 0.3)

    def make(**settings: Any) -> Purchase:
        purchase = Purchase(simulate([Offer()], **settings).simulator, tmp_path, monkeypatch)
        monkeypatch.setenv(LOG, purchase.log)
        return purchase

    return make


@pytest.mark.parametrize(
    ("switch", "value"),
    [(name, value) for name, values in PURCHASE_VALUES.items() for value in values]
    + [(name, value) for name in ALSO_OF_PURCHASE for value in VALUES[name]],
)
def test_recording_of_a_purchase_sets_the_same_switch(
    make_purchase: Callable[..., Purchase], tmp_path: Path, switch: str, value: Any
) -> None:
    purchase = make_purchase(**{**FURTHER_SETTINGS.get(switch, {}), switch: value})
    result = purchase.probe(purchase.buy_and_end())
    seen = switches(str(tmp_path / "recording.json"))
    expected = pytest.approx(value, abs=30) if switch == "clock_ahead" else value
    assert seen.get(switch, "not decided") == expected, "\n".join(result["lines"])
    Settings(**seen)
    assert len(purchase.simulator.purchases) == 1
    assert [each.path for each in purchase.simulator.requests if each.method == "DELETE"] == [
        f"/resources/{each}" for each in purchase.simulator.resources
    ]


def test_recording_of_a_purchase_has_no_private_values(make_purchase: Callable[..., Purchase], tmp_path: Path) -> None:
    purchase = make_purchase()
    result = purchase.probe(purchase.buy_and_end())
    seen = {*("post-time", "post-answer", "post-ids", "sold", "boot-time", "lets-in", "listed", "running-price")}
    seen |= {"end-answer", "end-time", "names", "sync", "states"}
    assert seen <= set(result["probe"]["confirmed"]), "\n".join(result["lines"])
    file = tmp_path / "recording.json"
    private = [
        purchase.simulator.settings.token,
        *purchase.simulator.offers,
        *purchase.simulator.resources,
        "supply-probe",
    ]
    private += [purchase.simulator.url, str(tmp_path), KEY.split()[1]]
    assert [each for each in private if each in file.read_text()] == []
    log = Path(purchase.log)
    assert purchase.simulator.settings.token not in log.read_text() and KEY.split()[1] not in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_recording_of_a_simulator_set_by_a_recording_is_the_same(make_account: Make, tmp_path: Path) -> None:
    settings = {name: values[-1] for name, values in VALUES.items() if name not in ("ssh_command", "address_in")}
    settings |= {"page_size": 3, "clock_ahead": 0, "deleted_listed": False, "lists_clusters": True}
    settings["offer_history"] = "other_words"  # needed to find the status of a machine's offer
    make_account(**settings).probe(recording="first.json")
    first = switches(str(tmp_path / "first.json"))
    make_account(**first).probe(recording="second.json")
    assert switches(str(tmp_path / "second.json")) == first


def test_recording_has_no_private_values(make_account: Make, tmp_path: Path) -> None:
    account = make_account()
    account.probe(recording="recording.json")
    file = tmp_path / "recording.json"
    private = [account.simulator.settings.token, "machine-", *account.simulator.offers, *account.simulator.resources]
    private += [account.simulator.url, str(tmp_path)]
    assert [each for each in private if each in file.read_text()] == []
    assert file.stat().st_mode & 0o777 == 0o600
    # The first request is sent twice: to see whether the API answers at all, and for the recording.
    assert len(json.loads(file.read_text())["exchanges"]) == len(account.simulator.requests) - 1


# The page


def rows(*titles: str) -> list[list[str]]:
    """The cells of the page's tables with these column titles."""
    found: list[list[str]] = []
    for table in re.findall(r"(?:^\|.*\n)+", PAGE.read_text(), re.MULTILINE):
        lines = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()]
        if tuple(lines[0]) == titles:
            found += lines[2:]
    return found


def test_page_lists_all_assumptions() -> None:
    assumed = rows("id", "assumption", "source", "if it is wrong")
    assert [cells[0] for cells in assumed] == [f"`{assumption.id}`" for assumption in ASSUMPTIONS]
    assert all(all(cells) for cells in assumed)
    assert READERS.keys() <= {assumption.id for assumption in ASSUMPTIONS}


def test_each_switch_is_set_by_an_assumption_or_listed_in_the_page() -> None:
    settings = {each.name for each in fields(Settings)}
    in_page = [name for each in rows("question", "assumption") for name in re.findall(r"`(\w+)`", each[0])]
    of_assumptions = [*(name for name, _reader in READERS.values()), "page_size", "page_links"]
    assert [name for name in in_page if "_" in name and name not in settings] == []
    assert sorted([*of_assumptions, *(name for name in in_page if name in settings), "token"]) == sorted(settings)


# The command


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no JSON", "Expecting value"),
        ("[]", "no recording of the playbook probe"),
        ('{"format": 2, "findings": []}', "in the format 1"),
        ('{"format": 1}', "its findings cannot be read"),
        ('{"format": 1, "findings": [1]}', "its findings cannot be read"),
        ('{"format": 1, "findings": [{"id": "clock", "verdict": "confirmed"}]}', "its findings cannot be read"),
        (None, "No such file"),
    ],
)
def test_invalid_recordings_are_refused(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "recording.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(Unreadable, match=re.escape(message)):
        switches(str(file))


def test_options_of_the_sandbox_override_its_recording(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recorded = {"vocabulary": "B", "clock_ahead": -5, "ssh_command": "ssh root@{ip}"}
    evidence = {
        "vocabulary": "pending",
        "clock": "-5 s ahead",
        "ssh-command": "ssh root@{ip}",
    }
    findings = [{"id": name, "verdict": "contradicted", "evidence": each} for name, each in evidence.items()]
    recording = {"format": 1, "findings": findings}
    (tmp_path / "recording.json").write_text(json.dumps(recording))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["simulator", "--like", "recording.json", "--vocabulary", "A"])
    settings = vars(arguments())
    assert {name: settings[name] for name in recorded} == {**recorded, "vocabulary": "A"}


def test_sandbox_reports_an_unreadable_recording(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["simulator", "--like", "nowhere.json"])
    with pytest.raises(SystemExit):
        arguments()
    assert "nowhere.json" in capsys.readouterr().err
