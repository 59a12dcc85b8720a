# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of machines: a bad machine leaves evidence, and is replaced if the user allows it."""

from __future__ import annotations

import json
import shlex
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from conftest import MakeProject
from gpu_records import H100, Machine
from limits import HANGS, until
from plays import kill, write_impatient
from simulator import Offer, Settings
from simulator.instances import NO_PROGRAMS, RESTART, Programs, SshBackend
from simulator.market import Address
from test_guides import ROOT, blocks, commands, missing

PLAYBOOKS = ROOT / "docs" / "playbooks.md"


class Equipped(SshBackend):
    """Machines with programs for their GPUs; the first ``without`` machines have none.

    ``programs``: by name, their shell scripts.
    """

    def __init__(self, without: int, programs: dict[str, str]) -> None:
        super().__init__(Settings(runs_user_data=True))
        self.without, self.programs = without, programs

    async def start(
        self, resource_id: str, ssh_public_key: str, cloud_init: str | None, programs: Programs = NO_PROGRAMS
    ) -> Address:
        scripts = {name: f"#!/bin/sh\n{script}\n" for name, script in self.programs.items()}
        image = NO_PROGRAMS if self.without else scripts
        self.without = max(self.without - 1, 0)
        return await super().start(resource_id, ssh_public_key, cloud_init, image)


def prints(text: str) -> str:
    return f"cat <<'END'\n{text}\nEND"


WELL = Machine(H100, 1, 1)
PROGRAMS = {
    "nvidia-smi": f'[ "$1" = -q ] || exit 0\n{prints(WELL.smi())}',
    "dcgmi": prints(WELL.dcgmi()),
    "journalctl": prints(WELL.kernel_log()),
    "gpu_burn": prints(WELL.gpu_burn()),
}
BIG = {"vcpu_count": None, "memory_in_gb": None, "boot_disk_in_gb": None}


def evidence_in(folder: Path) -> list[dict[str, Any]]:
    """The evidence in the registry of a project folder."""
    return [json.loads(file.read_text()) for file in sorted(folder.glob("host_vars/.evidence/*.json"))]


def test_connection_lost_during_a_test_is_made_again(make_project: MakeProject) -> None:
    """The controller's network may fail for a moment during a test of an hour."""
    cut = f"[ -e ~/once ] || touch ~/once ~/{RESTART}; {PROGRAMS['nvidia-smi']}"
    project = make_project([Offer(**BIG), Offer(**BIG)], backend=Equipped(0, {**PROGRAMS, "nvidia-smi": cut}))
    run = project.provision(provision_verify="specs", provision_on_failure="release")
    assert run.returncode == 0 and len(project.simulator.purchases) == 1, run.output
    assert (project.registry("gpu-1") or {})["provision_verified"] is True and not evidence_in(project.folder)
    (project.simulator.home(project.simulator.billed[0]) / "once").unlink()
    verified = project.play("compute_index.supply.verify", "-e", "verify_level=specs")
    assert verified.returncode == 0 and '"gpu-1: ok"' in verified.output, verified.output


def test_bad_machine_is_replaced_at_another_place(make_project: MakeProject) -> None:
    offers = [
        Offer(gpu_price_per_hour=2.0, vendor="a", region="EU", **BIG),
        Offer(gpu_price_per_hour=2.1, vendor="a", region="EU", **BIG),
        Offer(gpu_price_per_hour=2.5, vendor="b", region="EU", **BIG),
    ]
    project = make_project(offers, backend=Equipped(1, PROGRAMS))
    run = project.provision(provision_verify="specs", provision_on_failure="release")
    assert run.returncode == 0, run.output
    first, second = project.simulator.purchases
    assert (first.offer, second.offer) == (offers[0], offers[2]), "bought again at the place of the bad machine"
    assert project.simulator.billed == second.resource_ids
    entry = project.registry("gpu-1")
    assert entry is not None and entry["provision_verified"] is True
    assert entry["provision_procured_offer_id"] == offers[2].offer_id
    (evidence,) = evidence_in(project.folder)
    assert (evidence["offer_id"], evidence["verdict"]) == (offers[0].offer_id, "bad")
    assert evidence["resource_ids"] == first.resource_ids

    again = project.provision(provision_verify="specs", provision_on_failure="release")
    assert (again.returncode, again.changed) == (0, 0), again.output


def test_machine_that_passes_a_load_test_is_kept(make_project: MakeProject) -> None:
    offers = [Offer(gpu_price_per_hour=2.0, **BIG)]
    project = make_project(offers, backend=Equipped(0, PROGRAMS))
    run = project.provision(provision_verify="load", provision_on_failure="release")
    assert run.returncode == 0, run.output
    assert len(project.simulator.billed) == 1 and not evidence_in(project.folder)

    # The playbook tests running machines, as the guide describes, and ends none, even a bad one.
    (block,) = [block for block in blocks(PLAYBOOKS) if "compute_index.supply.verify" in block.text]
    ((command, expected),) = commands(block.text)
    program, _inventory, path, *words = shlex.split(command)
    assert (program, path) == ("ansible-playbook", "inventory")
    tested = project.play(*words)
    assert tested.returncode == 0 and missing(expected, tested.output) is None, tested.output
    programs = project.simulator.home(project.simulator.billed[0]) / "bin"
    for name in ("dcgmi", "gpu_burn"):
        (programs / name).write_text(f"#!/bin/sh\ntouch {project.folder / 'loaded'}\n")
    checked = project.play("compute_index.supply.verify", "--check", "-e", "verify_level=burnin")
    assert checked.returncode == 0 and '"gpu-1: ' in checked.output, checked.output
    assert not (project.folder / "loaded").exists(), "check mode put load on the machine"
    (programs / "nvidia-smi").write_text("#!/bin/sh\nexit 15\n")
    tested = project.play("compute_index.supply.verify", "-e", "verify_level=specs", "-e", "provision_hosts=gpu-1")
    assert tested.returncode == 2 and "gpu-1: bad" in tested.output, tested.output
    assert "Nothing was ended;" in tested.text and len(project.simulator.billed) == 1
    entry = project.registry("gpu-1")
    assert entry is not None and entry["provision_tested"]["verdict"] == "bad"
    for wrong, message in (
        ("verify_hosts=gpu-9", "verify_hosts is not a variable"),
        ("verify_level=lod", "verify_level must be specs, health, load or burnin, not 'lod'. Did you mean load?"),
        ("provision_group=other", "The group 'other' has no hosts"),
        ('{"provision_verify_expect": "{{ driver }}"}', "'driver' is undefined"),
        ('{"provision_verify_expect": {"min_drver": "9"}}', "must be a mapping of min_driver, "),
        ('{"verify_level": ["specs"]}', "verify_level must be specs, "),
    ):
        refused = project.play("compute_index.supply.verify", "-e", wrong)
        assert refused.returncode == 2 and message in refused.text and "gpu-1: ok" not in refused.output, refused.output
        assert "changed: [gpu-1]" not in refused.output, refused.output
    audit = project.play("compute_index.supply.audit")
    assert "TESTED by the playbook verify" in audit.output and "bad: driver: nvidia-smi exits with 15" in audit.text


def test_verify_does_not_wait_for_a_machine_that_ends_meanwhile(make_project: MakeProject) -> None:
    """Ansible itself would wait for longer than the test may take. The other machines are still judged."""
    offers = [Offer(gpu_price_per_hour=price, **BIG) for price in (2.0, 2.1)]
    project = make_project(offers, backend=Equipped(0, PROGRAMS), provision_seconds=0)
    project.declare(["gpu-1", "gpu-2"])
    bought = project.provision()
    assert bought.returncode == 0, bought.output
    (ends,) = (project.registry("gpu-1") or {})["provision_resource_ids"]
    begun = project.simulator.home(ends) / "begun"
    (project.simulator.home(ends) / "bin" / "nvidia-smi").write_text(f"#!/bin/sh\ntouch {begun}\nsleep {HANGS}\n")
    with ThreadPoolExecutor(1) as pool:
        testing = pool.submit(project.play, "compute_index.supply.verify", "-e", "verify_level=specs")
        until(begun.exists)
        ended = project.play("compute_index.supply.decommission", "-e", "decommission_hosts=gpu-1")
        tested = testing.result()
    assert ended.returncode == 0 and project.registry("gpu-1") is None, ended.output
    assert tested.returncode == 0, tested.output
    assert "gpu-1: no machine" in tested.output and "gpu-2: ok" in tested.output


def test_cluster_with_a_bad_machine_is_kept_by_default(make_project: MakeProject) -> None:
    cluster = Offer(gpu_count=2, node_count=2, gpu_price_per_hour=2.0, **BIG)
    project = make_project([cluster], backend=Equipped(1, PROGRAMS))
    project.declare_host("gpu-1", provision_offer_id=cluster.offer_id, provision_max_price_per_hour=9)
    run = project.provision(provision_verify="health", provision_verify_expect={"min_driver": 535})
    assert ": gpu_count: 0 instead of 1 (bad); driver: none that works instead of at least 535 (bad)" in run.text
    assert f"The evidence is in {project.folder}" in run.text
    assert "It is BOUGHT and billed at USD 4.00" in run.failure("gpu-1")
    (evidence,) = evidence_in(project.folder)
    assert sorted(evidence["resource_ids"]) == sorted(project.simulator.billed)
    verdicts = {machine["machine"]: machine["verdict"] == "bad" for machine in evidence["machines"]}
    assert verdicts.keys() == {"gpu-1", "gpu-1-1"} and sorted(verdicts.values()) == [False, True]


def test_machine_of_a_cluster_needs_only_its_share_of_the_gpus(make_project: MakeProject) -> None:
    """Even if the offer's page does not have the number of machines."""
    cluster = Offer(gpu_count=2, node_count=2, gpu_price_per_hour=2.0, **BIG)
    project = make_project([cluster], backend=Equipped(1, PROGRAMS))
    project.declare_host("gpu-1", provision_offer_id=cluster.offer_id, provision_max_price_per_hour=9)
    assert project.provision().returncode == 0
    entry = project.registry("gpu-1")
    assert entry is not None and "node_count" not in entry["provision_offer"]
    run = project.play("compute_index.supply.verify", "-e", "verify_level=specs")
    assert "instead of 2" not in run.text, run.output


@pytest.mark.parametrize("after", ["evidence", "deletion"])
def test_play_killed_between_verdict_and_next_purchase_has_one_machine(make_project: MakeProject, after: str) -> None:
    offers = [Offer(gpu_price_per_hour=2.0, vendor="a", **BIG), Offer(gpu_price_per_hour=2.5, vendor="b", **BIG)]
    project = make_project(offers, backend=Equipped(1, PROGRAMS))
    book = write_impatient(
        project,
        provision_reach=True,
        provision_verify="specs",
        provision_on_failure="release",
        provision_poll_delay=0.2,
    )
    due = {
        "evidence": lambda: bool(evidence_in(project.folder)),
        "deletion": lambda: project.requests("DELETE", "/resources/.*") > 0,
    }[after]
    kill(project, signal.SIGKILL, due, book)
    (evidence,) = evidence_in(project.folder)
    assert evidence["verdict"] == "bad" and len(project.simulator.purchases) == 1

    # A machine that was registered as ready is not released automatically, and keeps its host from buying another.
    run = project.play(book)
    assert len(project.simulator.billed) == 1, run.output
    if run.returncode:
        assert "did not pass its test" in run.failure("gpu-1") and len(project.simulator.purchases) == 1
    else:
        assert project.simulator.billed == project.simulator.purchases[1].resource_ids
