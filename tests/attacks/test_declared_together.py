# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In the collection's own plays, one worker declares for all hosts. The result must be as if each host did."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from attack import SPEC, SUPPLY, Attacked, core, failed, failures
from standin import StandIn

# Not for test_one_worker_declares_the_same_as_each_host, which takes as long as the others together, and whose rule has
# tables in plugin_utils/test_declare.py
first = pytest.mark.first

GROUP = {"provision__group": "gpu"}
OTHER = {"hosts": "gpu", "gather_facts": False}
KEEP = {
    "ansible.builtin.copy": {
        "content": "{{ provision__declared.declarations[inventory_hostname] | to_json }}",
        "dest": "{{ playbook_dir }}/{{ way }}-{{ inventory_hostname }}.json",
        "mode": "0600",
    },
    "delegate_to": "localhost",
    "vars": {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"},
}
# Fields that differ between any two declarations
DIFFERENT = ("id", "declared_at", "pause", "connection")
# Variables that only a worker of the host itself adds, such as the name of a host without an address
ADDED = ("ansible_host", "ansible_port", "ansible_user")


def declared(way: str) -> dict[str, Any]:
    """A play that declares in one way, and writes each host's declaration to a file.

    ``way``: ``declare``, each host on its own, or ``together``, one worker for all.
    """
    role = {"name": f"{SUPPLY}.provision", "tasks_from": f"{way}.yml", "rolespec_validate": False}
    tasks = [{"ansible.builtin.import_role": role, "vars": GROUP}, KEEP]
    words = {"of_play": "{{ inventory_hostname | upper }}", "way": way, "provision_users": [{"name": "{{ of_play }}"}]}
    return {**OTHER, "tasks": tasks, "vars": words}


@core
def test_one_worker_declares_the_same_as_each_host(project: Attacked) -> None:
    names = ("region", "spot", "mine")
    hosts: dict[str, dict[str, Any]] = {
        "gpu-1": {},
        "gpu-2": {"provision_project": "night", "provision_max_bill": "{{ 7 * 6 }}", "ansible_ssh_user": "eve"},
        "gpu-3": {"provision_resource_name": "{{ inventory_hostname }}-of-{{ groups.gpu | length }}", "zone": "eu"},
        "007": {"provision_hostname": "{{ provision_resource_name }}", "ansible_connection": "{{ 'lo' ~ 'cal' }}"},
        # The play also sets provision_users; it has precedence over the inventory, but not over facts.
        "rack_1": {"provision_reach": "no", "provision_files": "{{ [{'path': role_name}] }}", "provision_users": []},
        "later": {"provision_max_price_per_hour": 2.5, "provision_typo": 1, "ansible_host": "192.0.2.7"},
    }
    project.declare(
        hosts,
        provision_cluster_name="{{ provision_resource_name }}+{{ provision_hostname }}",
        provision_packages=["{{ ansible_play_batch | length }}", "{{ playbook_dir | basename }}", "{{ of_play }}"],
        provision_commands=[f"{{{{ {name} | default('none of {name}') }}}}" for name in names],
        provision_lease="{{ hostvars['gpu-3'].zone | length }}h",
        provision_spec={**SPEC, "region": "{{ zone | default(lookup('env', 'HOME')) }}"},
        provision_ssh_public_key="{{ lookup('file', 'keys/' ~ inventory_hostname) }}",
        ansible_ssh_private_key_file="keys/{{ inventory_hostname }}.secret",
    )
    for folder in ("keys", "host_vars/gpu-1", "group_vars"):
        (project.folder / folder).mkdir(parents=True, exist_ok=True)
    for host in hosts:
        (project.folder / "keys" / host).write_text(f"{project.public_key} {host}")
    (project.folder / "host_vars" / "gpu-1" / "mine.yml").write_text("mine: '{{ inventory_hostname }}/{{ spot }}'")
    (project.folder / "group_vars" / "gpu.yml").write_text("spot: '{{ inventory_hostname }}'")
    facts = {
        **OTHER,
        "tasks": [
            {"ansible.builtin.set_fact": {"region": "{{ inventory_hostname }}"}, "when": "inventory_hostname != '007'"},
            {"ansible.builtin.set_fact": {"cacheable": True, "provision_lease_max": "9h"}},
            {"ansible.builtin.set_fact": {"provision_users": "me"}, "when": "inventory_hostname == 'gpu-2'"},
        ],
    }
    run = project.playbook(project.book(facts, declared("declare"), declared("together")), "-u", "alice")
    assert run.returncode == 0, run.output
    for host in hosts:
        alone, for_all = (
            json.loads((project.folder / f"{way}-{host}.json").read_text()) for way in ("declare", "together")
        )
        assert alone["host"] == host and alone["id"] != for_all["id"]
        assert alone["spec"]["vendor"] == host and alone["lease_max"] == "9h"
        assert alone["texts"] == (["provision_users"] if host == "gpu-2" else [])
        assert for_all["connection"] in (alone["connection"], None)
        for name in ADDED:
            if for_all["known"][name] is None:
                del alone["known"][name], for_all["known"][name]
        for name in DIFFERENT:
            del alone[name], for_all[name]
        assert for_all == alone, run.output


@first
@core
def test_invalid_declaration_fails_only_its_own_host(account: StandIn, project: Attacked) -> None:
    hosts: dict[str, dict[str, Any]] = {
        "gpu-1": {"provision_timezone": "{{ nowhere }}"},
        "gpu-2": {},
        "gpu-3": {"provision_packages": "{{ omit }}"},
        "gpu-4": {},
    }
    spec = {**SPEC, "vendor": "acme"}
    project.declare(hosts, provision_spec=spec, provision_all_or_nothing=True)
    for number in range(4):
        account.sell("acme", 2.0 + number / 10)
    run = project.playbook(f"{SUPPLY}.provision")
    assert "provision_timezone cannot be evaluated" in failures(run, "gpu-1"), run.output
    assert "provision_packages cannot be " in failures(run, "gpu-3"), run.output
    assert not account.purchases, f"bought for some hosts despite all_or_nothing\n{run.output}"
    project.declare(hosts, provision_spec=spec)
    run = project.playbook(f"{SUPPLY}.provision")
    assert run.returncode != 0 and failed(run, "gpu-1") and failed(run, "gpu-3"), run.output
    assert [len(project.owned(host)) for host in hosts] == [0, 1, 0, 1], run.output
    assert len(account.purchases) == 2, run.output


@pytest.mark.parametrize("left_out", [pytest.param("gpu-1", marks=[first, core]), "gpu-2", "none"])
def test_condition_of_an_import_leaves_out_hosts(account: StandIn, project: Attacked, left_out: str) -> None:
    """Ansible applies the condition to each task of the playbook. For tasks that run once, the first host decides."""
    hosts = ["gpu-1", "gpu-2", "gpu-3"]
    project.declare(hosts)
    for host in hosts:
        account.sell(host)
    book = {"ansible.builtin.import_playbook": f"{SUPPLY}.provision", "when": f"inventory_hostname != '{left_out}'"}
    for _run in range(2):
        run = project.playbook(project.book(book))
        assert run.returncode == 0, run.output
        assert [len(project.owned(host)) for host in hosts] == [int(host != left_out) for host in hosts], run.output
    assert len(account.purchases) == len(set(hosts) - {left_out}), run.output


@first
@core
def test_run_once_role_in_the_users_own_play_covers_one_host(account: StandIn, project: Attacked) -> None:
    hosts = ["gpu-1", "gpu-2"]
    project.declare(hosts)
    for host in hosts:
        account.sell(host)
    buy, end = (
        {"ansible.builtin.import_role": {"name": f"{SUPPLY}.{role}", "rolespec_validate": False}, "run_once": True}
        for role in ("provision", "decommission")
    )
    run = project.playbook(project.book({**OTHER, "tasks": [buy]}))
    assert run.returncode == 0 and [purchase.name for purchase in account.purchases] == ["gpu-1"], run.output
    assert project.role("provision").returncode == 0 and len(account.purchases) == 2
    run = project.playbook(project.book({**OTHER, "tasks": [end]}))
    assert run.returncode == 0 and not project.owned("gpu-1") and project.owned("gpu-2"), run.output
    assert [bool(account.bought(host)[0].machines[0].runs) for host in hosts] == [False, True], run.output


@first
@core
def test_playbook_refuses_the_free_strategy(account: StandIn, project: Attacked) -> None:
    project.declare(["gpu-1", "gpu-2"])
    for host in ("gpu-1", "gpu-2"):
        account.sell(host)
    project.environment["ANSIBLE_STRATEGY"] = "free"
    run = project.playbook(f"{SUPPLY}.provision")
    assert run.returncode != 0 and not account.purchases, run.output
    assert "strategy" in failures(run, "gpu-1") + failures(run, "gpu-2"), run.output
    assert not yaml.safe_load(project.all_registry_texts or "{}")
