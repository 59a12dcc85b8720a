# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An ordinary purchase needs nothing of what is on no page of the API: histories, kept names, ids in an answer."""

from __future__ import annotations

import pytest

from conftest import PROCURE, MakeProject
from plays import impatient

# Where the ids of the machines are found: in the answer to the purchase, in the status, or only in the list.
IDS = {
    "answer": {},
    "status": {"procure_returns_ids": False},
    "list": {"procure_returns_ids": False, "status_resources": None},
}
HISTORIES = ("primary", "other_words", "missing")
# Each two of them together, and the hardest three: a machine that only the list has, without history and name.
COMBINATIONS = [(history, (x + y) % 2 == 1, ids) for x, history in enumerate(HISTORIES) for y, ids in enumerate(IDS)]


@pytest.mark.parametrize(("history", "keeps_name", "ids"), COMBINATIONS)
def test_an_ordinary_purchase(make_project: MakeProject, history: str, keeps_name: bool, ids: str) -> None:
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
