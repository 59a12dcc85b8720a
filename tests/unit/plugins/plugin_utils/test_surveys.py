# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a task's messages are put in the words of a survey for."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.plugin_utils._surveys import in_its_words

SAID = {"msg": "Run the same again.", "cloud_init": {"detail": "Run the same again."}}
JOB = {"awx_job_id": 7}


@pytest.mark.parametrize(
    ("variables", "surveyed", "msg"),
    [
        ({}, True, "Run the same again."),
        ({"order_names": "1"}, False, "Run the same again."),
        (JOB, False, "Run the same again."),
        (JOB, True, "Launch the same again."),
        ({**JOB, "order_names": "1"}, False, "Launch the same again."),
        ({**JOB, "decommission_hosts": "gpu-1"}, False, "Launch the same again."),
    ],
)
def test_words_are_those_of_the_survey_that_started_the_job(
    variables: dict[str, Any], surveyed: bool, msg: str
) -> None:
    # What a machine has printed is nobody's message.
    assert in_its_words(SAID, variables, surveyed) == {**SAID, "msg": msg}
