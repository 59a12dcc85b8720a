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

# What the action plugin gathers for the steps, with the defaults. No task can set it, so it needs no types.
_GATHERED: dict[str, t.Any] = {
    "registry_fingerprint": "",
    "sources": [],  # of the inventory
    "here": "",  # the working directory
    "home": "",  # Ansible's folder
    "hosts": [],
    "troubles": [],  # sentences about variables and files of hosts that cannot be read
    "unreadable": [],  # hosts that Ansible cannot run tasks for
    # Hosts that have declared what they want, in this call of a role or in an earlier one
    "ids": [],
    "decided": [],
    "forbidden": "",
    # Further hosts, whose places a budget counts, and sentences about unknown places
    "elsewhere": [],
    "untold": [],
    # The play and this run of ansible-playbook
    "serial": False,
    "in_batches": False,
    "one_tells_all": False,
    "alone": False,  # whether the play has no other hosts
    "forks": 0,
    "by_job": False,  # whether this is a job of AWX
    "slice_of": "",
    "limited": None,  # the hosts within --limit, or whether there is a limit
    "extra": [],  # the names of extra variables
    "connection": "",
    "identity_file": "",
    "job_keys": None,  # the output of ssh-add in such a job, if it buys; elsewhere ssh may have other keys
    "no_login": "",  # why ssh cannot work on this computer
    "inventory": {},
    # Plans and purchases
    "others": {},
    "failed": [],
    "attempts": {},
    "quote": False,
    "plan_file": None,  # of a quote: where to write the sealed plan; empty if it is only published
    "sealed": {},  # the sealed plan to buy
    "plan": {},
    "quote_file": "",
    "plans": [],
    "purchases": {},
    "offers": {},
    "before": {},
    "without_offer": [],  # ids of machines that name no offer, listed before the first purchase
    # Orders and names
    "variables": {},
    "sizes": {},  # the number of hosts by group
    "sought": [],  # where hosts are remembered whose machines to look for
    "reached": {},  # the ids of machines whose addresses are in the inventory, by host
    "further": [],
    "answers": {},
    "parts": [],
    "matched": [],
    "known": [],
    "registered": {},
    "broken": [],
    "ungrouped": [],  # sentences about unreadable hosts outside the inventory, whose groups are unknown
    "several": [],  # hosts outside the inventory that several registries know
    "folders": {},  # by host outside the inventory: the folder with its file
    "prefix": "",
    "by_id": False,
    "count": "",
    # Ends and sweeps
    "round": "",
    "jobs": [],  # the resources to end
    "ends": [],
    "own": {},  # by host: its own durations
    "got": {},  # registered results of earlier tasks, by their names; answers of machines, by host
    # Results of the step `reap`
    "trouble": [],
    "kept": [],
    "at": 0.0,
    # The machine that the probe bought
    "log": "",  # the file with the API's answers to its tasks
    "name": "",
    "lets_in": None,  # seconds until it accepted a login
    "is_known": False,
    # The timer
    "timer": {},
    "observed": {},
    "missing": [],  # paths of inventories that do not exist
    "asks": False,  # whether this run asks for the password of Ansible Vault
    # Runs
    "given": {},
    "run": {},  # the result of the step `run`
    "archive": "",  # a temporary file for the packed code
}


def _spec(gathered: str, *options: str) -> Spec:
    """The spec of a step: the names that are ``gathered`` for it, and the ``options`` that its task may set."""
    names = f"registry_fingerprint sources here home {gathered}".split()
    return {
        **{name: {"type": "raw", "default": _GATHERED[name]} for name in names},
        "step": {"type": "str", "required": True},
        "registry_url": PROCURE_OFFER["registry_url"],
        "account_name": PROCURE_OFFER["account_name"],
        **{name: OPTIONS[name] for name in options},
    }


_DECLARED, _BUDGETS = "hosts ids decided forbidden", "elsewhere untold"

PLAN = _spec(
    f"{_DECLARED} {_BUDGETS} serial in_batches one_tells_all others failed attempts inventory connection identity_file"
    " by_job job_keys no_login quote plan_file sealed slice_of forks"
)
SEAL: Spec = {
    **_spec("plan quote_file"),
    "orders": {"type": "dict", "default": {}, "no_log": True},  # by host: what it would order, with its user data
}
JUDGE = _spec("plans purchases offers before without_offer inventory", "deleted", "tests", "unsound")
ORDER: Spec = {
    **_spec("variables sizes limited sought reached further", "find"),
    "group": {"type": "str", "required": True},
    "api_url": API["api_url"],
}
END = _spec(f"{_DECLARED} inventory", "forget")
DELETE = _spec("round jobs")
ENDED = _spec("round ends answers alone one_tells_all")
STORAGE_ENDED = _spec("", "deleted", "end")
NAMED = _spec(
    "parts matched known limited registered broken ungrouped troubles unreadable several folders others prefix by_id"
    " by_job slice_of count",
    *("hosts", "group", "verb", "by_name"),
)
REAP = _spec("hosts troubles unreadable limited own forks by_job", "by_name", "grace", "before_end_timeout")
REAP_ASKED = _spec("got")
REAPED = _spec("hosts trouble kept at")  # with the results of the hosts that the step `reap` has found
EXTEND = _spec(f"hosts troubles {_BUDGETS}", "by", "until")
REGISTRY = _spec("hosts troubles")
AUDIT = _spec("hosts troubles limited", "names", "fail_on_orphans", "settle")
ORPHAN = _spec("hosts troubles limited", "resource_id", "reason", "by")
PROBE = _spec("hosts log name lets_in", "recording", "wrong_token")
PROBE_PURCHASE = _spec("hosts log limited is_known extra", "buy", "max_usd")
PROBE_ENDED = _spec("got")
OFFERS = _spec("answers", "spec")
VERIFIED = _spec("hosts troubles")
SPEND = _spec("hosts troubles limited", "since")
TIMER = _spec("timer observed variables missing limited asks by_job", "state", "every")
RUN = _spec("given extra limited by_job archive")
RUNS = _spec("hosts troubles given got")
RUN_LATE = _spec("hosts troubles given got by_job")
RUN_STEP = _spec("hosts run got", "reason")
