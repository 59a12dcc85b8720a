# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible knows of hosts that take no part in a play: as plain values, read raw.

Only a value that its user wrote as a template is evaluated, and only those that say where and what a host is. What
cannot be read of one host is told of that host, and concerns no other.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import itertools
import json
import os
import pathlib
import re
import typing as t
from types import MappingProxyType

from ansible import constants as C
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.inventory.group import Group
from ansible.inventory.host import Host
from ansible.inventory.manager import IGNORED, InventoryManager, split_host_pattern
from ansible.plugins.inventory import detect_range, expand_hostname_range
from ansible_collections.compute_index.supply.plugins.module_utils._provision.declaration import (
    PLACE_VARIABLES,
    PROTECT,
    SWEEP_VARIABLES,
    invalid_variables,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import (
    BOUGHT,
    DEFAULT_PROJECT,
    IDS,
    project_of,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.messages import NOTHING_SENT
from ansible_collections.compute_index.supply.plugins.module_utils._provision.naming import PatternPart
from ansible_collections.compute_index.supply.plugins.module_utils._provision.order import (
    check_range,
    read_host_names,
    split_names,
    why_ambiguous,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import prefix_of
from ansible_collections.compute_index.supply.plugins.module_utils._provision.rounds import EndRound, Round
from ansible_collections.compute_index.supply.plugins.module_utils._registry._stores import (
    inventory_folders,
    registry_dir,
)
from ansible_collections.compute_index.supply.plugins.module_utils._spec import REGISTRY_URL
from ansible_collections.compute_index.supply.plugins.module_utils._text import (
    abridged,
    host_pattern,
    joined,
    mapping_of,
    nearest,
    one_line,
    printable,
)

Variables = t.Mapping[str, t.Any]

REGISTRY = "provision_registry_url"
_OMITTED = "__omit_place_holder__"  # how ansible-core before 2.19 writes it
# What makes a host one that shall own a machine.
_WANTED = ("provision_spec", "provision_offer_id")

# How long a host's machine may live, and what it may cost.
_LIMITS = ("lease", "idle_after", "lease_max", "max_bill", "budget")

# Why variables cannot be read

_OTHER_REGISTRY = (
    "names another shared registry than the one that was read, and a run reads one. Run this again for that one"
    " (-e provision_registry_url=...)"
)
_HOST_DECIDES = (
    "depends on the host's name, so it is not known where hosts that were ordered are remembered. Put them into the"
    " inventory"
)
_UNPARSED = (
    "could not be parsed by Ansible, so registries that it names are not read. Repair it; if it is no inventory, have"
    " Ansible ignore it (inventory_ignore_patterns in ansible.cfg)"
)
USUAL = "/etc/ansible/hosts"  # the inventory of a run without one, which need not be there
# Where ansible-core repeats a template or a line of a file, and what is left of that.
_REPEATED = {
    r"The offending line appears to be:.*": "",
    r"while templating '.*?'\. Error was": "while templating. Error was",
    r"\. String: .*": "",
}


def raw_variables(host: str, task_vars: Variables) -> Variables:
    """The host's variables as they stand, without the evaluation of any."""
    return mapping_of(task_vars["hostvars"].raw_get(host))


def registered_ids(host: str, task_vars: Variables) -> list[str]:
    """The machines that the host is known to have, by the role's facts or registry."""
    return list(raw_variables(host, task_vars).get(IDS) or ())


def machine_ids(host: str, task_vars: Variables) -> list[str]:
    """The same, or by the inventory plugin.

    That gives a machine to a host by its name, which is no claim of one that shall own a machine and has a registry.
    """
    variables = raw_variables(host, task_vars)
    is_registered = any(map(variables.get, _WANTED)) and variables.get("provision_registry_dir") != ""
    listed: t.Iterable[t.Any] = () if is_registered else filter(None, [variables.get("supply_resource_id")])
    return registered_ids(host, task_vars) or list(listed)


def bought_offer(host: str, task_vars: Variables) -> dict[str, t.Any]:
    """What the machines of a host were bought as; how many there are, where no answer about the offer has said that."""
    variables = raw_variables(host, task_vars)
    told = {name: value for name, value in (variables.get("provision_offer") or {}).items() if value is not None}
    return {"node_count": len(variables.get("provision_instances") or ()), **told} if told else {}


def lacks_machine(host: str, task_vars: Variables) -> bool:
    """Whether no machine is known to be the host's, so that what answers under its name may be anybody's.

    The inventory plugin lists one of this name; or an order has added the host, or it shall own one, and nothing says
    how that is reached. Other hosts of the inventory are machines of the user's own.
    """
    variables = raw_variables(host, task_vars)
    is_own = variables.get("ansible_host") or (variables.get("inventory_file") and not any(map(variables.get, _WANTED)))
    return not machine_ids(host, task_vars) and bool("supply_resource_id" in variables or not is_own)


def round_of(variables: Variables) -> Round:
    """What the steps of the role have handed on, by a host's raw variables. Raises AnsibleActionFail."""
    with _refusing():
        return Round.of(variables)


def end_round_of(variables: Variables) -> EndRound:
    """The same of the role decommission."""
    with _refusing():
        return EndRound.of(variables)


@contextlib.contextmanager
def _refusing() -> t.Iterator[None]:
    """Make the failure of a task of what its variables should not be."""
    try:
        yield
    except ValueError as error:
        raise AnsibleActionFail(str(error)) from None


def inventory_hosts(task_vars: Variables) -> list[str]:
    """The hosts of the inventory, with those that plays have added."""
    return list((task_vars.get("groups") or {}).get("all") or [])


def pattern_parts(variable: str, given: t.Any, names: t.Container[str] = ()) -> list[str]:
    """The parts of the host patterns that a variable gives, as Ansible takes them apart. Raises AnsibleActionFail.

    One of the ``names``, of hosts, stays whole whatever it has.
    """
    with _refusing():
        texts = read_host_names(variable, given)
    lines = [line for text in texts for line in text.splitlines()]
    return [
        part.strip()
        for line in map(str.strip, lines)
        for part in ([line] if line in names else split_host_pattern(line))
        if part.strip()
    ]


@functools.lru_cache(maxsize=4096)
def is_misspelled_protection(name: str) -> bool:
    """Whether a variable is a slip of the one that protects, and so says that a machine must stay."""
    return nearest(name, SWEEP_VARIABLES) == PROTECT


class Hosts:
    """What the variables of hosts say of where and what they are, each host read once.

    ``troubles``: a sentence for each variable and file that cannot be read, with the hosts. ``asides``: further
    variables of hosts that have them, evaluated; as it stands what cannot be.
    """

    def __init__(
        self,
        task_vars: Variables,
        templar: t.Any,
        manager: t.Any,
        loader: t.Any,
        url: str | None = None,
        among: t.Sequence[str] = (),
        aside: t.Sequence[str] = (),
    ) -> None:
        """``templar`` of the task; Ansible's ``manager`` of variables and ``loader`` of files; ``url``: of the call.

        ``among``: the hosts of which one may name it; by default all of the inventory, and its groups. What the play
        says, and no variable of its host, holds for all hosts that say nothing. ``aside``: the names of ``asides``.
        """
        self._aside = aside
        self.asides: dict[str, dict[str, t.Any]] = {}
        self._among = among
        self._by_default = ""
        with contextlib.suppress(Exception):  # whatever a file of the host's variables holds
            if url and not raw_variables(str(task_vars.get("inventory_hostname")), task_vars).get(REGISTRY):
                self._by_default = str(url)
        self._task_vars, self._templar, self._manager, self._loader = task_vars, templar, manager, loader
        self._sources = list(task_vars.get("ansible_inventory_sources") or [])
        self._rows: dict[str, dict[str, t.Any] | None] = {}
        self._found: dict[tuple[str, str], list[str]] = {}
        self.unreadable: list[str] = []
        self._url = url

    @property
    def call(self) -> dict[str, t.Any]:
        """What tells where registries are."""
        return {"sources": self._sources, "here": os.getcwd(), "home": C.config.get_config_value("ANSIBLE_HOME")}

    def troubles(self, is_meant: t.Callable[[str], bool] = lambda host: True) -> list[str]:
        """What could not be read until now, of these hosts."""
        found = (((what, why), list(filter(is_meant, hosts))) for (what, why), hosts in self._found.items())
        return [why_unread(hosts, what, why) for (what, why), hosts in found if hosts]

    def untold(self, projects: t.Container[str] | None = None) -> list[str]:
        """Of which hosts and groups it cannot be told where they are remembered; with ``projects`` only of these."""
        known = [row for row in (*self._rows.values(), *self.groups) if row]
        told = [row for row in known if self._is_read(row) or (projects and row["project"] not in projects)]
        hosts = {row["host"] for row in told}
        return self.troubles(lambda host: host not in hosts)

    @property
    def url(self) -> str:
        """The registry of the call: else that of the first host or group that names one."""
        if self._url is None:
            self._url = next((row["url"] for row in self._naming() if row and row["url"]), "")
        return self._url

    def _naming(self) -> t.Iterator[dict[str, t.Any] | None]:
        """The rows of those of which the first may name the registry."""
        yield from map(self.row, self._among or inventory_hosts(self._task_vars))
        yield from () if self._among else self.groups

    def rows(self, hosts: t.Iterable[str]) -> list[dict[str, t.Any]]:
        """Where and what these hosts are, without those whose registry cannot be told."""
        return [found for host in hosts if (found := self.described(host))]

    def everything(self) -> list[dict[str, t.Any]]:
        """The same of all hosts of the inventory, of localhost, and of the hosts that groups may get."""
        hosts = dict.fromkeys([*inventory_hosts(self._task_vars), "localhost"])
        return self.of_projects(self.rows(hosts) + self.added())

    def of_projects(self, rows: t.Iterable[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
        """Those of the rows in whose projects of a shared registry this inventory has machines.

        If its hosts and groups name some, the usual one is another team's unless one of them declares something for it:
        no end would find its machines there.
        """
        hosts = [*inventory_hosts(self._task_vars), "localhost"]
        naming = [row for row in (*map(self.row, hosts), *self.groups) if row]
        projects = {row["project"] for row in naming if row["keeps"] or row["project"] != DEFAULT_PROJECT}
        return [row for row in rows if not (row["shared"] and projects) or row["project"] in projects]

    def added(self) -> list[dict[str, t.Any]]:
        """The same of the hosts that plays may add to groups.

        They are remembered beside the first of several inventories, whose order was another where others ran.
        """
        rows = list(filter(None, map(self._placed, self.groups)))
        usual = [row for row in (*rows, *self.rows(["localhost"])) if row["registry_dir"] is None]
        others = inventory_folders(self._sources, os.getcwd())[1:]
        beside = [{**row, "host": f"the hosts beside {dir}", "inventory_dir": dir} for dir in others for row in usual]
        return rows + [{"group": "", **row, "declares": False} for row in beside]

    def trouble_of(self, host: str) -> str:
        """What cannot be read of a host, in sentences."""
        return joined(*self.troubles(lambda each: each == host))

    def described(self, host: str) -> dict[str, t.Any] | None:
        """Where the host's registry is, and what it claims without one; None if that cannot be told."""
        return self._placed(self.row(host))

    def row(self, host: str) -> dict[str, t.Any] | None:
        """The same, with the address of the registry (``url``), as the host names it."""
        if host not in self._rows:
            variables = self._read(host)
            has = variables or {}
            if further := {name: self._told(name, has) for name in self._aside if name in has}:
                self.asides[host] = further
            self._rows[host] = None if variables is None else self._row(host, variables, host)
        return self._rows[host]

    @functools.cached_property
    def groups(self) -> list[dict[str, t.Any]]:
        """Where the hosts of each group are that a play adds to it: what a host would have that is in no inventory."""
        # The groups of the inventory, those that have files of variables, and the one for orders
        known = [*(self._task_vars.get("groups") or {}), self._ordered_group]
        for folder in self._folders():
            with contextlib.suppress(OSError):
                names = sorted(os.listdir(os.path.join(folder, "group_vars")))
                known += [os.path.splitext(name)[0] for name in names if not name.startswith(".")]
        rows = (self._of_group(name) for name in dict.fromkeys(known) if name != "ungrouped")
        return list(filter(None, rows))

    def _placed(self, row: dict[str, t.Any] | None) -> dict[str, t.Any] | None:
        """A row without the address, but whether its host is in the shared registry of the call."""
        if row is None:
            return None
        if not self._is_read(row):
            self._note(row["host"], REGISTRY, _OTHER_REGISTRY)
            return None
        keeps_files = row["keeps"] or row["registry_dir"] is not None
        shared = bool(row["url"]) or not keeps_files or row["host"] == "localhost"
        return {**{name: value for name, value in row.items() if name not in ("url", "keeps")}, "shared": shared}

    def _is_read(self, row: Variables) -> bool:
        """Whether the registry of a row is that of the call, or in files."""
        return row["url"] in ("", self.url)

    def _read(self, host: str) -> Variables | None:
        """The host's variables as they stand, None if a file of them cannot be read."""
        try:
            return raw_variables(host, self._task_vars)
        except Exception as error:  # whatever a file holds: no decoder of Ansible's has but one kind of error
            groups = [name for name, hosts in (self._task_vars.get("groups") or {}).items() if host in hosts]
            self.unreadable.append(host)
            self._note(host, self._broken_file(host, groups), why_unreadable(str(error)))
            return None

    def _note(self, who: str, what: str, why: str) -> None:
        hosts = self._found.setdefault((what, why), [])
        if who not in hosts:
            hosts.append(who)

    def _note_troubles(self, label: str, host: str, trouble: t.Mapping[str, str]) -> None:
        """What is wrong with variables of a host. Of one that is still to be, it is only where it is remembered."""
        for name, reason in trouble.items():
            if label == host or name in PLACE_VARIABLES:
                self._note(label, name, reason)

    def _broken_file(self, host: str, groups: t.Iterable[str]) -> str:
        """The file of variables that cannot be read, as a host of these groups has it."""
        for folder in self._folders():
            for kind, name in (("host_vars", host), *(("group_vars", group) for group in groups)):
                for file in self._loader.find_vars_files(os.path.join(folder, kind), name):
                    path = os.fsdecode(file)
                    try:
                        found = self._loader.load_from_file(path)
                    except Exception:  # as above
                        return path
                    if found is not None and not isinstance(found, t.Mapping):
                        return path
        return "a file of its variables"

    def _folders(self) -> list[str]:
        """Where Ansible looks for files of variables."""
        return list(dict.fromkeys([*inventory_folders(self._sources, os.getcwd()), self._loader.get_basedir()]))

    @functools.cached_property
    def _ordered_group(self) -> str:
        with contextlib.suppress(AnsibleActionFail):  # which plays for a group refuse
            return group_of(self._task_vars, self._templar)
        return group_of({}, self._templar)

    def _of_group(self, group: str) -> dict[str, t.Any] | None:
        """The row of a host that a play adds to the group; None where the group's own hosts say more.

        Its name is one that no order gives.
        """
        name, members = f"{group}-0", (self._task_vars.get("groups") or {}).get(group)
        label = f"the hosts that the group {group} may get"
        try:
            variables = self._added_to(group, name)
        except Exception as error:  # as above
            if not members:
                self._note(label, self._broken_file(name, [group]), why_unreadable(str(error)))
            return None
        row = self._row(name, variables, "" if members else label)
        if row is None:
            return None
        if _has_place_by_name(row, name):
            if not members and group == self._ordered_group:
                self._note(label, "provision_registry_dir or provision_project", _HOST_DECIDES)
            return None
        return {**row, "host": label, "group": group, "declares": False}

    def _added_to(self, group: str, name: str) -> Variables:
        """The variables of a host that is in this group alone."""
        host = Host(name)
        host.add_group(self._read_anew.groups.get(group) or Group(group))
        return t.cast(Variables, self._manager.get_vars(host=host, include_hostvars=False))

    @functools.cached_property
    def _read_anew(self) -> InventoryManager:
        """The groups of the inventory, read anew: Ansible shows its own to no plugin.

        An API that a plugin of inventories lists is not asked again. Groups that are made of what it says have hosts.
        A file that cannot be parsed, or is gone, is trouble: Ansible has only warned of it.
        """
        inventory_manager = InventoryManager(self._loader, parse=False)
        for group in self._task_vars.get("groups") or {}:
            inventory_manager.add_group(group)  # files may name one that is made of what an API says
        for path in itertools.chain(*map(_files, self._sources)):
            with contextlib.suppress(AnsibleError):  # which Ansible has told before
                is_read = self._asks_an_api(path) or inventory_manager.parse_source(path)
                # YAML of nothing, or of a list as a playbook is, names no registry.
                if not is_read and isinstance(self._content(path), (str, t.Mapping)):
                    self._note("the inventory", path, _UNPARSED)
        inventory_manager.reconcile_inventory()
        return inventory_manager

    def _asks_an_api(self, path: str) -> bool:
        """Whether a file only says what to ask an API."""
        with contextlib.suppress(OSError):
            is_named = re.search(rb"^plugin\s*:", pathlib.Path(path).read_bytes(), re.MULTILINE)
            return bool(is_named and self._content(path))
        return False

    def _content(self, path: str) -> t.Any:
        """What a file says as YAML; an empty text if it is none."""
        with contextlib.suppress(AnsibleError):
            return self._loader.load_from_file(path)
        return ""

    def _told(self, name: str, variables: Variables) -> t.Any:
        """A variable that a host has, evaluated; as it stands if it cannot be."""
        with contextlib.suppress(AnsibleActionFail), self._knowing(variables) as templar:
            return evaluate(name, variables[name], templar)
        return variables[name]

    def _row(self, host: str, variables: Variables, blamed: str) -> dict[str, t.Any] | None:
        """What the variables say, None if not where the host is remembered.

        ``blamed``: of whom to tell what is wrong, nobody if empty.
        """
        values, trouble = self._values(variables)
        if blamed:
            self._note_troubles(blamed, host, trouble)
        if trouble.keys() & set(PLACE_VARIABLES):
            return None
        declares = any(variables.get(name) for name in _WANTED)
        return {
            **self._place_of(host, values),
            "inventory_dir": variables.get("inventory_dir"),
            "declares": declares,
            "keeps": declares,
            **{name: str(values[f"provision_{name}"] or "") for name in _LIMITS},
            # What cannot be evaluated is neither true nor false, and so protects.
            "protect": "unreadable" if PROTECT in trouble else values[PROTECT],
            "trouble": {name: why_unread([host], name, reason) for name, reason in trouble.items()},
            # What it may own without a registry, by an earlier role or job.
            "known": {item: variables.get(item) for item in BOUGHT},
        }

    def _place_of(self, host: str, values: Variables) -> dict[str, t.Any]:
        """Where the host is remembered, by its variables: its project, its names there, and the registry."""
        project = values["provision_project"]
        prefix = prefix_of(project)
        return {
            "host": host,
            "name": str(values["provision_resource_name"] or prefix + host),
            "prefix": prefix,
            "project": project_of(project),
            "registry_dir": values["provision_registry_dir"],
            "url": str(values[REGISTRY] or self._by_default or os.environ.get(REGISTRY_URL) or ""),
        }

    def _values(self, variables: Variables) -> tuple[dict[str, t.Any], dict[str, str]]:
        """The variables that say where and what a host is, evaluated; and why some cannot be, or make no sense."""
        values: dict[str, t.Any] = {}
        trouble: dict[str, str] = {}
        with self._knowing(variables) as templar:
            for name in SWEEP_VARIABLES:
                try:
                    values[name] = evaluate(name, variables.get(name), templar)
                except AnsibleActionFail as error:
                    values[name], trouble[name] = None, str(error)
        if values[PROTECT] in (None, "") and (slip := next(filter(is_misspelled_protection, map(str, variables)), "")):
            trouble.setdefault(PROTECT, f"is misspelled as {slip}")
        return values, {**dict(invalid_variables(values)), **trouble}

    def _knowing(self, host_variables: Variables) -> t.ContextManager[t.Any]:
        common = {"hostvars": self._task_vars["hostvars"], "ansible_inventory_sources": self._sources}
        return using_variables(self._templar, {**host_variables, **common})


def _files(source: str) -> t.Iterator[str]:
    """The files of a source of the inventory, in Ansible's order. A list of hosts is none; one that is gone is."""
    if os.path.isdir(source):
        names = (name for name in sorted(os.listdir(source)) if not IGNORED.search(os.fsencode(name)))
        yield from itertools.chain(*(_files(os.path.join(source, name)) for name in names))
    elif "," not in source and (source != USUAL or os.path.exists(source)):
        yield source


def _has_place_by_name(row: Variables, name: str) -> bool:
    """Whether a host's name is a part of what says where it is remembered."""
    return any(name in str(row[key] or "") for key in ("project", "registry_dir", "url"))


@contextlib.contextmanager
def using_variables(templar: t.Any, variables: Variables) -> t.Iterator[t.Any]:
    """The templar with these variables, and then with its own again.

    Before ansible-core 2.19 the lookups of a copy would go on reading the variables of the original.
    """
    before = templar.available_variables
    templar.available_variables = variables
    try:
        yield templar
    finally:
        templar.available_variables = before


def evaluated_variable(name: str, variables: Variables, templar: t.Any, who: str = "", after: str = "") -> t.Any:
    """One of these variables as a plain value, None without it. Raises AnsibleActionFail with a sentence.

    ``who``: of whom it is, where that must be told. ``after``: what follows, in a sentence.
    """
    try:
        return evaluate(name, variables.get(name), templar)
    except AnsibleActionFail as error:
        raise AnsibleActionFail(joined(f"{who}{name} {error}.", after)) from None


def group_of(variables: Variables, templar: t.Any) -> str:
    """The group that a playbook is for, as its plays evaluate it. Raises AnsibleActionFail."""
    return str(evaluated_variable("provision_group", variables, templar, after=NOTHING_SENT) or "gpu")


def evaluate(name: str, value: t.Any, templar: t.Any) -> t.Any:
    """A variable of a host as a plain value. Raises AnsibleActionFail: why there is none, as the end of a sentence."""
    try:
        text = json.dumps(value if _is_plain(value) else _filled_in(name, value, templar), default=json_default)
    except Exception as error:  # ansible-core before 2.19 lets those of filters through
        # Without what it comes from: the newer versions would say that, too, and it may repeat a password.
        raise AnsibleActionFail(why_unevaluated(name, str(error))) from None
    if _OMITTED in text:
        raise AnsibleActionFail("cannot be omit, which only options of modules understand. Leave it out")
    return json.loads(text)


def _filled_in(name: str, value: t.Any, templar: t.Any) -> t.Any:
    """The value of a variable's template. A host that a play has added is in no inventory.

    For what says where it is remembered its folder is that of the first source. All else also tasks evaluate.
    """
    known = templar.available_variables
    if name not in PLACE_VARIABLES or known.get("inventory_dir"):
        return templar.template(value, fail_on_undefined=True)
    beside = registry_dir(None, None, known.get("ansible_inventory_sources") or (), os.getcwd())
    with using_variables(templar, {**known, "inventory_dir": os.path.dirname(beside)}):
        return templar.template(value, fail_on_undefined=True)


def json_default(value: t.Any) -> t.Any:
    """What JSON has no word for, as Ansible sends it to modules; a vaulted text becomes what it is."""
    if isinstance(value, t.Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return list(value)
    return value.isoformat() if isinstance(value, datetime.date) else str(value)


def _is_plain(value: t.Any) -> bool:
    """Whether no template can be in it, be it one whose first line says how its marks look."""
    if isinstance(value, str):
        return "{" not in value and not value.startswith("#jinja2:")
    return value is None or isinstance(value, (bool, int, float))


def with_ranges_expanded(variable: str, asked: t.Any) -> t.Any:
    """Names in a text with their ranges (``gpu-[1:20]``) written out, as inventories mean them; else as it is.

    Raises AnsibleActionFail that names the variable for a range that is none, or that is too long.
    """
    if not (isinstance(asked, str) and "[" in asked):
        return asked
    return ",".join(name for part in split_names(asked) for name in _of_range(variable, part))


def _of_range(variable: str, part: str) -> list[str]:
    if not detect_range(part) or ":" not in part:  # a pattern may have a choice of letters, [ab]
        return [part]
    try:
        check_range(part)
        return list(expand_hostname_range(part))
    except (AnsibleError, ValueError) as error:
        raise AnsibleActionFail(f"{variable}: '{printable(part, 60)}' is no range of names: {error}") from None


class Patterns:
    """Matches host patterns against an inventory that has further hosts."""

    def __init__(
        self,
        task_vars: Variables,
        loader: t.Any,
        variable: str,
        further: t.Mapping[str, t.Iterable[str]] = MappingProxyType({}),
    ) -> None:
        """``variable``: what gives patterns. ``further``: hosts that the inventory does not have, with their groups."""
        self._variable = variable
        self._manager = InventoryManager(loader, parse=False)
        self._groups = task_vars.get("groups") or {}
        for group, hosts in self._groups.items():
            self._add(group, hosts)
        for host, groups in further.items():
            for group in ("all", *groups):
                self._add(group, [host])

    def _add(self, group: str, hosts: t.Iterable[str]) -> None:
        self._manager.add_group(group)
        for host in hosts:
            self._manager.add_host(host, group=group)

    def hosts(self, pattern: str | list[str]) -> list[str]:
        """The hosts that the pattern matches, in the order of the inventory. Raises AnsibleActionFail for a bad one."""
        for part in [pattern] if isinstance(pattern, str) else pattern:
            if reason := why_ambiguous(part.lstrip("!&"), self._groups):
                raise AnsibleActionFail(f"{self._variable}: {reason} {NOTHING_SENT}")
        is_name = isinstance(pattern, str) and PatternPart(pattern).is_name
        if is_name and pattern not in self._manager.hosts and pattern not in self._manager.groups:
            return []  # of which Ansible would warn, though a registry may have the host
        whole = [self._whole(part) for part in ([pattern] if isinstance(pattern, str) else pattern)]
        try:
            return [host.name for host in self._manager.get_hosts(pattern=whole)]
        except Exception as error:  # of regular expressions, ranges and indices
            shown = printable(str(pattern), 60)
            raise AnsibleActionFail(f"{self._variable}: '{shown}' is no pattern of hosts: {error}") from error

    def _whole(self, part: str) -> str:
        """The same part; of a host whose name Ansible would take apart, a pattern that matches just that host."""
        name = part.lstrip("!&")
        return part.removesuffix(name) + host_pattern(name) if name in self.names else part

    @property
    def names(self) -> t.Collection[str]:
        """The names of all hosts."""
        return t.cast("t.Collection[str]", self._manager.hosts)

    def limited(self, limit: str) -> list[str]:
        """The hosts that ``--limit`` leaves."""
        self._manager.subset(limit)
        return self.hosts("all")


# Why variables cannot be read, in sentences that show no secret. Other hosts go on.


def why_unread(hosts: t.Iterable[str], what: str, why: str) -> str:
    """A variable or a file of some hosts that cannot be read. Others go on."""
    return f"{abridged(hosts)}: {what} {why}."


def why_play_ends(host: str, trouble: str) -> str:
    """A file of a host of this play cannot be read. ``trouble``: which one, and why."""
    return f"{trouble} Ansible ends a play with such a host. Repair it, or add --limit 'all:!{host}'. {NOTHING_SENT}"


def why_unreadable(error: str) -> str:
    """Why a file of variables cannot be read. ``error``: Ansible's, which may repeat lines of it."""
    vaulted = "decrypt" in error.lower() or "vault" in error.lower()
    return f"cannot be read: {'there is no vault password that opens it' if vaulted else 'it is no YAML mapping'}"


def why_unevaluated(name: str, error: str) -> str:
    """Why a variable of a host cannot be evaluated. An error may repeat what was written, and with it a password."""
    if name == REGISTRY:
        return "cannot be evaluated"
    for repeated, instead in _REPEATED.items():
        error = re.sub(repeated, instead, error, flags=re.DOTALL)
    # The older versions of ansible-core say everything twice.
    reason = ". ".join(dict.fromkeys(one_line(error).rstrip(".").split(". ")))
    return f"cannot be evaluated: {reason}"
