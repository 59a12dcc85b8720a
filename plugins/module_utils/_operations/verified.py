# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Step of the playbook `verify`: notes the test results of existing machines in the registry. It ends no machine."""

from __future__ import annotations

from .._ansible import steps
from .._ansible.operation import Params, Result
from .._provision import acceptance
from ._registries import Registries

BLANK: Result = {"changed": False, "lines": [], "verified": {}, "trouble": ""}


def verified(params: Params, check_mode: bool) -> Result:
    """Return the verdicts by host, also as lines; ``trouble`` names the machines that are not sound."""
    tests = [acceptance.Report.of(row["host"], [row["tested"]], row.get("machines")) for row in params["hosts"]]
    with Registries.of(params, read_only=check_mode) as registries:
        places = registries.places(params)
        noted = [registries.at(places[report.host]).note_test(report) for report in tests]
    reports = [report for report, _trouble in noted]
    return {
        "changed": False,
        "lines": acceptance.verdict_lines(reports),
        "verified": {report.host: report.verdict for report in reports},
        "trouble": acceptance.why_verify_fails(reports),
        "warnings": [*params["troubles"], *filter(None, (trouble for _report, trouble in noted))],
    }


VERIFIED = steps.operation(verified, steps.VERIFIED, BLANK)
