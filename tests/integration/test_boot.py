# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait until SSH answers and the first boot is over."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from typing import Any

import pytest

from conftest import MakeProject, Project, Run
from limits import HANGS
from simulator import Offer

BOOT = "compute_index.supply.wait_for_boot"
# By host: the script of its cloud-init, see Project.first_boot
SCRIPTS = {
    "done": "status=done",
    "slow": "[ -e twice ] || { status=running stage=modules-final; [ -e once ] && touch twice; touch once; }",
    "disabled": "status=disabled",
    "degraded": "warning='no such package: {{ 6 * 7 }}'",
    "error": "status=error error='it broke'",
    "restarts": "[ -e once ] || exec touch once restart",
    "restless": "exec touch restart",
    "hangs": "status=running stage=modules-final",
    "unclear": "echo 'ModuleNotFoundError: yaml' >&2; exit 1",
    "checked": "status=done",
}
# Options and variables of single hosts
OPTIONS: dict[str, dict[str, Any]] = {
    "hangs": {"boot_timeout": "2s"},
    "unclear": {"boot_timeout": 2},
    "checked": {"checked": True},
    "denied": {"connect_timeout": 4},
    "silent": {"connect_timeout": 13},
    "seeded": {"connect_timeout": 3, "seeded": True},
    "here": {"ansible_connection": "local"},
    "mistyped": {"boot_timeout": "soon"},
}
OTHERS = ["late", "absent", "denied", "silent", "other_key", "seeded", "here", "mistyped"]


def buy(project: Project, offer_id: str, name: str) -> str:
    """Buy a machine and return its id."""
    order = {"offer_id": offer_id, "ssh_public_key": project.public_key, "resource_name": name}
    request = urllib.request.Request(
        f"{project.simulator.url}/procure_offer",
        data=json.dumps(order).encode(),
        headers={
            "Authorization": f"Bearer {project.simulator.settings.token}",
            "Content-Type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=HANGS):
        return project.simulator.purchases[-1].resource_ids[0]


def make_machines(make_project: MakeProject) -> Project:
    """A project in which each host has a machine."""
    hosts = [*SCRIPTS, *OTHERS]
    project = make_project([Offer() for _host in hosts], provision_seconds=0)
    project.declare(hosts)
    wrong_key = project.folder / "wrong_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(wrong_key)], check=True)
    for host, offer_id in zip(hosts, list(project.simulator.offers), strict=True):
        # Connections are refused until then.
        project.simulator.settings.ssh_delay_seconds = {"late": 4, "silent": 600}.get(host, 0)
        resource_id = buy(project, offer_id, host)
        address = project.simulator.resources[resource_id].address
        assert address is not None
        if host in SCRIPTS:
            project.first_boot(resource_id, SCRIPTS[host])
        known_hosts = project.folder / f"{host}.known_hosts"
        if host in ("other_key", "seeded"):
            known_hosts.write_text(f"[127.0.0.1]:{address.port} {project.public_key}\n")
        arguments = f"-o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={known_hosts}"
        variables = {
            "ansible_host": "127.0.0.1",
            "ansible_port": address.port,
            "ansible_user": "root",
            "ansible_ssh_extra_args": arguments,
            "ansible_become": True,  # would fail on these machines
            **({"ansible_ssh_private_key_file": str(wrong_key)} if host == "denied" else {}),
        }
        project.declare_host(host, **variables, **OPTIONS.get(host, {}))
    return project


def wait(project: Project, *words: str, **environment: str) -> tuple[Run, dict[str, dict[str, Any]]]:
    """Wait for all machines in one play, and return its results by host."""
    results = project.folder / "results.json"
    names = ("connect_timeout", "boot_timeout", "seeded")
    task = {
        BOOT: {name: f"{{{{ hostvars[inventory_hostname].{name} | default(omit) }}}}" for name in names},
        "check_mode": "{{ checked | default(false) }}",
        "register": "boot",
        "ignore_errors": True,
    }
    dump = {
        "ansible.builtin.copy": {
            "dest": str(results),
            "content": "{{ dict(ansible_play_hosts | zip(results)) | to_json }}",
        },
        "delegate_to": "localhost",
        "run_once": True,
        "vars": {
            "ansible_connection": "local",
            "ansible_become": False,
            "results": "{{ ansible_play_hosts | map('extract', hostvars, 'boot') }}",
        },
    }
    play = {"hosts": "gpu", "gather_facts": False, "tasks": [task, dump]}
    # The user's configuration must neither prolong an attempt nor hide it.
    settings = {"ANSIBLE_FORKS": "25", "ANSIBLE_SSH_RETRIES": "9", "ANSIBLE_TIMEOUT": "60"}
    run = project.play(project.write(play), *words, **{**settings, **environment})
    assert run.returncode == 0, run.output
    return run, json.loads(results.read_text())


@pytest.mark.first
def test_wait_for_boot_ends_when_the_first_boot_is_over(make_project: MakeProject) -> None:
    project = make_machines(make_project)

    run, results = wait(project)

    hosts = [*SCRIPTS, *OTHERS]
    assert sorted(results) == sorted(hosts)
    assert [run.recap(host, "unreachable") for host in hosts] == [0] * len(hosts)
    failed = {"error", "restless", "hangs", "unclear", "denied", "silent", "other_key", "seeded", "mistyped"}
    assert {host for host in results if results[host]["failed"]} == failed, run.output
    assert not any(result["changed"] for result in results.values())

    absent = "There is no cloud-init on the machine."
    expected = {
        **dict.fromkeys(("done", "slow", "restarts", "checked"), ("done", "cloud-init has finished.")),
        "disabled": ("disabled", "cloud-init is disabled."),
        "degraded": ("done", "cloud-init has finished with errors: no such package: {{ 6 * 7 }}."),
        "error": ("error", "cloud-init has failed: it broke."),
        "hangs": (
            "running",
            "The state of cloud-init is 'running' (Running in stage: modules-final). The limit was 2 seconds.",
        ),
        "unclear": (
            "unclear",
            "The state of cloud-init is 'unclear' (ModuleNotFoundError: yaml). The limit was 2 seconds.",
        ),
        "silent": (None, "SSH does not answer: Connection refused. The limit was 13 seconds."),
        "mistyped": (None, "boot_timeout must be a number of seconds, or a duration such as 90s or 30m, not 'soon'."),
        **({} if shutil.which("cloud-init") else dict.fromkeys(("absent", "here", "late"), ("absent", absent))),
    }
    assert {host: (results[host]["cloud_init"]["status"], results[host]["msg"]) for host in expected} == expected
    assert results["degraded"]["cloud_init"]["errors"] == ["no such package: {{ 6 * 7 }}"]
    assert "[WARNING]: degraded: cloud-init has finished with errors: no such package" in run.text
    assert "does not stay reachable while cloud-init runs: 4 connections were lost." in results["restless"]["msg"]
    # Lower limits that follow from the sleeps between attempts, not from the computer's speed
    assert results["slow"]["seconds"] >= 4 and results["restarts"]["seconds"] >= 1

    assert {host for host in results if results[host]["host_key_refused"]} == {"other_key", "seeded"}
    assert "has changed and you have requested strict checking" in results["other_key"]["msg"]
    assert results["seeded"]["seconds"] >= max(3, results["other_key"]["seconds"]), "retries only what may still change"
    assert results["denied"]["msg"] == (
        "SSH refuses the user's key: root@127.0.0.1: Permission denied (publickey)."
        " Set ansible_ssh_private_key_file to the private half of the key given at the purchase;"
        " if it has a passphrase, ssh-add it. The limit was 4 seconds."
    )
    assert results["denied"]["connected_after"] is None and results["hangs"]["connected_after"] is not None

    messages = [
        (host, int(seconds), msg)
        for host, seconds, msg in re.findall(r"^  (\w+), after (\d+) s: (.*)$", run.output, re.MULTILINE)
    ]
    assert min(seconds for host, seconds, _msg in messages if host != "denied") >= 10, "told too early"
    assert min(seconds for host, seconds, _msg in messages if host == "denied") < 4, "the user can fix it"
    assert "SSH does not answer: Connection refused." in [msg for host, _seconds, msg in messages if host == "silent"]
