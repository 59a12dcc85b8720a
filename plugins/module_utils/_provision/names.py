# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that mean a variable of the collection, but are none: what they say would not be heard."""

from __future__ import annotations

import functools
import re
import typing as t

from .._wording import nearest
from .acceptance import EVIDENCE
from .entry import AFFECTED, BOOT_MARK, LISTED_BEFORE, MISSING_AT, MISSING_SINCE, ORDERED, PLAN, PROTECTED_SINCE, TESTED
from .lease import AT_MOST, ENDS_AT, IDLES, LEASED, NOTED_BY, REAPED_AT
from .storage import STORAGE, STORAGE_IDS, STORAGE_OF

LOOSE = "_raw_params"  # what `parse_kv` of ansible-core calls the words of -e that belong to no variable

# What the role gives to hosts, the registry keeps, or the playbooks ask for.
OTHERS = frozenset(
    {
        *("provision_procured_offer_id", "provision_resource_ids", "provision_instances", "provision_price_per_hour"),
        *("provision_journaled_at", "provision_purchase", "provision_refused_status", "provision_expired_seen_at"),
        *("provision_adopted", "provision_identity_file", "provision_host_keys", "provision_ssh_trust"),
        *("provision_bootstrap_host_key", "provision_verified", "provision_groups", "provision_offer"),
        *("provision_attempts", "provision_hosts", "provision_group"),
        *(LEASED, ENDS_AT, AT_MOST, IDLES, REAPED_AT, NOTED_BY),
        *(LISTED_BEFORE, MISSING_SINCE, MISSING_AT, PROTECTED_SINCE, STORAGE, STORAGE_IDS, STORAGE_OF, AFFECTED),
        *(ORDERED, BOOT_MARK, EVIDENCE, TESTED, PLAN),
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
        *("decommission_forget", "decommission_force", "decommission_wait_timeout"),
        *("decommission_storage", "offers_spec"),
        *("extend_hosts", "extend_by", "extend_until", "extend_count"),
        *("end_resource_id", "end_reason", "verify_level"),
        *("reap_before_end", "reap_before_end_timeout", "reap_grace", "reap_by_name"),
        *("reap_timer_state", "reap_timer_every", "reap_timer_scheduler"),
        *("run_name", "run_gpu", "run_spec", "run_command", "run_setup", "run_files", "run_exclude", "run_env"),
        *("run_results", "run_results_dir", "run_time", "run_max_bill", "run_keep", "run_follow", "run_log_delay"),
        *("run_fetch_timeout", "run_unswept", "run_again"),
    }
)
# What a play that buys a machine for itself decides on, as probe and run do. Extra variables would beat it.
DECIDED_BY_PLAYS = frozenset(
    {
        *("provision_spec", "provision_spec_order", "provision_offer_id", "provision_max_price_per_hour"),
        *("provision_max_bill", "provision_lease", "provision_max_attempts", "provision_adopt", "provision_wait"),
        *("provision_cluster_name", "provision_protect", "decommission_resource_id", "decommission_forget"),
        "provision_verify",
    }
)
RUN_GROUP = "supply_run"  # of the hosts of runs; the registry notes it with the purchase
# Unknown names that begin so would limit nothing: what an order may cost, and which machine it is for.
_ORDERED = re.compile(r"order_(max|min|vendor|region|gpu|contract|spot|compute|storage|network)s?(_|$)")
_CEILINGS = "provision_max_"
_PREFIX = "provision_"
_LETTERS = frozenset(_PREFIX)
# Other words that are two edits away from that: variables of somebody else's may begin so.
_WORDS = ("provisioned_", "provisioner_", "provisional_", "revision_")
# What those variables have in their names that limit what is spent, of which even these words are taken for slips.
_LIMITS = ("max_", "price", "budget", "lease", "idle")
# The playbooks' variables that begin as the role's do are meant where the beginning is wrong.
_OF_PLAYBOOKS = frozenset({"provision_hosts", "provision_group"})

Meaning = t.Callable[[str], t.Optional[str]]


class RoleNames:
    """The names of the role's variables, and which others mean one of these.

    Hosts have hundreds of variables, mostly the same ones, so each name is looked at once.
    """

    def __init__(self, variables: t.Iterable[str]) -> None:
        """``variables``: those of the role's argument specs."""
        self.variables = frozenset(variables)
        self._by_prefix, self._by_any = sorted(self.variables), sorted(self.variables | _OF_PLAYBOOKS)
        self._concerns: t.Callable[[str], bool] = functools.lru_cache(maxsize=4096)(self._is_near)
        self._meant: Meaning = functools.lru_cache(maxsize=4096)(self._nearest)

    def _is_near(self, name: str) -> bool:
        """Whether a name begins as the role's variables do, or, whatever its beginning, may be a slip of one.

        It must cost little: two edits take at most two letters of ``provision_`` away, and move the others by two
        places at most.
        """
        if self._written_oddly(name):
            return True
        if name.startswith(_PREFIX):
            return not name.startswith(f"{_PREFIX}_")  # which is the role's own business
        if len(_LETTERS.difference(name[: len(_PREFIX) + 2])) > 2 or not _begins_near(name, _PREFIX):
            return False
        return bool(self._meant(name)) or _begins_as_ceiling(name)

    def unknown(self, names: t.Iterable[t.Any]) -> set[str]:
        """Those that concern the role, and are none of its variables. In a file of variables a name may be a number."""
        return {name for name in map(str, names) if self._concerns(name)} - self.variables - OTHERS

    def slips(self, names: t.Iterable[t.Any]) -> list[str]:
        """A sentence for each of these names that is unknown, and means a variable or would be a ceiling.

        The first one is about words that belong to no variable: a ceiling may be empty without them.
        """
        names = list(names)

        def is_ceiling(name: str) -> bool:
            return name.startswith(_CEILINGS) or "price" in name or not name.startswith(_PREFIX)

        lost = [lost_words()] if LOOSE in names else []
        return [*lost, *_slips(self.unknown(names), "role", self._meant, is_ceiling)]

    def _written_oddly(self, name: str) -> str | None:
        """The variable that a name is but for capitals and for lines beneath: more than two of them are a slip."""
        plain = re.sub("_+", "_", name.lower().replace("-", "_"))
        return plain if plain in self.variables and plain != name else None

    def _nearest(self, name: str) -> str | None:
        """The variable that is meant by an unknown name of any beginning."""
        if odd := self._written_oddly(name):
            return odd
        if name.startswith(_PREFIX):
            return nearest(name, self._by_prefix)
        meant = nearest(name, self._by_any)
        is_word = name.startswith(_WORDS) and not any(limit in (meant or "") for limit in _LIMITS)
        return None if is_word else meant


def _begins_as_ceiling(name: str) -> bool:
    """Whether a name that begins near the role's may be a slip of one that is a ceiling."""
    return ("price" in name or _begins_near(name, _CEILINGS)) and not name.startswith(_WORDS)


def _begins_near(name: str, beginning: str) -> bool:
    """Whether a name begins like that, but for two edits."""
    return any(nearest(name[: len(beginning) + more], [beginning]) for more in range(-2, 3))


def _slips(unknown: t.Iterable[str], what: str, meaning: Meaning, limits: t.Callable[[str], bool]) -> list[str]:
    """A sentence for each unknown name that by its ``meaning`` is a slip of a variable, or that would be a limit.

    ``what`` has the variables, in a word.
    """
    sentences = []
    for name in sorted(unknown):
        if meant := meaning(name):
            sentences.append(f"{name} is not a variable of this {what}. Did you mean {meant}?")
        elif limits(name):
            sentences.append(f"{name} is not a variable of this {what}, so it would limit nothing. Is the name right?")
    return sentences


def slips_of_playbook(extra: t.Iterable[str], playbook: str) -> list[str]:
    """The same for the extra variables of a playbook, whose own begin with ``playbook``, such as ``order_``.

    One that has only words of these is no other's: with ``run_timeout`` a job would have no limit.
    """
    own = sorted(name for name in PLAYBOOKS if name.startswith(playbook))
    words = {word for name in own for word in _words(name, playbook)}

    def limits(name: str) -> bool:
        if not name.startswith(playbook):
            return False
        is_limit = name.startswith(f"{playbook}max_") or _words(name, playbook) <= words
        return is_limit or _ORDERED.match(name) is not None

    names = set(extra)
    lost = [lost_words(names)] if LOOSE in names else []
    return [*lost, *_slips(names - PLAYBOOKS, "collection", functools.partial(nearest, known=own), limits)]


def _words(name: str, playbook: str) -> set[str]:
    """The words of a variable behind the playbook's own, in the singular."""
    return {word.rstrip("s") for word in name.removeprefix(playbook).split("_")}


def lost_words(extra: t.Iterable[str] = ()) -> str:
    """That Ansible leaves out words of -e. ``extra``: the names of all its variables, of which some are no names.

    ``-e "decommission_hosts=gpu-1 gpu-2"`` ends gpu-1, and ``-e "provision_budget= 9"`` is no budget.
    """
    odd = ", ".join(sorted(name for name in extra if not name.isidentifier()))
    words = f" ({odd})" if odd else ""
    return (
        f"Words of -e stand outside quotes{words}, so a part of a text would be lost. Write no space after an equals"
        " sign, put commas between names, and quote texts with spaces twice: -e 'run_command=\"python train.py\"'."
    )
