# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What messages say to who sits in front of AWX."""

from __future__ import annotations

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import messages, naming, purchase_messages
from ansible_collections.compute_index.supply.plugins.module_utils._provision.forms import (
    APPROVED,
    by_names,
    in_awx,
    shown,
)

from provision_samples import machine

FOUND = [{**machine(1), "resource_id": "r-1"}]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (messages.end_first("gpu-1"), "End it with GPU decommission, 'Machines to end': gpu-1; then launch again for"),
        (
            messages.lost("gpu-1", ["a", "b"], "404."),
            "GPU decommission, 'Machines to end': gpu-1, 'Ids that are gone for certain': a,b.",
        ),
        (
            messages.unclaimed("gpu-1", "gpu-1", FOUND),
            "end it by its id: GPU end by id, 'Id of the machine': r-1, or run GPU provision with"
            " 'Take machines that have these names': yes.",
        ),
        (
            messages.above_total(5.0, 0, 4.0, 1),
            "'USD per hour for all machines, at the most' is USD 4.00 per hour.",
        ),
        (
            messages.too_dear("x", 5.0, messages.ceiling_of(4.0)),
            "not within 'USD per hour for one machine, at the most' (USD 4.00 per hour).",
        ),
        (messages.no_match("none"), "No offer matches what was asked for. Ask for less (region, vendor,"),
        (
            naming.objection([naming.Part("gpu-*", ("gpu-1", "gpu-2"))], ["gpu-1", "gpu-2"], None, "", True),
            "'Machines to end': 'gpu-*' means 2 hosts (gpu-1, gpu-2), and nobody has said how many that shall be."
            " If all of them shall end, give 'How many machines': 2.",
        ),
        (naming.objection([], [], None), "for example, 'Machines to end': gpu-1,gpu-2."),
        (purchase_messages.refusal("auth"), "Check the token in the API's credential."),
        (purchase_messages.AGAIN, "Launch the same again later:"),
        (
            messages.namesake("gpu-1", "gpu-1", FOUND),
            "or a provision_project. Among the variables of the inventory in AWX: provision_resource_name,"
            " provision_project.",
        ),
        (
            messages.doubled("gpu-1", 2.0, ["r-2"], FOUND, False),
            "end the later one: GPU end by id, 'Id of the machine': r-1",
        ),
        (messages.may_be_bought_by(FOUND[0], ["gpu-1"]), "Run GPU settle, and then the same again."),
        (messages.owned_by(FOUND[0], ["a", "b"]), "To end it: GPU decommission, 'Machines to end': a,b."),
        (messages.project_unswept("blue"), "enforces them. Launch GPU reap in the organization of that project."),
        (messages.project_not_counted("blue"), "registry. GPU spend of its organization counts it."),
        (
            next(naming.elsewhere(["a"], ["a of project blue"])),
            "knows a of project blue: ask the organization of that project.",
        ),
        (
            "Over, by their names alone: a. -e reap_by_name=true ends them.",
            "reap_by_name: true ends them. Among the variables of the inventory in AWX: reap_by_name.",
        ),
    ],
)
def test_a_survey_has_questions_and_a_job_is_launched(text: str, part: str) -> None:
    assert part in in_awx(text)
    assert in_awx(in_awx(text)) == in_awx(text)


def test_an_order_has_names_of_its_own() -> None:
    names = {"provision_spec": "the order", "provision_max_bill": "order_max_bill"}
    assert by_names(messages.no_match("none"), names).startswith("No offer matches the order. Ask for less (region,")
    assert by_names("provision_max_bill, provision_max_bills, xprovision_spec", names) == (
        "order_max_bill, provision_max_bills, xprovision_spec"
    )


def test_data_stay_what_they_are() -> None:
    told, data = "Run again.", {"name": "provision_spec", "path": "/a/provision_spec"}
    result = {"plans": [{"refusal": told, "offer": data, "attempts": [{"msg": told}]}], "refusals": {told: told}}
    launched = "Launch again."
    assert shown(result, in_awx) == {
        "plans": [{"refusal": launched, "offer": data, "attempts": [{"msg": launched}]}],
        "refusals": {told: launched},
    }


def test_more_time_is_asked_for_without_a_bill() -> None:
    told = in_awx(messages.too_dear_in_all("gpu-1", "2026-12-01", 30.0, 20.0))
    assert "A larger provision_max_bill of the host allows more." in told
    assert told.endswith("Among the variables of the inventory in AWX: provision_max_bill.")


def test_what_was_approved_is_asked_for_by_no_survey() -> None:
    told = messages.too_dear("x", 2.01, messages.ceiling_of(2.0))
    assert "not within the price that was approved (USD 2.00 per hour)" in in_awx(told, APPROVED)
    assert in_awx(in_awx(told, APPROVED), APPROVED) == in_awx(told, APPROVED)
    assert "Among the variables" not in in_awx("Remove provision_offer_id.", APPROVED)
