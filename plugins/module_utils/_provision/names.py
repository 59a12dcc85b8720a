# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that mean a variable of the collection, but are none: what they say would not be heard."""

from __future__ import annotations

import functools
import re
import typing as t

from .._wording import nearest

# The variables of the role's users; a test compares them with the role's argument specs.
VARIABLES = frozenset(
    {
        *("provision_spec", "provision_offer_id", "provision_max_price_per_hour", "provision_max_total_price_per_hour"),
        *("provision_max_attempts", "provision_all_or_nothing", "provision_adopt", "provision_project"),
        *("provision_ssh_public_key", "provision_ssh_public_key_file", "provision_resource_name"),
        *("provision_cluster_name", "provision_cloud_init_template", "provision_cloud_init", "provision_hostname"),
        *("provision_timezone", "provision_packages", "provision_users", "provision_files", "provision_mounts"),
        *("provision_commands", "provision_docker", "provision_nvidia_container_toolkit", "provision_poll_delay"),
        *("provision_poll_retries", "provision_registry_dir", "provision_reach", "provision_boot_timeout"),
        *("provision_max_account_price_per_hour", "provision_budget"),
        *("provision_host_key_trust", "provision_verify", "provision_on_failure", "provision_registry_url"),
        *("provision_lease", "provision_lease_max", "provision_lease_unswept", "provision_max_bill"),
        *("provision_idle_after", "provision_idle_gpu_percent", "provision_spec_order"),
        *("provision_wait", "provision_wait_delay", "provision_protect", "provision_storage_on_end"),
    }
)

# What the playbooks take beside the role's variables; a test compares them with their guide, and with AWX's surveys.
PLAYBOOKS = frozenset(
    {
        *("order_names", "order_gpu_type", "order_gpu_count", "order_contract_type", "order_region", "order_lease"),
        *("order_max_price_per_hour", "order_max_total_price_per_hour", "order_max_bill", "order_adopt"),
        *("audit_names", "audit_fail_on_orphans", "audit_settle", "spend_since"),
        *("probe_buy", "probe_max_usd", "probe_recording", "probe_wrong_token"),
        *("decommission_hosts", "decommission_count", "decommission_resource_name", "decommission_resource_id"),
        *("decommission_forget", "decommission_forget_ids", "decommission_force", "decommission_wait_timeout"),
        "decommission_storage",
        *("extend_hosts", "extend_by", "extend_until", "extend_count"),
        *("end_resource_id", "end_reason"),
        *("reap_before_end", "reap_before_end_timeout", "reap_grace", "reap_by_name"),
    }
)
# Unknown names that begin so would limit nothing.
_ORDERED_CEILINGS = "order_max_"
_CEILINGS = "provision_max_"
_PREFIX = "provision_"
_LETTERS = frozenset(_PREFIX)
# Other words that are two edits away from that: variables of somebody else's may begin so.
_WORDS = ("provisioned_", "provisioner_", "provisional_", "revision_")
# What those variables have in their names that limit what is spent, of which even these words are taken for slips.
_LIMITS = ("max_", "price", "budget", "lease", "idle")
# The playbooks' variables that begin as the role's do are meant where the beginning is wrong.
_OF_PLAYBOOKS = frozenset({"provision_hosts", "provision_group"})
_MEANT = sorted(VARIABLES | _OF_PLAYBOOKS)

Meaning = t.Callable[[str], t.Optional[str]]


@functools.lru_cache(maxsize=4096)
def of_role(name: str) -> bool:
    """Whether a name begins as the role's variables do, or, whatever its beginning, may be a slip of one.

    Hosts have hundreds of variables, mostly the same ones, so it must cost little: two edits take at most two letters
    of ``provision_`` away, and move the others by two places at most.
    """
    if _written_oddly(name):
        return True
    if name.startswith(_PREFIX):
        return not name.startswith(f"{_PREFIX}_")  # which is the role's own business
    if len(_LETTERS.difference(name[: len(_PREFIX) + 2])) > 2 or not _begins_near(name, _PREFIX):
        return False
    return bool(_meant(name)) or _begins_as_ceiling(name)


def _written_oddly(name: str) -> str | None:
    """The role's variable that a name is but for capitals and for lines beneath: more than two of them are a slip."""
    plain = re.sub("_+", "_", name.lower().replace("-", "_"))
    return plain if plain in VARIABLES and plain != name else None


def _meant(name: str) -> str | None:
    """The role's variable that is meant by an unknown name of any beginning."""
    if odd := _written_oddly(name):
        return odd
    if name.startswith(_PREFIX):
        return nearest(name, sorted(VARIABLES))
    meant = nearest(name, _MEANT)
    is_word = name.startswith(_WORDS) and not any(limit in (meant or "") for limit in _LIMITS)
    return None if is_word else meant


def _begins_as_ceiling(name: str) -> bool:
    """Whether a name that begins near the role's may be a slip of one that is a ceiling."""
    return ("price" in name or _begins_near(name, _CEILINGS)) and not name.startswith(_WORDS)


def _begins_near(name: str, beginning: str) -> bool:
    """Whether a name begins like that, but for two edits."""
    return any(nearest(name[: len(beginning) + more], [beginning]) for more in range(-2, 3))


def slips(unknown: t.Iterable[str], what: str, meaning: Meaning, is_ceiling: t.Callable[[str], bool]) -> list[str]:
    """A sentence for each unknown name that by its ``meaning`` is a slip of a variable, or would be a ceiling.

    ``what`` has the variables, in a word.
    """
    sentences = []
    for name in sorted(unknown):
        if meant := meaning(name):
            sentences.append(f"{name} is no variable of this {what}. Is {meant} meant?")
        elif is_ceiling(name):
            sentences.append(f"{name} is no variable of this {what}, so it would limit nothing. Is the name right?")
    return sentences


def slips_of_role(unknown: t.Iterable[str]) -> list[str]:
    """The same for names that are `of_role`, and none of its variables."""

    def is_ceiling(name: str) -> bool:
        return name.startswith(_CEILINGS) or "price" in name or not name.startswith(_PREFIX)

    return slips(unknown, "role", _meant, is_ceiling)


def slips_of_playbook(extra: t.Iterable[str], playbook: str) -> list[str]:
    """The same for extra variables. ``playbook``: what its own begin with, such as ``order_``."""
    own = sorted(name for name in PLAYBOOKS if name.startswith(playbook))

    def is_ceiling(name: str) -> bool:
        return _ORDERED_CEILINGS.startswith(playbook) and name.startswith(_ORDERED_CEILINGS)

    return slips(set(extra) - PLAYBOOKS, "collection", functools.partial(nearest, known=own), is_ceiling)
