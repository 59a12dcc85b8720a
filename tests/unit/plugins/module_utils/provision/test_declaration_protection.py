# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Protection of machines: the host's own variable decides, else the registry."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import declaration
from ansible_collections.compute_index.supply.plugins.module_utils._provision.declaration import Declaration
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import Clock, TimeLimit
from hypothesis import given
from hypothesis import strategies as st

SINCE = "2026-12-01T06:00:00Z"
OWNED = Entry(offer_id="o", resource_ids=("r",))
NOTED = Entry(offer_id="o", resource_ids=("r",), protected_since=SINCE)
ALLOWED = "Set provision_protect: false for it (or -e provision_protect=false) if its machine may end."
DECLARED = f"gpu-1 is protected. {ALLOWED}"
NOTED_SINCE = f"gpu-1 is protected since 2026-12-01 06:00 UTC. {ALLOWED}"


@pytest.mark.parametrize(
    ("value", "declared"),
    [
        *((value, None) for value in (None, "", "  ")),
        *((value, True) for value in (True, "true", " True ", "yes", "on", 1, "1", "y", "T")),
        *((value, False) for value in (False, "false", "No", "off", 0, "0", "n", "F")),
    ],
)
def test_read_switch(value: Any, declared: bool | None) -> None:
    assert declaration.read_switch(value) is declared


@pytest.mark.parametrize("value", ["ture", "maybe", 2, [], {}, "{{ x }}"])
def test_invalid_provision_protect_counts_as_protected(value: Any) -> None:
    with pytest.raises(ValueError, match="must be true or false, not"):
        declaration.read_switch(value)
    assert "gpu-1 counts as protected: provision_protect must be" in declaration.why_protected("gpu-1", value, OWNED)


@pytest.mark.parametrize(
    ("value", "entry", "reason"),
    [
        (None, OWNED, ""),
        ("", OWNED, ""),
        (False, OWNED, ""),
        (True, OWNED, DECLARED),
        ("yes", Entry(), DECLARED),
        pytest.param(None, NOTED, NOTED_SINCE, id="registry alone"),
        pytest.param(True, NOTED, NOTED_SINCE, id="variable and registry"),
        pytest.param(False, NOTED, "", id="variable overrides registry"),
        pytest.param("false", NOTED, "", id="extra variable overrides registry"),
        pytest.param(None, Entry(protected_since="since ever"), DECLARED, id="invalid time in registry"),
    ],
)
def test_variable_decides_before_registry(value: Any, entry: Entry, reason: str) -> None:
    assert declaration.why_protected("gpu-1", value, entry) == reason


@pytest.mark.parametrize(
    ("protects", "entry", "changes"),
    [
        (True, OWNED, {"provision_protected_since": SINCE}),
        (False, OWNED, {}),
        pytest.param(True, NOTED, {}, id="noted before"),
        (False, NOTED, {"provision_protected_since": None}),
        pytest.param(True, Entry(), {}, id="no machine"),
        pytest.param(True, Entry(offer_id="o"), {}, id="purchase under way"),
        pytest.param(True, Entry(resource_ids=("r",), held_by="run 7"), {}, id="another run is buying"),
    ],
)
def test_run_notes_changed_protection_of_its_machine(protects: bool, entry: Entry, changes: dict[str, Any]) -> None:
    assert Declaration("h", "h", protect=protects).changed_protection(entry, 1_796_104_800.0) == changes


def test_purchase_notes_protection_and_idle_limit() -> None:
    clock, since = Clock(1_796_104_800.0), {"provision_protected_since": SINCE}
    assert Declaration("h", "h").noted(clock) == {}
    assert Declaration("h", "h", protect=True).noted(clock) == since
    found = Declaration("h", "h", protect=True, idle_after="2h").noted_of_purchase(clock)
    assert found == {**since, "provision_idles": "2h"}
    leased = Declaration("h", "h", lease=TimeLimit("2h", 7200.0))
    end = {"provision_leased": "2h", "provision_ends_at": "2026-12-01T08:00:00Z", "provision_clock": "here"}
    assert leased.noted(clock) == leased.noted_of_purchase(clock) == end


@given(st.booleans(), st.sampled_from([OWNED, NOTED]))
def test_noted_protection_agrees_with_the_variable(protects: bool, entry: Entry) -> None:
    changed = Declaration("h", "h", protect=protects).changed_protection(entry, 0.0)
    since = changed.get("provision_protected_since", entry.protected_since) or ""
    after = Entry(resource_ids=("r",), protected_since=since)
    assert (
        bool(declaration.why_protected("h", None, after))
        is bool(declaration.why_protected("h", protects, after))
        is protects
    )
