# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An ordinary purchase needs nothing that the API does not document: histories, kept names, ids in an answer."""

from __future__ import annotations

import pytest

from conftest import PROCURE, MakeProject
from plays import impatient

# The source of the machine's ids: the answer to the purchase, the status, or only the list
IDS = {
    "answer": {},
    "status": {"procure_returns_ids": False},
    "list": {"procure_returns_ids": False, "status_resources": None},
}
HISTORIES = ("primary", "other_words", "missing")
# Every pair of values, and the hardest combination: only the list has the machine, without history and name
COMBINATIONS = [(history, (x + y) % 2 == 1, ids) for x, history in enumerate(HISTORIES) for y, ids in enumerate(IDS)]


@pytest.mark.parametrize(("history", "keeps_name", "ids"), COMBINATIONS)
def test_ordinary_purchase_needs_no_undocumented_fields(
    make_project: MakeProject, history: str, keeps_name: bool, ids: str
) -> None:
    project = make_project(provision_seconds=0, offer_history=history, keeps_name=keeps_name, **IDS[ids])
    bought = impatient(project)
    assert bought.returncode == 0, bought.output
    (resource_id,) = project.simulator.billed
    entry = project.registry("gpu-1")
    assert entry is not None
    assert entry["provision_resource_ids"] == [resource_id]

    again = impatient(project)
    assert (again.returncode, again.changed) == (0, 0), again.output
    assert project.requests(*PROCURE) == 1 and project.registry("gpu-1") == entry

    ended = project.play("compute_index.supply.decommission", "-e", "decommission_hosts=gpu-1")
    assert ended.returncode == 0, ended.output
    assert (project.simulator.billed, project.registry("gpu-1")) == ([], None)
