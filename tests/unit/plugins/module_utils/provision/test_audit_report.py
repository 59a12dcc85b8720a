# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an audit shows, that its lines fit, and why it fails."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.audit_report import lines, trouble
from ansible_collections.compute_index.supply.plugins.module_utils._provision.auditing import Audit, audit
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import OwnershipClaim
from ansible_collections.compute_index.supply.plugins.module_utils._wording import LINE

from provision_samples import machine, machine_id, offer_id

NOW = 1_800_000_000.0
X, M = offer_id(1), machine_id(1)
OWNER = OwnershipClaim("gpu-1", "gpu-1", X, frozenset({M}), bought=True)
RIVAL = OwnershipClaim("gpu-2", "gpu-2", X, frozenset({M}), bought=True)
OTHER = OwnershipClaim("gpu-1", "gpu-1", offer_id(2), frozenset({machine_id(2)}), bought=True)


def found(claims: list[OwnershipClaim], name: str = "gpu-1", **fields: Any) -> Audit:
    """The audit of an account with one machine."""
    return audit([machine(1, name, X, **fields)], claims, {"gpu-1"}, NOW)


@pytest.mark.parametrize(
    ("claims", "fails_on_orphans", "words"),
    [
        ([OWNER], True, ""),
        ([], False, ""),
        ([], True, f"1 machine(s) that no host claims cost USD 2.00 per hour: {M}. End each by its id"),
        ([OWNER, RIVAL], False, f"1 machine(s) are contested: {M} (gpu-1, gpu-2: several hosts claim it)."),
        (
            [OTHER],
            False,
            f"1 machine(s) have the name of a host that owns another one: {M} (gpu-1, USD 2.00",
        ),
    ],
)
def test_why_an_audit_fails(claims: list[OwnershipClaim], fails_on_orphans: bool, words: str) -> None:
    text = trouble(found(claims), fail_on_orphans=fails_on_orphans)
    assert text.startswith(words) and bool(text) is bool(words)


@pytest.mark.parametrize(
    ("claims", "title", "total"),
    [
        ([OWNER], "CLAIMED by a host of the inventory (running)", "2.00 claimed = 2.00"),
        ([], "ORPHANS: billed, and no host claims them (running)", "0.00 claimed + 2.00 orphans = 2.00"),
        ([OWNER, RIVAL], "CONTESTED: several hosts claim it, so you must decide (running)", "2.00 claimed = 2.00"),
    ],
)
def test_each_machine_has_a_section(claims: list[OwnershipClaim], title: str, total: str) -> None:
    report = lines(found(claims, "gpu-1" if claims else "a-very-long-name-of-a-machine"), [])
    assert title in report and any(M in line for line in report)
    assert max(map(len, report)) <= LINE
    assert report[-1].startswith("USD per hour: ") and total.split(" = ")[0] in report[-1]


def test_the_leases_that_end_first_come_first() -> None:
    leases = [(f"2027-01-{day:02d} 08:00 UTC", f"gpu-{day}", 16.0) for day in range(1, 13)]
    report = lines(Audit(), leases)
    assert report[0] == "LEASES, what ends first" and "and 2 more" in report
    assert [line for line in report if line.startswith("gpu-1 ")] and not [line for line in report if "gpu-12" in line]
