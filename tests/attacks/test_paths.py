# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry is found again, however its folder or the machine's name is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from attack import SPEC, Attacked, Cases, core, failed, failures
from project import extra
from standin import StandIn

first = pytest.mark.first

SYSTEM = Path("/etc/ansible/host_vars")


@first
@core
def test_odd_registry_folders_and_numeric_names_buy_and_end_once(account: StandIn, project: Attacked) -> None:
    # Hosts without a registry whose names look like numbers, and hosts with odd registry folders whose machines' names
    # the API does not keep
    by_name: dict[str, Any] = {host: {"provision_registry_dir": ""} for host in ("101", "1e3", "0x1f", "1_000")}
    by_name["seven"] = {"provision_registry_dir": "", "provision_resource_name": 7}
    by_file: dict[str, Any] = {
        "tilde": {"provision_registry_dir": "~/tilde"},
        "variable": {"provision_registry_dir": "$HOME/variable"},
        "relative": {"provision_registry_dir": "some/where"},
    }
    hosts = {
        host: {**own, "provision_spec": {**SPEC, "vendor": f"v-{host}"}} for host, own in (by_name | by_file).items()
    }
    for host in hosts:
        for price in (2.0, 2.5, 3.0):
            account.sell(f"v-{host}", price, keeps_name=host in by_name)
    project.declare(hosts)
    native = {"ANSIBLE_JINJA2_NATIVE": "true"}
    runs = [
        project.run("ansible-playbook", "-i", str(project.inventory), project.play_of(role), **native)
        for role in ("provision", "provision", "decommission")
    ]
    check = Cases()
    for host in hosts:
        bought = [purchase for purchase in account.purchases if purchase.offer.vendor == f"v-{host}"]
        with check(f"{host} is bought once, or refused"):
            assert len(bought) == 1 or (not bought and failed(runs[0], host)), f"bought {len(bought)} times"
            assert not bought or not failed(runs[1], host), failures(runs[1], host)
        with check(f"{host} is ended"):
            assert not any(machine.runs for purchase in bought for machine in purchase.machines)
            assert not bought or not failed(runs[2], host)
    home = project.folder / "home"
    for place in (home / "tilde", home / "variable", project.folder / "some" / "where"):
        with check(str(place)):
            assert place.is_dir(), "the registry is in another folder"
    for host in by_name:
        with check(f"{host} has its name"):
            names = [purchase.name for purchase in account.purchases if purchase.offer.vendor == f"v-{host}"]
            assert set(names) <= {"7" if host == "seven" else host}
    check.judge(*runs)


@contextmanager
def removed_from(folder: Path, group: str) -> Iterator[None]:
    """Afterwards remove files of a registry in the wrong folder, which a user with rights may have written."""
    existing = [each for each in (folder, folder.parent) if each.exists()]
    try:
        yield
    finally:
        for each in folder.glob(f"{group}-*"):
            shutil.rmtree(each)
        for each in (folder, folder.parent):
            if each not in existing and each.exists() and not any(each.iterdir()):
                each.rmdir()


def test_without_an_inventory_the_registry_is_in_the_current_folder(
    account: StandIn, project: Attacked, tmp_path: Path
) -> None:
    group = f"attack{uuid4().hex[:8]}"
    stale = tmp_path / "stale"
    stale.mkdir()
    for number in range(3):
        account.sell("acme", 2.0 + number / 10, keeps_name=False)
    wanted = {
        "provision_group": group,
        "provision_hosts": 2,
        "provision_spec": {**SPEC, "vendor": "acme"},
        "provision_max_price_per_hour": 5,
        "provision_ssh_public_key": project.public_key,
        "provision_reach": False,
        "provision_poll_delay": 1,
    }
    where = {"PWD": str(stale), "ANSIBLE_INVENTORY": "/etc/ansible/hosts"}
    with removed_from(SYSTEM, group):
        first = project.run("ansible-playbook", "compute_index.supply.provision", *extra(wanted), **where)
        check = Cases()
        with check("in the current folder"):
            assert first.returncode == 0, first.output
            for number in (1, 2):
                assert project.owned(f"{group}-{number}")
            assert not any(stale.iterdir())
        ending = {"provision_group": group, "decommission_hosts": group}
        last = project.run("ansible-playbook", "compute_index.supply.decommission", *extra(ending), **where)
    with check("hosts that only the registry knows are ended"):
        assert last.returncode == 0
        assert len(account.purchases) == 2 and not any(machine.runs for machine in account.machines)
    check.judge(first, last)


def test_with_a_list_of_hosts_the_registry_ignores_a_stale_pwd(
    account: StandIn, project: Attacked, tmp_path: Path
) -> None:
    stale = tmp_path / "stale"
    stale.mkdir()
    for price in (2.0, 2.1):
        account.sell("acme", price, keeps_name=False)
    wanted: dict[str, Any] = {
        "provision_spec": {**SPEC, "vendor": "acme"},
        "provision_max_price_per_hour": 5,
        "provision_ssh_public_key": project.public_key,
        "provision_reach": False,
        "provision_poll_delay": 1,
    }
    # The user sets variables of the registry for all hosts; no entry may have them.
    wanted |= {"ansible_host": "192.0.2.7"}
    group_vars = project.folder / "group_vars"
    group_vars.mkdir()
    (group_vars / "all.yml").write_text(json.dumps({"provision_resource_ids": [str(uuid4())]}))
    play = project.play_of("provision", "all")
    runs = [
        project.run("ansible-playbook", "-i", "gpu-1,", play, *extra(wanted), PWD=str(where))
        for where in (stale, project.folder)
    ]
    assert len(account.purchases) == 1, runs[0].output + runs[1].output
    assert project.owned("gpu-1") == account.purchases[0].ids and "192.0.2.7" not in project.registry_text("gpu-1")
    assert not any(stale.iterdir())
    assert runs[1].returncode == 0


@first
@core
@pytest.mark.parametrize("ordered", [True, False])
def test_registry_below_playbook_dir_is_refused(account: StandIn, project: Attacked, ordered: bool) -> None:
    offer = account.sell("gpu-1")
    folder = {"provision_registry_dir": "{{ playbook_dir }}/registry"}
    project.declare({} if ordered else {"gpu-1": {}}, **folder)
    run = project.playbook("compute_index.supply.provision", **({"provision_hosts": "gpu-1"} if ordered else {}))
    assert run.returncode != 0 and offer.purchase is None, run.output
    for playbook in ("reap", "audit", "spend"):
        run = project.playbook(f"compute_index.supply.{playbook}")
        assert run.returncode != 0 and "use inventory_dir" in run.text, run.output
