# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The argument specs of the steps of `decide` (see its table `STEPS`), which only our roles and playbooks use.

Tasks set `OPTIONS`; the action plugin gathers all other parameters, as plain values. The specs have their own file,
since modules do not need them.
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
    """The operation of a step without the API; it accepts the API's options, since playbooks set them for all steps."""
    return Operation(function, {**API, **argument_spec}, blank)


# The options that tasks may set, for all steps. A test compares them with the documentation of the module.
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
    # Durations, as the user wrote them
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
    """A part of `OPTIONS`."""
    return {name: OPTIONS[name] for name in names}


_STEP: Spec = {
    "step": {"type": "str", "required": True},
    "registry_url": PROCURE_OFFER["registry_url"],
    "account_name": PROCURE_OFFER["account_name"],
    "registry_fingerprint": _TEXT,
    "sources": _TEXTS,  # of the inventory
    "here": _TEXT,  # the working directory
    "home": _TEXT,  # Ansible's folder
}

_HOSTS: Spec = {**_STEP, "hosts": _ROWS}

# ``troubles``: sentences about variables and files of hosts that cannot be read
_READ: Spec = {**_HOSTS, "troubles": _TEXTS}

# ``elsewhere``: further hosts, whose places a budget counts. ``untold``: sentences about unknown places
_BUDGETS: Spec = {"elsewhere": _ROWS, "untold": _TEXTS}

# Hosts that have declared what they want, in this call of a role or in an earlier one
_DECLARED: Spec = {**_HOSTS, "ids": _TEXTS, "decided": _TEXTS, "forbidden": _TEXT}

PLAN: Spec = {
    **_DECLARED,
    "serial": _FLAG,
    "in_batches": _FLAG,
    "one_tells_all": _FLAG,
    "others": _MAPPING,
    "failed": _TEXTS,
    "attempts": _MAPPING,
    "inventory": _MAPPING,
    "connection": _TEXT,
    "identity_file": _TEXT,
    "by_job": _FLAG,  # whether this is a job of AWX
    "job_keys": {"type": "str"},  # the output of ssh-add in such a job, if it buys; elsewhere ssh may have other keys
    "no_login": _TEXT,  # why ssh cannot work on this computer
    "quote": _FLAG,
    "plan_file": {"type": "str"},  # of a quote: where to write the sealed plan; empty if it is only published
    "sealed": _MAPPING,  # the sealed plan to buy
    "slice_of": _TEXT,
    "forks": _COUNT,
    **_BUDGETS,
}

SEAL: Spec = {
    **_STEP,
    "plan": _MAPPING,
    "orders": {**_MAPPING, "no_log": True},  # by host: what it would order, with its user data
    "quote_file": _TEXT,
}

JUDGE: Spec = {
    **_STEP,
    **_options("deleted", "tests", "unsound"),
    "plans": _ROWS,
    "purchases": _MAPPING,
    "offers": _MAPPING,
    "before": _MAPPING,
    "without_offer": _TEXTS,  # ids of machines that name no offer, listed before the first purchase
    "inventory": _MAPPING,
}

ORDER: Spec = {
    **_STEP,
    **_options("find"),
    "variables": _MAPPING,
    "group": {"type": "str", "required": True},
    "sizes": _MAPPING,  # the number of hosts by group
    "limited": {"type": "list", "elements": "str"},  # the hosts within --limit
    "sought": _ROWS,  # where hosts are remembered whose machines to look for
    "reached": _MAPPING,  # the ids of machines whose addresses are in the inventory, by host
    "further": _TEXTS,
    "api_url": API["api_url"],
}

END: Spec = {**_DECLARED, **_options("forget"), "inventory": _ROWS}

DELETE: Spec = {**_STEP, "round": _TEXT, "jobs": _ROWS}  # the resources to end

ENDED: Spec = {
    **_STEP,
    "round": _TEXT,
    "ends": _ROWS,
    "answers": _MAPPING,
    "alone": _FLAG,  # whether the play has no other hosts
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
    "ungrouped": _TEXTS,  # sentences about unreadable hosts outside the inventory, whose groups are unknown
    "troubles": _TEXTS,
    "unreadable": _TEXTS,  # hosts that Ansible cannot run tasks for
    "several": _TEXTS,  # hosts outside the inventory that several registries know
    "folders": _MAPPING,  # by host outside the inventory: the folder with its file
    "others": _TEXTS,  # sentences about unreadable hosts that were not named
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
    "own": _MAPPING,  # by host: its own durations
    "forks": _COUNT,
    "by_job": _FLAG,
}

REAP_ASKED: Spec = {**_STEP, "got": _MAPPING}  # the registered results of a sweep's tasks for a host

REAPED: Spec = {
    **_HOSTS,  # with the results of the hosts that the step `reap` has found
    # Results of that step
    "trouble": _TEXTS,
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
    # About the machine that the probe bought
    "log": _TEXT,  # the file with the API's answers to its tasks
    "name": _TEXT,
    "lets_in": {"type": "float"},  # seconds until it accepted a login
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

VERIFIED: Spec = _READ

SPEND: Spec = {**_READ, **_options("since"), "limited": _FLAG}

TIMER: Spec = {
    **_STEP,
    **_options("state", "every"),
    "timer": _MAPPING,
    "observed": _MAPPING,
    # Of this run of ansible-playbook
    "variables": _TEXTS,  # names of its environment variables that sweeps also get
    "missing": _TEXTS,  # paths of inventories that do not exist
    "limited": _FLAG,
    "asks": _FLAG,  # whether it asks for the password of Ansible Vault
    "by_job": _FLAG,
}

# ``archive``: a temporary file for the packed code
RUN: Spec = {**_STEP, "given": _MAPPING, "extra": _TEXTS, "limited": _FLAG, "by_job": _FLAG, "archive": _TEXT}

# ``got``: the answers of machines, by host or by the name of the registered variable
RUNS: Spec = {**_READ, "given": _MAPPING, "got": _MAPPING}

RUN_LATE: Spec = {**RUNS, "by_job": _FLAG}

RUN_STEP: Spec = {
    **_HOSTS,
    **_options("reason"),
    "run": _MAPPING,  # the result of the step `run`
    "got": _MAPPING,  # results of later tasks, by the names of their registered variables
}
