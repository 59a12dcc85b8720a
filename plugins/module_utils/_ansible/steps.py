# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The argument specs of the steps of `decide`, which only the roles and playbooks take: `STEPS` there is their table.

A task gives `OPTIONS`; what else a step takes are plain values that the action plugin gathers. In a file of their own,
since no module is shipped with them.
"""

from __future__ import annotations

import typing as t

from .._spec import API, PROCURE_OFFER, Spec
from .operation import Operation, Params, Result

_Option = dict[str, t.Any]

_TEXT: _Option = {"type": "str", "default": ""}
_TEXTS: _Option = {"type": "list", "elements": "str", "default": []}
_ROWS: _Option = {"type": "list", "elements": "dict", "default": []}
_MAPPING: _Option = {"type": "dict", "default": {}}
_FLAG: _Option = {"type": "bool", "default": False}
_COUNT: _Option = {"type": "int", "default": 0}


def operation(function: t.Callable[[Params, bool], Result], argument_spec: Spec, blank: Result) -> Operation:
    """The operation of a step that asks no API: a playbook gives the API's options to all its steps."""
    return Operation(function, {**API, **argument_spec}, blank)


# What a task may give, to one step or another. A test compares them with the documentation of the module.
OPTIONS: Spec = {
    "deleted": _ROWS,
    "end": _MAPPING,
    "tests": _ROWS,
    "unsound": _TEXT,
    "hosts": {"type": "raw"},
    "group": {"type": "str", "default": "gpu"},
    "find": _FLAG,
    "forget": _TEXTS,
    "since": _TEXT,
    "names": _TEXTS,
    "resource_id": _TEXT,
    "reason": _TEXT,
    "fail_on_orphans": _FLAG,
    "settle": _FLAG,
    "verb": {"type": "str", "default": "decommission", "choices": ["decommission", "extend"]},
    "by_name": _FLAG,
    # Durations, as a person gave them
    "grace": {"type": "raw"},
    "before_end_timeout": {"type": "raw"},
    "by": _TEXT,
    "until": _TEXT,
    "recording": _TEXT,
    "wrong_token": {"type": "bool", "default": True},
    "buy": _FLAG,
    "max_usd": _TEXT,
    "spec": _MAPPING,
    "state": {"type": "str", "default": "present", "choices": ["present", "absent", "show"]},
    "every": {"type": "str", "default": "15m"},
}


def _options(*names: str) -> Spec:
    """Those that a step takes."""
    return {name: OPTIONS[name] for name in names}


_STEP: Spec = {
    "step": {"type": "str", "required": True},
    "registry_url": PROCURE_OFFER["registry_url"],
    "account_name": PROCURE_OFFER["account_name"],
    "registry_fingerprint": _TEXT,
    # Where the files of the play and of Ansible are
    "sources": _TEXTS,
    "here": _TEXT,
    "home": _TEXT,
}

_HOSTS: Spec = {**_STEP, "hosts": _ROWS}

# With what cannot be read of hosts, in sentences
_READ: Spec = {**_HOSTS, "troubles": _TEXTS}

# Further hosts, whose places a budget counts, and what hides such a place, in sentences
_BUDGETS: Spec = {"elsewhere": _ROWS, "untold": _TEXTS}

# Hosts that have declared what they want, in this call of a role or in an earlier one.
_DECLARED: Spec = {**_HOSTS, "ids": _TEXTS, "decided": _TEXTS, "forbidden": _TEXT}

PLAN: Spec = {
    **_DECLARED,
    "serial": _FLAG,
    "one_tells_all": _FLAG,
    "others": _MAPPING,
    "failed": _TEXTS,
    "attempts": _MAPPING,
    "inventory": _MAPPING,
    "connection": _TEXT,
    "identity_file": _TEXT,
    "by_job": _FLAG,  # whether this is a job of AWX
    "job_keys": {"type": "str"},  # what ssh-add says there, but to a quote; elsewhere nobody knows what else ssh has
    "no_login": _TEXT,  # why ssh cannot work on this computer
    "quote": _FLAG,
    "plan_file": {"type": "str"},  # of a quote: where the sealed plan is written, empty if it is published only
    "sealed": _MAPPING,  # the plan that is to be bought, as it was given
    "slice_of": _TEXT,
    "forks": _COUNT,
    **_BUDGETS,
}

SEAL: Spec = {
    **_STEP,
    "plan": _MAPPING,
    "orders": {**_MAPPING, "no_log": True},  # what each host orders, with its user data
    "quote_file": _TEXT,
}

JUDGE: Spec = {
    **_STEP,
    **_options("deleted", "tests", "unsound"),
    "plans": _ROWS,
    "purchases": _MAPPING,
    "offers": _MAPPING,
    "before": _MAPPING,
    "without_offer": _TEXTS,  # the machines that were listed before anything was bought, and that name no offer
    "inventory": _MAPPING,
}

ORDER: Spec = {
    **_STEP,
    **_options("find"),
    "variables": _MAPPING,
    "group": {"type": "str", "required": True},
    "sizes": _MAPPING,  # how many hosts each group has
    "limited": {"type": "list", "elements": "str"},
    "sought": _ROWS,  # where hosts are remembered
    "reached": _TEXTS,  # those of them of whose machines the inventory says how they are reached
    "further": _TEXTS,
    "api_url": API["api_url"],
}

END: Spec = {**_DECLARED, **_options("forget"), "inventory": _ROWS}

# Which resources end
DELETE: Spec = {**_STEP, "round": _TEXT, "jobs": _ROWS}

ENDED: Spec = {
    **_STEP,
    "round": _TEXT,
    "ends": _ROWS,
    "answers": _MAPPING,
    "alone": _FLAG,  # whether these are all hosts of the play
    "one_tells_all": _FLAG,
}

STORAGE_ENDED: Spec = {**_STEP, **_options("deleted", "end")}

NAMED: Spec = {
    **_STEP,
    **_options("hosts", "group", "verb"),
    "parts": _ROWS,
    "matched": _TEXTS,
    "known": _TEXTS,
    "limited": {"type": "list", "elements": "str"},
    "registered": _MAPPING,
    "broken": _TEXTS,
    "ungrouped": _TEXTS,  # what cannot be read of hosts that only registries know, so that their groups are unknown
    "troubles": _TEXTS,
    "unreadable": _TEXTS,  # the hosts that Ansible cannot run anything for
    "several": _TEXTS,  # hosts of no inventory that several registries know
    "folders": _MAPPING,  # those that files remember, with the folder
    "others": _TEXTS,  # what cannot be read of hosts that were not named
    "prefix": _TEXT,
    "by_name": _FLAG,
    "by_id": _FLAG,
    "by_job": _FLAG,
    "slice_of": _TEXT,
    "count": _TEXT,
}

REAP: Spec = {
    **_READ,
    **_options("by_name", "grace", "before_end_timeout"),
    "unreadable": _TEXTS,
    "limited": _FLAG,
    "own": _MAPPING,  # by host, where it has the durations itself
    "forks": _COUNT,
}

REAP_ASKED: Spec = {**_STEP, "got": _MAPPING}  # what the tasks of a sweep have registered for a host

REAPED: Spec = {
    **_HOSTS,  # with what became of each host that was to be looked after
    "trouble": _TEXTS,
    # What the sweep's look has found
    "kept": _TEXTS,
    "at": {"type": "float", "default": 0.0},
}

EXTEND: Spec = {**_READ, **_options("by", "until"), **_BUDGETS}

REGISTRY: Spec = _READ

AUDIT: Spec = {**_READ, **_options("names", "fail_on_orphans", "settle"), "limited": _FLAG}

ORPHAN: Spec = {**_READ, **_options("resource_id", "reason"), "by": _TEXT, "limited": _FLAG}

PROBE: Spec = {
    **_HOSTS,
    **_options("recording", "wrong_token"),
    # Of a machine that was bought for it: the file of what its tasks were answered, its name, and for how many seconds
    # it was waited for until it let in
    "log": _TEXT,
    "name": _TEXT,
    "lets_in": {"type": "float"},
}

PROBE_PURCHASE: Spec = {
    **_HOSTS,
    **_options("buy", "max_usd"),
    "log": _TEXT,
    "limited": _FLAG,
    "is_known": _FLAG,
    "extra": _TEXTS,
}

PROBE_ENDED: Spec = {**_STEP, "got": _MAPPING}

OFFERS: Spec = {**_STEP, **_options("spec"), "answers": _MAPPING}

VERIFIED: Spec = {**_READ, "level": _TEXT}

SPEND: Spec = {**_READ, **_options("since"), "limited": _FLAG}

TIMER: Spec = {
    **_STEP,
    **_options("state", "every"),
    "timer": _MAPPING,
    "observed": _MAPPING,
    # What this run is
    "variables": _TEXTS,  # the names of those of its environment that sweeps get
    "missing": _TEXTS,  # what it was given as an inventory and is none
    "limited": _FLAG,
    "asks": _FLAG,  # whether somebody types the password of Ansible Vault
    "by_job": _FLAG,
}

RUN: Spec = {**_STEP, "given": _MAPPING, "extra": _TEXTS, "limited": _FLAG, "by_job": _FLAG}

# What machines have answered is there by their hosts, or by the names of the variables that have registered it.
RUNS: Spec = {**_READ, "given": _MAPPING, "got": _MAPPING}

RUN_LATE: Spec = {**RUNS, "by_job": _FLAG}

RUN_STEP: Spec = {
    **_HOSTS,
    **_options("reason"),
    "run": _MAPPING,  # what the step `run` has found
    "got": _MAPPING,  # what tasks have registered since, by the names of their variables
}
