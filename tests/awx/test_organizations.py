# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two organizations on one account, each with a project of its own: neither reaches the other's machines."""

from __future__ import annotations

import re
from typing import Any

import postgresql
from conftest import Controller, Job, MakeController
from simulator import Offer

ORDER = {"order_names": "gpu-1", "order_gpu_type": "H100", "order_max_price_per_hour": 4, "order_lease": "8h"}


def successful(job: Job) -> Job:
    """The job, which must have ended well."""
    assert job.status == "successful", job.output
    return job


def billed(controller: Controller) -> list[str]:
    """The names of the machines that are billed."""
    return sorted(controller.simulator.resources[each].name for each in controller.simulator.billed)


def noted(controller: Controller) -> list[str]:
    """The machines that were configured."""
    return sorted(
        str(controller.simulator.resources[each].name)
        for each in controller.simulator.billed
        if (controller.simulator.home(each) / "compute_index_supply.json").exists()
    )


def test_organizations_share_a_registry_and_no_machine(make_controller: MakeController, registry: str) -> None:
    red, blue = make_controller("red", "blue")
    for team in (red, blue):
        team.credential["COMPUTE_INDEX_REGISTRY_URL"] = registry
        successful(team.launch("GPU provision", ORDER))
    # The same host name in two projects is two machines.
    assert billed(red) == ["blue-gpu-1", "red-gpu-1"]

    successful(blue.launch("GPU configure", {"order_names": "gpu-1"}))
    assert noted(blue) == ["blue-gpu-1"]

    # It can end, sweep and give time to its own, and nothing else: gpu-1 is none of red's once red's has ended.
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

    # Each ceiling and each sweep is the project's; what no other sweep looks after is said.
    postgresql.age(registry, 9)
    swept = red.run("GPU reap", {"awx_job_id": 7})
    assert swept.artifacts["reap"]["over"] == [] and billed(red) == ["blue-gpu-1"]
    assert swept.status == "failed" and "Sweep it as well: -e provision_project=" in swept.text
    successful(blue.launch("GPU reap"))
    assert billed(red) == []
    successful(red.launch("GPU reap"))


def test_organizations_without_a_registry_are_apart_by_the_names_of_machines(make_controller: MakeController) -> None:
    red, blue = make_controller("red", "blue")
    order: dict[str, Any] = {key: value for key, value in ORDER.items() if key != "order_lease"}
    for team in (red, blue):
        successful(team.launch("GPU provision", order))
    assert billed(red) == ["blue-gpu-1", "red-gpu-1"]
    configured = successful(blue.launch("GPU configure", {"order_names": "gpu-1"}))
    assert noted(blue) == ["blue-gpu-1"] and "red-" not in configured.output
    audit = successful(red.launch("GPU audit", {"audit_names": "gpu-1"}))
    assert [row["name"] for row in audit.artifacts["audit"]["claimed"]] == ["red-gpu-1"]
    successful(red.launch("GPU decommission", {"decommission_hosts": "gpu-1"}))
    assert billed(red) == ["blue-gpu-1"]
    assert red.launch("GPU decommission", {"decommission_hosts": "gpu-1"}).status == "failed"
    assert billed(red) == ["blue-gpu-1"]


def test_a_machine_ends_by_its_id_only_if_no_organization_owns_it(
    make_controller: MakeController, registry: str
) -> None:
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
    unsaid = red.run("GPU end by id", {"end_resource_id": orphan, **why, "end_reason": ""})
    assert unsaid.status == "failed" and "end_reason" in unsaid.text, unsaid.text
    red.run("GPU end by id", {"end_resource_id": "blue-gpu-1", **why})
    assert {*red.simulator.billed} == {owned, orphan}

    ended = successful(red.run("GPU end by id", {"end_resource_id": orphan, **why}))
    assert "No host owns it. It ends for eve: left by a test" in ended.text
    assert (ended.artifacts["ended"]["resource_id"], ended.artifacts["ended"]["by"]) == (orphan, "eve")
    assert red.simulator.billed == [owned]


def test_an_order_names_no_other_host_of_its_organization(make_controller: MakeController, registry: str) -> None:
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


def test_what_was_spent_and_what_is_settled_have_templates(make_controller: MakeController, registry: str) -> None:
    (red,) = make_controller("red")
    red.credential["COMPUTE_INDEX_REGISTRY_URL"] = registry
    successful(red.launch("GPU provision", ORDER))
    spend = successful(red.launch("GPU spend", {"spend_since": "1d"}))
    assert "USD in total:" in spend.text
    header, row, _end = spend.artifacts["spend_csv"].split("\n")
    assert header.startswith("project,host,groups,begin") and row.startswith("red,gpu-1,")
    settled = successful(red.launch("GPU settle"))
    assert "CLAIMED" in settled.text and len(red.simulator.billed) == 1
