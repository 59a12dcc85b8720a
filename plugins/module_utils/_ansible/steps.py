# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The argument specs of the steps of `decide`, which only the roles and playbooks take.

What the action plugin gathers is plain values. In a file of their own, since no module is shipped with them.
"""

from __future__ import annotations

from .._spec import API, PROCURE_OFFER, Spec

_STEP: Spec = {
    "step": {"type": "str", "required": True},
    "registry_url": PROCURE_OFFER["registry_url"],
    "account_name": PROCURE_OFFER["account_name"],
    "registry_mark": {"type": "str", "default": ""},
    # Where the files of the play and of Ansible are
    "sources": {"type": "list", "elements": "str", "default": []},
    "here": {"type": "str", "default": ""},
    "home": {"type": "str", "default": ""},
}

_HOSTS: Spec = {
    **_STEP,
    "hosts": {"type": "list", "elements": "dict", "default": []},
    # What cannot be read of hosts, in sentences; and the hosts that Ansible cannot run anything for
    "troubles": {"type": "list", "elements": "str", "default": []},
    "unreadable": {"type": "list", "elements": "str", "default": []},
}

# Hosts that have declared what they want, in this call of a role or in an earlier one.
_DECLARED: Spec = {
    **_HOSTS,
    "ids": {"type": "list", "elements": "str", "default": []},
    "consumed": {"type": "list", "elements": "str", "default": []},
    "forbidden": {"type": "str", "default": ""},
}

PLAN: Spec = {
    **_DECLARED,
    "serial": {"type": "bool", "default": False},
    "others": {"type": "dict", "default": {}},
    "failed": {"type": "list", "elements": "str", "default": []},
    "attempts": {"type": "dict", "default": {}},
    "inventory": {"type": "dict", "default": {}},
    "connection": {"type": "str", "default": ""},
    "identity_file": {"type": "str", "default": ""},
    "job_keys": {"type": "str"},  # what ssh-add says in a job of AWX; elsewhere nobody knows what else ssh has
    "no_login": {"type": "str", "default": ""},  # why ssh cannot work on this computer
    "quote": {"type": "bool", "default": False},
    "slice_of": {"type": "str", "default": ""},
    "forks": {"type": "int", "default": 0},
    "looks": {"type": "int", "default": 0},
    "elsewhere": {"type": "list", "elements": "dict", "default": []},  # further hosts, whose places a budget counts
}

JUDGE: Spec = {
    **_STEP,
    "plans": {"type": "list", "elements": "dict", "default": []},
    "purchases": {"type": "dict", "default": {}},
    "offers": {"type": "dict", "default": {}},
    "before": {"type": "dict", "default": {}},
    # The machines that were listed before anything was bought, and that name no offer
    "without_offer": {"type": "list", "elements": "str", "default": []},
    "inventory": {"type": "dict", "default": {}},
    "deleted": {"type": "list", "elements": "dict", "default": []},
}

ORDER: Spec = {
    **_STEP,
    "variables": {"type": "dict", "default": {}},
    "group": {"type": "str", "required": True},
    "has_members": {"type": "bool", "default": False},
    "limited": {"type": "list", "elements": "str"},
    "find": {"type": "bool", "default": False},
    "lacking": {"type": "dict", "default": {}},
    "further": {"type": "list", "elements": "str", "default": []},
    "api_url": API["api_url"],
}

END: Spec = {
    **_DECLARED,
    "inventory": {"type": "list", "elements": "dict", "default": []},
    "forget": {"type": "list", "elements": "str", "default": []},
}

ENDED: Spec = {
    **_STEP,
    "ends": {"type": "list", "elements": "dict", "default": []},
    "deleted": {"type": "list", "elements": "dict", "default": []},
}

NAMED: Spec = {
    **_STEP,
    "hosts": {"type": "raw"},
    "parts": {"type": "list", "elements": "dict", "default": []},
    "matched": {"type": "list", "elements": "str", "default": []},
    "known": {"type": "list", "elements": "str", "default": []},
    "limited": {"type": "list", "elements": "str"},
    "registered": {"type": "dict", "default": {}},
    "broken": {"type": "list", "elements": "str", "default": []},
    # What cannot be read of hosts that only registries know, so that their groups are unknown
    "ungrouped": {"type": "list", "elements": "str", "default": []},
    "troubles": _HOSTS["troubles"],
    "unreadable": _HOSTS["unreadable"],
    "several": {"type": "list", "elements": "str", "default": []},  # hosts of no inventory that several registries know
    "others": _HOSTS["troubles"],  # the same of hosts that were not named
    "elsewhere": {"type": "list", "elements": "str", "default": []},  # hosts that a shared registry has beside these
    "group": {"type": "str", "default": "gpu"},
    "prefix": {"type": "str", "default": ""},
    "by_name": {"type": "bool", "default": False},
    "by_id": {"type": "bool", "default": False},
    "by_job": {"type": "bool", "default": False},
    "count": {"type": "str", "default": ""},
    "verb": {"type": "str", "default": "decommission", "choices": ["decommission", "extend"]},
}

REAP: Spec = {
    **_HOSTS,
    "by_name": {"type": "bool", "default": False},
    "limited": {"type": "bool", "default": False},
    # Durations, as a person gave them
    "grace": {"type": "raw"},
    "before_end_timeout": {"type": "raw"},
    "own": {"type": "dict", "default": {}},  # by host, where it has these itself
    "forks": {"type": "int", "default": 0},
}

REAPED: Spec = {
    **_HOSTS,  # with what became of each host that was to be looked after
    "trouble": {"type": "list", "elements": "str", "default": []},
    # What the sweep's look has found
    "kept": {"type": "list", "elements": "str", "default": []},
    "at": {"type": "float", "default": 0.0},
}

EXTEND: Spec = {
    **_HOSTS,
    "extend_by": {"type": "str", "default": ""},
    "extend_until": {"type": "str", "default": ""},
}

REGISTRY: Spec = {**_HOSTS}

AUDIT: Spec = {
    **_HOSTS,
    "names": {"type": "list", "elements": "str", "default": []},
    "fail_on_orphans": {"type": "bool", "default": False},
    "settle": {"type": "bool", "default": False},
    "limited": {"type": "bool", "default": False},
}

ORPHAN: Spec = {
    **_HOSTS,
    "resource_id": {"type": "str", "default": ""},
    "reason": {"type": "str", "default": ""},
    "by": {"type": "str", "default": ""},
}

PROBE: Spec = {
    **_HOSTS,
    "recording": {"type": "str", "default": ""},
    "wrong_token": {"type": "bool", "default": True},
    # Of a machine that was bought for it: the file of what its tasks were answered, its name, and for how many seconds
    # it was waited for until it let in
    "log": {"type": "str", "default": ""},
    "name": {"type": "str", "default": ""},
    "lets_in": {"type": "float"},
}

PROBE_PURCHASE: Spec = {
    **_HOSTS,
    "buy": {"type": "bool", "default": False},
    "max_usd": {"type": "str", "default": ""},
    "log": {"type": "str", "default": ""},
    "limited": {"type": "bool", "default": False},
    "is_known": {"type": "bool", "default": False},
    "extra": {"type": "list", "elements": "str", "default": []},
}

PROBE_ENDED: Spec = {
    **_STEP,
    "trouble": {"type": "str", "default": ""},
    "unended": {"type": "str", "default": ""},
}

SPEND: Spec = {
    **_HOSTS,
    "since": {"type": "str", "default": ""},
    "limited": {"type": "bool", "default": False},
}
