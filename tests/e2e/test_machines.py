# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's promises, checked on the machines themselves."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from conftest import Backend, Machine, MakeProject, Project, cgroups
from simulator import Offer
from simulator.nspawn import read

SITE = Path(__file__).with_name("site.yml")
PLAYBOOKS = ("compute_index.supply.provision", "compute_index.supply.configure", str(SITE))

#: A task that waits for somebody else: the API, a vendor, a boot.
WAITING = ("Buy the offer", "Wait for the machines", "Wait for SSH and cloud-init")


def first_boot(project: Project) -> dict[str, Any]:
    """Variables that use each part of the first boot except packages, since a machine has no Internet."""
    return {
        "provision_timezone": "Europe/Berlin",
        "provision_users": [
            {
                "name": "ml",
                "shell": "/bin/bash",
                "groups": "users, video",
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "ssh_authorized_keys": [project.public_key],
            }
        ],
        "provision_mounts": [["tmpfs", "/data", "tmpfs", "size=16m,mode=0755"]],
        "provision_files": [
            {"path": "/etc/motd", "content": 'It\'s "ours" for $5\n'},
            {"path": "/srv/ml/token", "content": "a token\n", "owner": "ml:ml", "permissions": "0600"},
            {"path": "/data/README", "content": "on the mount\n", "permissions": "0444"},
        ],
        "provision_commands": [
            "cat /srv/ml/token >> /var/lib/ran",
            ["sh", "-c", 'echo "$1" >> /var/lib/ran', "sh", "it's two  words"],
        ],
    }


def check_first_boot(machine: Machine, hostname: str) -> None:
    """Check each part of the first boot on the machine."""
    status = json.loads(machine.run("cloud-init status --format=json"))
    assert (status["status"], status["errors"], status["recoverable_errors"]) == ("done", [], {})
    assert machine.run("hostname; cat /etc/hostname").split() == [hostname] * 2
    assert machine.run("cat /etc/timezone; readlink -f /etc/localtime; date +%Z").split()[:2] == [
        "Europe/Berlin",
        "/usr/share/zoneinfo/Europe/Berlin",
    ]
    assert machine.run("cat /etc/motd") == 'It\'s "ours" for $5\n'
    modes = machine.run("stat --format='%n %a %U:%G' /etc/motd /srv/ml/token /data/README").splitlines()
    assert modes == ["/etc/motd 644 root:root", "/srv/ml/token 600 ml:ml", "/data/README 444 root:root"]
    assert machine.run("findmnt --noheadings --output=FSTYPE,OPTIONS /data").split()[0] == "tmpfs"
    assert "size=16384k" in machine.run("findmnt --noheadings --output=OPTIONS /data")
    assert machine.run("findmnt --noheadings --output=TARGET --target /data/README").strip() == "/data"
    assert machine.run("findmnt --verify --verbose >&2; grep -c /data /etc/fstab").strip() == "1"

    user = machine.login("ml")
    assert user.run("id -un; id -Gn; echo $SHELL").splitlines() == ["ml", "ml video users", "/bin/bash"]
    assert user.run("sudo -n id -un").strip() == "root"
    assert user.run("stat --format='%a %U' ~/.ssh ~/.ssh/authorized_keys").split() == ["700", "ml", "600", "ml"]


def check_once(machine: Machine) -> None:
    """Check that the commands of the first boot ran, once each."""
    assert machine.run("cat /var/lib/ran") == "a token\nit's two  words\n"


def check_site(machine: Machine, host: str, hostname: str) -> None:
    """Check the results of the plays after the first boot."""
    assert machine.run("cat ~ml/README; stat --format='%a %U:%G' ~ml/README").splitlines() == [
        f"{host}: Debian {hostname}",
        "640 ml:ml",
    ]
    assert machine.run("systemctl is-active model; systemctl is-enabled model").split() == ["active", "enabled"]
    assert machine.run("ps -o user= -p $(systemctl show --value --property=MainPID model)").strip() == "ml"
    assert json.loads(machine.run("cat compute_index_supply.json"))["host"] == host


def instances(project: Project, host: str) -> dict[str, dict[str, Any]]:
    """The machines of a host, by their names in Ansible."""
    entry = project.registry(host)
    assert entry is not None
    names = [host, *(f"{host}-{number}" for number in range(1, len(entry["provision_instances"])))]
    return dict(zip(names, entry["provision_instances"], strict=True))


def check_keys(project: Project, host: str) -> None:
    """Check that each machine has made a host key, which is pinned. The seeded key served only the first connection."""
    entry = project.registry(host)
    assert entry is not None and "provision_bootstrap_host_key" not in entry
    pins = (project.registry_file(host).parent / ".known_hosts").read_text().splitlines()
    keys = {pin[0]: pin[2] for pin in map(str.split, pins)}
    assert sorted(keys) == sorted(entry["provision_resource_ids"]) and len(pins) == len(keys)
    for instance in entry["provision_instances"]:
        machine, resource_id = Machine(project, instance["ansible_host"]), instance["resource_id"]
        _kind, key, *files = machine.run("cat /etc/ssh/ssh_host_ed25519_key.pub; ls /etc/ssh").split()
        assert keys[resource_id] == key
        private, public = (name for name in files if name.startswith("ssh_host"))
        assert (private, public) == ("ssh_host_ed25519_key", "ssh_host_ed25519_key.pub")
        user_data = project.simulator.user_data(resource_id)
        assert user_data is not None
        assert not any(each in user_data for each in keys.values()), "what was sent opens nothing any more"


def end(project: Project, hosts: list[str]) -> None:
    """End the machines of hosts. A second run changes nothing."""
    ends = ("compute_index.supply.decommission", "-e", f"decommission_hosts={','.join(hosts)}")
    run = project.play(*ends)
    assert run.returncode == 0, run.output
    again = project.play(*ends)
    assert (again.returncode, again.changed) == (0, 0), again.output


def test_machines_from_the_purchase_to_the_deletion(rent: MakeProject, backend: Backend) -> None:
    cluster = Offer(gpu_count=16, node_count=2, gpu_price_per_hour=3.0)
    project = rent([cluster, *(Offer() for _host in range(2))])
    project.declare(["gpu-1", "script", "cluster"], provision_host_key_trust="seeded", **first_boot(project))
    project.declare_host("script", provision_cloud_init_template="startup.sh.j2")
    project.declare_host("cluster", provision_offer_id=cluster.offer_id, provision_max_price_per_hour=48)

    first = project.play(*PLAYBOOKS, ANSIBLE_PIPELINING="true")

    assert first.returncode == 0, first.output
    assert "cloud-init has finished with errors" not in first.text
    machines, names = {}, {}
    for host in ("gpu-1", "script", "cluster"):
        check_keys(project, host)
        for name, instance in instances(project, host).items():
            machines[name] = Machine(project, instance["ansible_host"])
            # The machines of a cluster share their user data and keep the names that the vendor gave them.
            names[name] = instance["resource_id"] if host == "cluster" else host
    assert len(machines) == 4
    for host, machine in machines.items():
        check_first_boot(machine, names[host])
        check_once(machine)
        check_site(machine, host, names[host])
        assert machine.run("nvidia-smi -L").count("NVIDIA H100 80GB HBM3") == (8 if "cluster" in host else 1)

    second = project.play(*PLAYBOOKS, ANSIBLE_PIPELINING="true")

    assert (second.returncode, second.changed) == (0, 0), second.output
    for machine in machines.values():
        check_once(machine)

    running = list(backend.machines.values())
    networks = {os.readlink(f"/proc/{each.init}/ns/net") for each in running}
    assert len(networks) == len(running) == 4
    groups = [group for each in running for group in cgroups(each.folder)]
    assert all(group.exists() for group in groups)
    cables = {each.cable: read(each.cable) for each in running}
    assert all(cables.values())
    end(project, ["gpu-1", "script", "cluster"])

    assert project.simulator.billed == []
    assert [each.name for each in backend.root.iterdir()] == ["lock"]
    # Linux removes a network, and the cables into it, some time after its last process; the test's timeout ends this.
    while any(read(cable) == index for cable, index in cables.items()):
        time.sleep(0.1)
    # What no process is in any more. (The number of a network is given again, to a machine of another test.)
    assert not any(group.exists() for group in groups)
    assert not [each for each in Path("/proc").glob("[0-9]*/mountinfo") if str(backend.root) in read(each)]


def test_ten_machines_at_once(rent: MakeProject, record_property: Callable[[str, object], None]) -> None:
    hosts = [f"gpu-{number}" for number in range(1, 11)]
    project = rent([Offer() for _host in hosts], provision_seconds=2)
    project.declare(hosts, provision_timezone="Europe/Berlin")
    log = project.folder / "ansible.log"

    start = time.monotonic()
    run = project.play(*PLAYBOOKS[:2], "--forks=10", ANSIBLE_LOG_PATH=str(log))
    seconds = time.monotonic() - start

    assert run.returncode == 0, run.output
    waiting = waited(log.read_text())
    record_property(
        "measured",
        f"Ten machines bought and configured at once in {seconds:.1f} s: {seconds - waiting:.1f} s of it are ours,"
        f" {waiting:.1f} s waited for the API and the boot (of a computer with nothing else to do: -n0 -k ten)",
    )


def waited(log: str) -> float:
    """Seconds in a log of Ansible between the header of a task that waits and the next header."""
    headers = re.findall(r"^([-\d]+ [:\d]+,\d+) .*\| ((?:TASK|PLAY|RUNNING HANDLER).*)", log, re.MULTILINE)
    times = [(datetime.fromisoformat(moment.replace(",", ".")), name) for moment, name in headers]
    return sum(
        (after - before).total_seconds()
        for (before, name), (after, _next) in pairwise(times)
        if any(each in name for each in WAITING)
    )
