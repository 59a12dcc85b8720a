# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two organizations share an account, each with its own project. Neither reaches the other's machines."""

from __future__ import annotations

import re
from typing import Any

import postgresql
from conftest import Controller, Job, MakeController
from simulator import Offer

ORDER = {"order_names": "gpu-1", "order_gpu_type": "H100", "order_max_price_per_hour": 4, "order_lease": "8h"}


def successful(job: Job) -> Job:
    """Return the job, which must have succeeded."""
    assert job.status == "successful", job.output
    return job


def billed(controller: Controller) -> list[str]:
    """The names of billed machines."""
    return sorted(controller.simulator.resources[each].name for each in controller.simulator.billed)


def configured_machines(controller: Controller) -> list[str]:
    """The names of configured machines."""
    return sorted(
        str(controller.simulator.resources[each].name)
        for each in controller.simulator.billed
        if (controller.simulator.home(each) / "compute_index_supply.json").exists()
    )


def test_organizations_with_one_registry_share_no_machine(make_controller: MakeController, registry: str) -> None:
    red, blue = make_controller("red", "blue")
    for team in (red, blue):
        team.credential["COMPUTE_INDEX_REGISTRY_URL"] = registry
        successful(team.launch("GPU provision", ORDER))
    # The same host name in two projects is two machines.
    assert billed(red) == ["blue-gpu-1", "red-gpu-1"]

    successful(blue.launch("GPU configure", {"order_names": "gpu-1"}))
    assert configured_machines(blue) == ["blue-gpu-1"]

    # An organization can end, sweep and extend only its own: once red's gpu-1 has ended, red has no gpu-1.
    successful(red.launch("GPU decommission", {"decommission_hosts": "gpu-1"}))
    assert billed(red) == ["blue-gpu-1"]
    for name, answers in (
        ("GPU decommission", {"decommission_hosts": "gpu-1"}),
        ("GPU decommission", {"decommission_hosts": "blue-gpu-1"}),
        ("GPU configure", {"order_names": "gpu-1"}),
        ("GPU extend", {"extend_hosts": "gpu-1", "extend_by": "4h"}),
    ):
        assert red.launch(name, answers).status == "failed"
    assert billed(red) == ["blue-gpu-1"]

    # A sweep covers its own project, and names a project that no sweep covers.
    postgresql.age(registry, 9)
    swept = red.run("GPU reap", {"awx_job_id": 7})
    assert swept.artifacts["reap"]["over"] == [] and billed(red) == ["blue-gpu-1"]
    assert swept.status == "failed" and "Sweep it as well: -e provision_project=" in swept.text
    successful(blue.launch("GPU reap"))
    assert billed(red) == []
    successful(red.launch("GPU reap"))


def test_machine_names_separate_organizations_without_a_registry(make_controller: MakeController) -> None:
    red, blue = make_controller("red", "blue")
    order: dict[str, Any] = {key: value for key, value in ORDER.items() if key != "order_lease"}
    for team in (red, blue):
        successful(team.launch("GPU provision", order))
    assert billed(red) == ["blue-gpu-1", "red-gpu-1"]
    job = successful(blue.launch("GPU configure", {"order_names": "gpu-1"}))
    assert configured_machines(blue) == ["blue-gpu-1"] and "red-" not in job.output
    audit = successful(red.launch("GPU audit", {"audit_names": "gpu-1"}))
    assert [row["name"] for row in audit.artifacts["audit"]["claimed"]] == ["red-gpu-1"]
    successful(red.launch("GPU decommission", {"decommission_hosts": "gpu-1"}))
    assert billed(red) == ["blue-gpu-1"]
    assert red.launch("GPU decommission", {"decommission_hosts": "gpu-1"}).status == "failed"
    assert billed(red) == ["blue-gpu-1"]


def test_machine_ends_by_id_only_if_no_organization_owns_it(make_controller: MakeController, registry: str) -> None:
    red, blue = make_controller("red", "blue")
    red.simulator.populate(1, gpu_price_per_hour=2.5)
    (orphan,) = red.simulator.billed
    for team in (red, blue):
        team.credential["COMPUTE_INDEX_REGISTRY_URL"] = registry
    successful(blue.launch("GPU provision", ORDER))
    (owned,) = {*red.simulator.billed} - {orphan}
    why = {"end_reason": "left by a test", "awx_user_name": "eve", "awx_job_id": 7}

    refused = red.run("GPU end by id", {"end_resource_id": owned, **why})
    assert refused.status == "failed" and "is owned by gpu-1 of project blue, says the registry." in refused.text
    own = blue.run("GPU end by id", {"end_resource_id": owned, **why})
    assert own.status == "failed" and "To end all that the host has: compute_index.supply.decommission" in own.text
    unexplained = red.run("GPU end by id", {"end_resource_id": orphan, **why, "end_reason": ""})
    assert unexplained.status == "failed" and "end_reason" in unexplained.text, unexplained.text
    red.run("GPU end by id", {"end_resource_id": "blue-gpu-1", **why})
    assert {*red.simulator.billed} == {owned, orphan}

    ended = successful(red.run("GPU end by id", {"end_resource_id": orphan, **why}))
    assert "No host known here owns it. It ends for eve: left by a test" in ended.text
    assert (ended.artifacts["ended"]["resource_id"], ended.artifacts["ended"]["by"]) == (orphan, "eve")
    assert red.simulator.billed == [owned]


def test_output_of_an_order_names_only_its_hosts(make_controller: MakeController, registry: str) -> None:
    (red,) = make_controller("red", offers=[Offer() for _each in range(6)])
    red.credential["COMPUTE_INDEX_REGISTRY_URL"] = registry
    successful(red.launch("GPU provision", {**ORDER, "order_names": "gpu-[1:3]"}))
    for name in ("GPU quote", "GPU provision (check)", "GPU provision", "GPU configure"):
        survey = red.surveys[red.templates[name]["survey"]]["spec"]
        answers = {**ORDER, "order_names": "b-1"}
        known = {each["variable"] for each in survey} & set(answers)
        job = successful(red.launch(name, {key: answers[key] for key in known}))
        assert not re.search("gpu-[0-9]", job.output), job.output
        assert len(job.output.splitlines()) <= 62, job.output
    assert billed(red) == ["red-b-1", "red-gpu-1", "red-gpu-2", "red-gpu-3"]


def test_templates_for_spend_and_settle(make_controller: MakeController, registry: str) -> None:
    (red,) = make_controller("red")
    red.credential["COMPUTE_INDEX_REGISTRY_URL"] = registry
    successful(red.launch("GPU provision", ORDER))
    spend = successful(red.launch("GPU spend", {"spend_since": "1d"}))
    assert "USD in total:" in spend.text
    header, row, _end = spend.artifacts["spend_csv"].split("\n")
    assert header.startswith("project,host,groups,begin") and row.startswith("red,gpu-1,")
    settled = successful(red.launch("GPU settle"))
    assert "CLAIMED" in settled.text and len(red.simulator.billed) == 1
