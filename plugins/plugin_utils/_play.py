# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the play of a task says, and with it the variables that the task would have if it ran for another host.

Ansible shows a play to no plugin. `play_of` alone looks for it; what it cannot find is refused.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import typing as t
from pathlib import Path

from ansible import constants as C
from ansible import context
from ansible.errors import AnsibleActionFail, AnsibleError, AnsibleLookupError
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.taggable import Taggable
from ansible_collections.compute_index.supply.plugins.module_utils._provision.messages import NOTHING_SENT
from ansible_collections.compute_index.supply.plugins.module_utils._provision.order import order_group_of, why_ambiguous
from ansible_collections.compute_index.supply.plugins.module_utils._text import printable
from ansible_collections.compute_index.supply.plugins.plugin_utils._hosts import knowing, raw

Variables = t.Mapping[str, t.Any]

# Under others a task that runs once would run for each host, or for some.
STRATEGIES = ("linear", "ansible.builtin.linear", "debug", "ansible.builtin.debug")

_IMPORTS = ("import_playbook", "ansible.builtin.import_playbook")

_PLAYBOOKS = Path(__file__).parents[2] / "playbooks"

# What Ansible adds to the variables of a task's own host, and to those of no other: how it is reached, and all again.
_OF_ONE_HOST = {"vars", *itertools.chain(*C.MAGIC_VARIABLE_MAPPING.values())}


def play_of(task: t.Any) -> t.Any:
    """The task's play, None if it cannot be told. This follows private attributes, and nothing else of ours does."""
    block = getattr(task, "_parent", None)
    while block is not None:
        play = getattr(block, "_play", None)
        if play is not None:
            return play
        block = getattr(block, "_parent", None)
    return None


def keyword_of(task: t.Any, name: str) -> t.Any:
    """What the task's play says for a keyword, empty if nothing."""
    return getattr(play_of(task), name, None) or ""


def turned_by(facts: Variables, task: t.Any, variables: Variables, templar: t.Any) -> str:
    """The condition of the task, be it that of its role, which these facts would turn; empty if none.

    It holds now, or the task would not run. One that cannot be evaluated with them says nothing.
    """
    with knowing(templar, {**variables, **facts}):
        return next((str(condition) for condition in task.when if _is_false(condition, templar)), "")


def _is_false(condition: t.Any, templar: t.Any) -> bool:
    with contextlib.suppress(Exception):  # ansible-core before 2.19 lets those of filters through
        if hasattr(templar, "evaluate_conditional"):
            return not templar.evaluate_conditional(condition)
        return not templar.template(f"{{% if {condition} %}}1{{% endif %}}")
    return False


def play_variables(task: t.Any) -> dict[str, t.Any]:
    """The variables of the task's play, with those that were given to an ``import_playbook``."""
    play = play_of(task)
    return play.get_vars() if play else {}


def forbidden(task: t.Any) -> str:
    """Why nothing may be bought in the task's play, empty if it may. What cannot be read is refused."""
    play = play_of(task)
    strategy = "unknown" if play is None else str(play.strategy or C.DEFAULT_STRATEGY)
    if strategy in STRATEGIES:
        return ""
    return (
        f"The play's strategy is {strategy}, under which nothing can be decided for all hosts together. Use linear,"
        f" Ansible's default. {NOTHING_SENT}"
    )


def hosts_of_playbook(pattern: str, variables: Variables) -> str:
    """The hosts of a play of the collection's playbooks; without a ``pattern`` this computer, or those of ``--limit``.

    Raises AnsibleLookupError if the playbook itself was started with tags that leave all of it out, or at a later task:
    it would be green and do nothing, or test nothing. One that a user's playbook imports may be left out, unless that
    has nothing else, as those that are made for AWX. Likewise for a group whose name is a host's, and for a limit of no
    hosts.
    """
    if _leaves_tasks_out(variables):
        raise AnsibleLookupError(
            "The collection's playbooks have no tags, and begin at their first task, so in this run nothing would be"
            " done, or not all. Leave out --start-at-task, --tags and --skip-tags (in AWX: Job Tags and Skip Tags),"
            " ANSIBLE_RUN_TAGS and ANSIBLE_SKIP_TAGS, and the section [tags] of ansible.cfg."
        )
    groups, limit = variables.get("groups") or {}, str(variables.get("ansible_limit") or "")
    if reason := why_ambiguous(pattern, groups):
        raise AnsibleLookupError(f"{reason} {NOTHING_SENT}")
    if limit and not groups.get("all") and "localhost" not in limit:  # of other inventories Ansible says it
        raise AnsibleLookupError(
            f"--limit {printable(limit, 60)} leaves nobody of an inventory without hosts, so nothing would be done."
            f" Leave it out (in AWX: relaunch for all hosts). {NOTHING_SENT}"
        )
    return pattern or ("localhost,all" if "ansible_limit" in variables else "localhost")


def _leaves_tasks_out(variables: Variables) -> bool:
    """Whether the command line chooses tasks of a playbook that is the collection's, by tags or a first task."""
    run, skip = (list(variables.get(f"ansible_{tags}_tags") or ()) for tags in ("run", "skip"))
    started, later = context.CLIARGS.get("args") or (), context.CLIARGS.get("start_at_task")
    if later and any(map(_is_of_collection, started)):
        return True
    return any(map(_has_no_tags, started)) and not Taggable().evaluate_tags(run, skip, variables)


def group_of_playbook(group: str, variables: Variables) -> str:
    """The newest group of an order, or the whole ``group``. Raises AnsibleLookupError likewise."""
    groups = variables.get("groups") or {}
    found = order_group_of(groups, group)
    if reason := why_ambiguous(found, groups):
        raise AnsibleLookupError(f"{reason} {NOTHING_SENT}")
    return found


def _is_of_collection(playbook: str) -> bool:
    """Whether a playbook of the command line, by its file or the collection's name, is one of the collection's."""
    is_file = os.path.realpath(os.path.dirname(playbook)) == os.path.realpath(_PLAYBOOKS)
    return is_file or playbook.startswith("compute_index.supply.")


def _has_no_tags(playbook: str) -> bool:
    """Whether tags choose nothing in a playbook of the command line: it is one of ours, or only imports such."""
    if _is_of_collection(playbook):
        return True
    with contextlib.suppress(AnsibleError):  # as of an encrypted one
        plays = DataLoader().load_from_file(playbook)
        imported = [next(filter(None, map(play.get, _IMPORTS)), "") for play in plays if not play.get("tags")]
        return len(imported) == len(plays) and all(map(_is_of_collection, imported))
    return False


class ForAll:
    """The variables that a task would have for each host of its play, as they stand.

    The variables of a host (``hostvars``) have neither the role's defaults, which are below them, nor the play's, which
    are above the inventory's and below facts. Where a host has a variable that the play has, too, what counts depends
    on where the host's comes from, and Ansible does not say that: such a host must say by itself what it wants.
    """

    def __init__(
        self, task: t.Any, task_vars: Variables, defaults: Variables, fixed: Variables, extra: Variables
    ) -> None:
        """``task_vars``: of the host for which the task runs. The role has ``defaults`` and ``fixed`` variables."""
        self._task_vars = task_vars
        variables = raw(str(task_vars["inventory_hostname"]), task_vars)
        by_play = {**play_variables(task), **fixed, **task.get_vars()}
        # What is the same for all hosts, such as the names of those that take part.
        common = {
            name: value for name, value in task_vars.items() if name not in variables and name not in _OF_ONE_HOST
        }
        self._common = {**defaults, **by_play, **common}
        # What Ansible itself adds is called ansible_. Extra variables count before all others.
        further = {name for name in common if name not in defaults and not name.startswith("ansible_")}
        self._by_play = {*by_play, *further}.difference(extra)

    def of(self, host: str) -> dict[str, t.Any]:
        """The variables of a host. Raises AnsibleActionFail where they cannot be told, and AnsibleError for files."""
        if C.PLAYBOOK_VARS_ROOT != "top" or C.DEFAULT_HASH_BEHAVIOUR != "replace":
            raise AnsibleActionFail(f"{host}: the settings of Ansible put its variables together in another way.")
        variables = raw(host, self._task_vars)
        for name in self._by_play.intersection(variables):
            if variables[name] != self._common[name]:
                raise AnsibleActionFail(f"{host}: both the play and the host say {name}.")
        found = {**self._common, **variables}
        return {**found, "vars": dict(found)}
