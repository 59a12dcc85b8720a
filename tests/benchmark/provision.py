# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole runs of the playbook ``provision`` and of a peer's play, with machines that start at once."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from simulator import Fault, Nowhere, Offer, Settings, Simulator

from .answers import TOKEN, VULTR, VULTR_INSTANCE, Vultr
from .measure import Commands, Usage
from .server import Server

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f benchmark"
KIT = Path(__file__).resolve().parents[2]
FIRST, SECOND = "first run", "second run"
RUNS = (FIRST, SECOND)
CHECK = "GPU provision (check)"


def play(
    commands: Commands,
    playbook: str,
    hosts: int,
    runs: Sequence[str],
    variables: Mapping[str, Any],
    environment: Mapping[str, str],
    forks: int = 50,
) -> dict[str, Usage]:
    """Run a playbook once or twice, in a folder of its own, with so many hosts in the group ``gpu``."""
    inventory = Path(tempfile.mkdtemp(dir=commands.folder), "hosts.json")
    group = {"hosts": {f"gpu-{number}": {} for number in range(hosts)}, "vars": variables}
    inventory.write_text(json.dumps({"gpu": group}))
    words = ("ansible-playbook", "-i", str(inventory), f"--forks={forks}", playbook)
    return {run: commands.run(*words, **environment) for run in runs}


def quote(commands: Commands, hosts: int, environment: Mapping[str, str]) -> Usage:
    """Ask what the hosts would get; there are more offers than hosts."""
    variables = {
        "provision_spec": {"compute": {"gpu_type": "H100", "gpu_count": 1}},
        "provision_max_price_per_hour": 5,
    }
    offers = [Offer(gpu_price_per_hour=2 + number / 100) for number in range(2 * hosts)]
    with Simulator(Settings(token=TOKEN), offers, backend=Nowhere()) as simulator:
        api = {"COMPUTE_INDEX_API_URL": simulator.url, "COMPUTE_INDEX_API_TOKEN": TOKEN, **environment}
        return play(commands, "compute_index.supply.quote", hosts, (FIRST,), variables, api)[FIRST]


def provision(
    commands: Commands,
    hosts: int,
    runs: Sequence[str] = RUNS,
    *,
    latency: float = 0,
    post: float = 0,
    forks: int = 50,
    key: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Usage]:
    """Buy, and run again without changes.

    The API answers ``latency`` seconds later, and a purchase takes it ``post`` seconds. With a private ``key`` the
    machines are simulated ones that are reached over SSH, without it they are only addresses.
    """
    variables: dict[str, Any] = {
        "provision_spec": {"compute": {"gpu_type": "H100", "gpu_count": 1}},
        "provision_max_price_per_hour": 5,
        "provision_ssh_public_key": key.with_suffix(".pub").read_text().strip() if key else KEY,
        "provision_reach": key is not None,
        "provision_poll_delay": 1,
    }
    if key:
        variables["ansible_ssh_private_key_file"] = str(key)
    offers, backend = [Offer() for _number in range(hosts)], None if key else Nowhere()
    with Simulator(Settings(token=TOKEN, procure_seconds=post), offers, backend=backend) as simulator:
        if latency:
            simulator.faults.append(Fault(delay=latency, count=None))
        api = {"COMPUTE_INDEX_API_URL": simulator.url, "COMPUTE_INDEX_API_TOKEN": TOKEN}
        api |= environment or {}
        usages = play(commands, "compute_index.supply.provision", hosts, runs, variables, api, forks)
        if len(simulator.purchases) != hosts:
            raise RuntimeError(f"{len(simulator.purchases)} machines were bought for {hosts} hosts")
    return usages


def check(commands: Commands, hosts: int) -> Usage:
    """Run this job template of AWX for a number of names, with the forks of the set-up."""
    folder = Path(tempfile.mkdtemp(dir=commands.folder))
    kit = yaml.safe_load((KIT / "playbooks" / "vars" / "awx" / "templates.yml").read_text())
    (template,) = (each for each in kit["awx_job_templates"] if each["name"] == CHECK)
    # As awx_setup writes them; no machine is reached, so the job needs no key.
    inventory = {"provision_registry_dir": "", "provision_ssh_public_key": KEY, "provision_reach": False}
    (folder / "hosts.json").write_text(json.dumps({"all": {"vars": inventory}}))
    answers = {"order_names": str(hosts), "order_gpu_type": "H100", "order_gpu_count": "1", "order_region": "any"}
    answers |= {"order_contract_type": "ondemand", "order_max_price_per_hour": "5"}
    answers |= {"awx_job_template_name": CHECK}
    project = shutil.copytree(KIT / "awx" / "project", folder / "project")
    words = ["ansible-playbook", "-i", str(folder / "hosts.json"), f"--forks={kit['awx_job_forks']}", "--check"]
    words += ["--diff"] if template.get("diff") else []
    offers = [Offer() for _number in range(hosts)]
    with Simulator(Settings(token=TOKEN), offers, backend=Nowhere()) as simulator:
        api = {"COMPUTE_INDEX_API_URL": simulator.url, "COMPUTE_INDEX_API_TOKEN": TOKEN}
        api |= {"ANSIBLE_CONFIG": str(project / "ansible.cfg"), "AWX_HOST": "https://awx.example.com", "JOB_ID": "7"}
        usage = commands.run(*words, "-e", json.dumps(answers), str(project / template["playbook"]), **api)
        if simulator.purchases or usage.output.count("\nchanged: [gpu-") != hosts:
            raise RuntimeError(f"{hosts} purchases were not planned:\n{usage.output[-4000:]}")
    return usage


def peer(commands: Commands, hosts: int) -> dict[str, Usage]:
    """Create bare machines as the peer's authors do, delegated host by host; and find them."""
    instance = {
        "label": "{{ inventory_hostname }}",
        "hostname": "{{ inventory_hostname }}",
        "ssh_keys": [TOKEN],
        **{name: VULTR_INSTANCE[name] for name in ("plan", "region", "os")},
    }
    address = {"ansible_host": "{{ created.vultr_instance.main_ip }}"}
    tasks = [
        {"vultr.cloud.instance": instance, "delegate_to": "localhost", "register": "created"},
        {"ansible.builtin.set_fact": address},
    ]
    playbook, account = commands.folder / "peer.json", Vultr()
    playbook.write_text(json.dumps([{"hosts": "gpu", "gather_facts": False, "tasks": tasks}]))
    with Server(account, commands.folder, tls=False) as server:
        api = {"VULTR_API_ENDPOINT": server.url + VULTR, "VULTR_API_KEY": TOKEN}
        usages = play(commands, str(playbook), hosts, RUNS, {}, api)
    if len(account.instances) != hosts:
        raise RuntimeError(f"{len(account.instances)} machines were created for {hosts} hosts")
    return usages
