# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that mean a variable of the collection, but are none: what they say would not be heard.

This module util is private to the collection.
"""

from __future__ import annotations

import typing as t

from .._wording import nearest

# What the playbooks take beside the role's variables; a test compares them with their guide, and with AWX's surveys.
PLAYBOOKS = frozenset(
    {
        *("order_names", "order_gpu_type", "order_gpu_count", "order_contract_type", "order_region", "order_lease"),
        *("order_max_price_per_hour", "order_max_total_price_per_hour", "order_max_bill"),
        *("audit_names", "audit_fail_on_orphans", "audit_settle", "spend_since"),
        *("probe_buy", "probe_max_usd", "probe_recording", "probe_wrong_token"),
        *("decommission_hosts", "decommission_count", "decommission_resource_name", "decommission_resource_id"),
        *("decommission_forget", "decommission_force", "decommission_wait_timeout"),
        *("extend_hosts", "extend_by", "extend_until", "extend_count"),
        *("reap_before_end", "reap_before_end_timeout", "reap_grace", "reap_by_name"),
    }
)
# An unknown name that begins so would limit nothing.
_CEILINGS = "order_max_"


def slips(unknown: t.Iterable[str], own: t.Iterable[str], what: str, is_ceiling: t.Callable[[str], bool]) -> list[str]:
    """A sentence for each unknown name that is at most two edits away from one of ``own``, or would be a ceiling.

    ``what`` has the variables ``own``, in a word.
    """
    found, known = [], sorted(own)
    for name in sorted(unknown):
        if meant := nearest(name, known):
            found.append(f"{name} is no variable of this {what}. Is {meant} meant?")
        elif is_ceiling(name):
            found.append(f"{name} is no variable of this {what}, so it would limit nothing. Is the name right?")
    return found


def slips_of_playbook(extra: t.Iterable[str], playbook: str) -> list[str]:
    """The same for extra variables. ``playbook``: what its own begin with, such as ``order_``."""
    own = {name for name in PLAYBOOKS if name.startswith(playbook)}

    def is_ceiling(name: str) -> bool:
        return _CEILINGS.startswith(playbook) and name.startswith(_CEILINGS)

    return slips(set(extra) - PLAYBOOKS, own, "collection", is_ceiling)
