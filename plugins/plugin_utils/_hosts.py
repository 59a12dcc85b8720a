# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the variables of hosts, also outside the play, as plain values.

Only values that users wrote as templates are evaluated, and only those that describe a host and its registry. An
unreadable variable or file is reported for its host, and does not affect others.
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
from ansible_collections.compute_index.supply.plugins.module_utils._inventory import LISTED_ID
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
    is_further_host,
    project_of,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.messages import NOTHING_SENT
from ansible_collections.compute_index.supply.plugins.module_utils._provision.naming import PatternPart
from ansible_collections.compute_index.supply.plugins.module_utils._provision.order import (
    is_short_range,
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
_OMITTED = "__omit_place_holder__"  # the prefix of ``omit`` in ansible-core before 2.19
# A host with one of these variables declares that it wants a machine.
_WANTED = ("provision_spec", "provision_offer_id")

# Limits on the lifetime and the cost of a host's machine
_LIMITS = ("lease", "idle_after", "lease_max", "max_bill", "budget")

# Why variables cannot be read

_OTHER_REGISTRY = (
    "names another shared registry than the one that was read. Run this again for that registry"
    " (-e provision_registry_url=...)"
)
_HOST_DECIDES = (
    "depends on the host's name, so the registries of ordered hosts are unknown. Put these hosts into the inventory"
)
_UNPARSED = (
    "could not be parsed by Ansible, so registries that it names are not read. Repair it; if it is not an inventory,"
    " make Ansible ignore it (inventory_ignore_patterns in ansible.cfg)"
)
USUAL = "/etc/ansible/hosts"  # Ansible's default inventory, which need not exist
# Parts of ansible-core's errors that repeat a template or a line of a file, with their replacements
_REPEATED = {
    r"The offending line appears to be:.*": "",
    r"while templating '.*?'\. Error was": "while templating. Error was",
    r"\. String: .*": "",
}


def raw_variables(host: str, task_vars: Variables) -> Variables:
    """The host's variables, unevaluated."""
    return mapping_of(task_vars["hostvars"].raw_get(host))


def registered_ids(host: str, task_vars: Variables) -> list[str]:
    """The ids of the host's machines, by the role's facts or its registry."""
    return list(raw_variables(host, task_vars).get(IDS) or ())


def machine_ids(host: str, task_vars: Variables) -> list[str]:
    """The ids of the host's machines, by the role's facts or its registry, else by the inventory plugin.

    The plugin matches machines to hosts by name. That proves nothing for a host that declares a machine and has a
    registry.
    """
    variables = raw_variables(host, task_vars)
    is_registered = any(map(variables.get, _WANTED)) and variables.get("provision_registry_dir") != ""
    listed: t.Iterable[t.Any] = () if is_registered else filter(None, [variables.get(LISTED_ID)])
    return registered_ids(host, task_vars) or list(listed)


def bought_offer(host: str, task_vars: Variables) -> dict[str, t.Any]:
    """The offer of a host's machines, or empty. If the API gave no ``node_count``, it is the number of instances."""
    variables = raw_variables(host, task_vars)
    offer = {name: value for name, value in (variables.get("provision_offer") or {}).items() if value is not None}
    return {"node_count": len(variables.get("provision_instances") or ()), **offer} if offer else {}


def lacks_machine(host: str, task_vars: Variables) -> bool:
    """Whether the host has no known machine, so that a machine that answers to its name may belong to someone else.

    True if only the inventory plugin lists a machine with this name; or if an order added the host, or it declares a
    machine, and it has no address. Other hosts of the inventory are the user's own machines.
    """
    variables = raw_variables(host, task_vars)
    is_own = variables.get("ansible_host") or (variables.get("inventory_file") and not any(map(variables.get, _WANTED)))
    return not machine_ids(host, task_vars) and bool(LISTED_ID in variables or not is_own)


def further_machines(hosts: t.Iterable[str], task_vars: Variables) -> set[str]:
    """The hosts that the role has added for further machines of clusters, and which need no machines of their own."""
    known, firsts = set(inventory_hosts(task_vars)), ((host, host.rpartition("-")[0]) for host in hosts)
    return {
        host
        for host, first in firsts
        if first in known
        and is_further_host(host, raw_variables(host, task_vars), first, raw_variables(first, task_vars))
    }


def round_of(variables: Variables) -> Round:
    """The results of the role's earlier steps, from a host's raw variables. Raises AnsibleActionFail."""
    with _refusing():
        return Round.of(variables)


def end_round_of(variables: Variables) -> EndRound:
    """The results of the role decommission's earlier steps. Raises AnsibleActionFail."""
    with _refusing():
        return EndRound.of(variables)


@contextlib.contextmanager
def _refusing() -> t.Iterator[None]:
    """Turn a ValueError about variables into a failure of the task."""
    try:
        yield
    except ValueError as error:
        raise AnsibleActionFail(str(error)) from None


def inventory_hosts(task_vars: Variables) -> list[str]:
    """The hosts of the inventory, including those that plays have added."""
    return list((task_vars.get("groups") or {}).get("all") or [])


def pattern_parts(variable: str, given: t.Any, names: t.Container[str] = ()) -> list[str]:
    """Split the host patterns in a variable's value as Ansible does. Raises AnsibleActionFail.

    ``names``: existing host names, which are not split.
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
    """Whether a variable is a misspelling of ``provision_protect``, which protects the machine all the same."""
    return nearest(name, SWEEP_VARIABLES) == PROTECT


class Hosts:
    """Descriptions of hosts and their registries (rows), from the hosts' variables. Each host is read once.

    ``unreadable``: hosts with a file that cannot be read. ``further_variables``: by host, the variables of the names
    ``further``, evaluated if possible.
    """

    def __init__(
        self,
        task_vars: Variables,
        templar: t.Any,
        manager: t.Any,
        loader: t.Any,
        url: str | None = None,
        among: t.Sequence[str] = (),
        further: t.Sequence[str] = (),
    ) -> None:
        """``templar`` of the task; Ansible's ``manager`` of variables and ``loader`` of files.

        ``url``: the shared registry of this run; if None, the first one that a host in ``among`` names (by default all
        hosts and groups of the inventory). A URL that the play sets, and no variable of its host, applies to all hosts
        without their own. ``further``: see `further_variables`.
        """
        self._further = further
        self.further_variables: dict[str, dict[str, t.Any]] = {}
        self._among = among
        self._by_default = ""
        with contextlib.suppress(Exception):  # such as for an unreadable file of the host's variables
            if url and not raw_variables(str(task_vars.get("inventory_hostname")), task_vars).get(REGISTRY):
                self._by_default = str(url)
        self._task_vars, self._templar, self._manager, self._loader = task_vars, templar, manager, loader
        self._sources = list(task_vars.get("ansible_inventory_sources") or [])
        self._rows: dict[str, dict[str, t.Any] | None] = {}
        self._found: dict[tuple[str, str], list[str]] = {}
        self.unreadable: list[str] = []
        self._url = url

    @property
    def paths(self) -> dict[str, t.Any]:
        """The paths that determine where registries are, as options of a step."""
        return {"sources": self._sources, "here": os.getcwd(), "home": C.config.get_config_value("ANSIBLE_HOME")}

    def troubles(self, is_included: t.Callable[[str], bool] = lambda host: True) -> list[str]:
        """Sentences about the variables and files that could not be read so far, with their hosts."""
        found = (((what, why), list(filter(is_included, hosts))) for (what, why), hosts in self._found.items())
        return [why_unread(hosts, what, why) for (what, why), hosts in found if hosts]

    def unknown_places(self, projects: t.Container[str] | None = None) -> list[str]:
        """Sentences about hosts and groups whose registry is unknown; with ``projects``, only those that may matter."""
        known = [row for row in (*self._rows.values(), *self.groups) if row]
        irrelevant = [row for row in known if self._is_read(row) or (projects and row["project"] not in projects)]
        hosts = {row["host"] for row in irrelevant}
        return self.troubles(lambda host: host not in hosts)

    @property
    def url(self) -> str:
        """The shared registry of this run, else of the first host or group that names one; empty if none does."""
        if self._url is None:
            self._url = next((row["url"] for row in self._rows_with_url() if row and row["url"]), "")
        return self._url

    def _rows_with_url(self) -> t.Iterator[dict[str, t.Any] | None]:
        """The rows of the hosts and groups that may name the shared registry."""
        yield from map(self.row, self._among or inventory_hosts(self._task_vars))
        yield from () if self._among else self.groups

    def rows(self, hosts: t.Iterable[str]) -> list[dict[str, t.Any]]:
        """The placed rows of these hosts, without hosts whose registry is unknown."""
        return [row for host in hosts if (row := self.placed_row(host))]

    def all_rows(self) -> list[dict[str, t.Any]]:
        """The placed rows of all hosts of the inventory, of localhost, and of hosts that plays may add to groups."""
        hosts = dict.fromkeys([*inventory_hosts(self._task_vars), "localhost"])
        return self.in_our_projects(self.rows(hosts) + self.added_rows())

    def in_our_projects(self, rows: t.Iterable[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
        """The rows without those in other projects of a shared registry.

        This inventory's projects are those that its hosts and groups name or declare machines in. If there is one, the
        default project belongs to another team, unless a host or group declares a machine there.
        """
        hosts = [*inventory_hosts(self._task_vars), "localhost"]
        own = [row for row in (*map(self.row, hosts), *self.groups) if row]
        projects = {row["project"] for row in own if row["keeps"] or row["project"] != DEFAULT_PROJECT}
        return [row for row in rows if not (row["shared"] and projects) or row["project"] in projects]

    def added_rows(self) -> list[dict[str, t.Any]]:
        """Placed rows that stand for the hosts that plays may add to groups.

        Such hosts are remembered next to the first of several inventories. Earlier runs may have given the inventories
        in another order, so there are rows for the folder of each.
        """
        rows = list(filter(None, map(self._placed, self.groups)))
        usual = [row for row in (*rows, *self.rows(["localhost"])) if row["registry_dir"] is None]
        others = inventory_folders(self._sources, os.getcwd())[1:]
        further = [{**row, "host": f"the hosts of {dir}", "inventory_dir": dir} for dir in others for row in usual]
        return rows + [{"group": "", **row, "declares": False} for row in further]

    def trouble_of(self, host: str) -> str:
        """Sentences about the host's variables and files that cannot be read."""
        return joined(*self.troubles(lambda each: each == host))

    def placed_row(self, host: str) -> dict[str, t.Any] | None:
        """The host's row with ``shared`` instead of the registry's URL; None if its registry is unknown."""
        return self._placed(self.row(host))

    def row(self, host: str) -> dict[str, t.Any] | None:
        """The host's description and the ``url`` of its shared registry; None if its registry is unknown."""
        if host not in self._rows:
            variables = self._read(host)
            has = variables or {}
            if further := {name: self._evaluated_if_possible(name, has) for name in self._further if name in has}:
                self.further_variables[host] = further
            self._rows[host] = None if variables is None else self._row(host, variables, host)
        return self._rows[host]

    @functools.cached_property
    def groups(self) -> list[dict[str, t.Any]]:
        """For each group the row of a host that a play would add to it."""
        # The groups of the inventory, groups with files of variables, and the group for orders
        known = [*(self._task_vars.get("groups") or {}), self._ordered_group]
        for folder in self._folders():
            with contextlib.suppress(OSError):
                names = sorted(os.listdir(os.path.join(folder, "group_vars")))
                known += [os.path.splitext(name)[0] for name in names if not name.startswith(".")]
        rows = (self._of_group(name) for name in dict.fromkeys(known) if name != "ungrouped")
        return list(filter(None, rows))

    def _placed(self, row: dict[str, t.Any] | None) -> dict[str, t.Any] | None:
        """The row with ``shared`` (whether its host is in this run's shared registry) instead of the URL."""
        if row is None:
            return None
        if not self._is_read(row):
            self._note(row["host"], REGISTRY, _OTHER_REGISTRY)
            return None
        keeps_files = row["keeps"] or row["registry_dir"] is not None
        shared = bool(row["url"]) or not keeps_files or row["host"] == "localhost"
        return {**{name: value for name, value in row.items() if name not in ("url", "keeps")}, "shared": shared}

    def _is_read(self, row: Variables) -> bool:
        """Whether the row's host is remembered in files or in this run's shared registry."""
        return row["url"] in ("", self.url)

    def _read(self, host: str) -> Variables | None:
        """The host's unevaluated variables; None if one of their files cannot be read."""
        try:
            return raw_variables(host, self._task_vars)
        except Exception as error:  # Ansible's decoders raise many kinds of errors
            groups = [name for name, hosts in (self._task_vars.get("groups") or {}).items() if host in hosts]
            self.unreadable.append(host)
            self._note(host, self._broken_file(host, groups), why_unreadable(str(error)))
            return None

    def _note(self, who: str, what: str, why: str) -> None:
        hosts = self._found.setdefault((what, why), [])
        if who not in hosts:
            hosts.append(who)

    def _note_troubles(self, label: str, host: str, trouble: t.Mapping[str, str]) -> None:
        """Note faults in a host's variables; for hosts that do not exist yet, only in those about their registry."""
        for name, reason in trouble.items():
            if label == host or name in PLACE_VARIABLES:
                self._note(label, name, reason)

    def _broken_file(self, host: str, groups: t.Iterable[str]) -> str:
        """The path of the unreadable file among the files of variables of the host and its groups."""
        for folder in self._folders():
            for kind, name in (("host_vars", host), *(("group_vars", group) for group in groups)):
                for file in self._loader.find_vars_files(os.path.join(folder, kind), name):
                    path = os.fsdecode(file)
                    try:
                        found = self._loader.load_from_file(path)
                    except Exception:  # any kind of error
                        return path
                    if found is not None and not isinstance(found, t.Mapping):
                        return path
        return "a file of its variables"

    def _folders(self) -> list[str]:
        """The folders in which Ansible looks for files of variables."""
        return list(dict.fromkeys([*inventory_folders(self._sources, os.getcwd()), self._loader.get_basedir()]))

    @functools.cached_property
    def _ordered_group(self) -> str:
        with contextlib.suppress(AnsibleActionFail):  # plays for a group refuse it
            return group_of(self._task_vars, self._templar)
        return group_of({}, self._templar)

    def _of_group(self, group: str) -> dict[str, t.Any] | None:
        """The row of a host that a play would add to the group; None if its registry is unknown.

        The host gets a name that no order uses.
        """
        name, members = f"{group}-0", (self._task_vars.get("groups") or {}).get(group)
        label = f"the hosts that the group {group} may get"
        try:
            variables = self._added_to(group, name)
        except Exception as error:  # Ansible's decoders raise many kinds of errors
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
        """The variables of a host that is only in this group."""
        host = Host(name)
        host.add_group(self._read_anew.groups.get(group) or Group(group))
        return t.cast(Variables, self._manager.get_vars(host=host, include_hostvars=False))

    @functools.cached_property
    def _read_anew(self) -> InventoryManager:
        """The groups of the inventory, read again, since Ansible does not give plugins access to its own.

        Inventory plugins that ask an API are not run again: the groups that they make have hosts. Files that cannot be
        parsed or are missing are noted as trouble, since Ansible has only warned about them.
        """
        inventory_manager = InventoryManager(self._loader, parse=False)
        for group in self._task_vars.get("groups") or {}:
            inventory_manager.add_group(group)  # files may use groups that an API's plugin makes
        for path in itertools.chain(*map(_files, self._sources)):
            with contextlib.suppress(AnsibleError):  # Ansible has reported it before
                is_read = self._is_for_plugin(path) or inventory_manager.parse_source(path)
                # Empty YAML, or a list such as a playbook, names no registry.
                if not is_read and isinstance(self._content(path), (str, t.Mapping)):
                    self._note("the inventory", path, _UNPARSED)
        inventory_manager.reconcile_inventory()
        return inventory_manager

    def _is_for_plugin(self, path: str) -> bool:
        """Whether a file configures an inventory plugin, which may ask an API."""
        with contextlib.suppress(OSError):
            is_named = re.search(rb"^plugin\s*:", pathlib.Path(path).read_bytes(), re.MULTILINE)
            return bool(is_named and self._content(path))
        return False

    def _content(self, path: str) -> t.Any:
        """A file's content as YAML; an empty text if it is not valid."""
        with contextlib.suppress(AnsibleError):
            return self._loader.load_from_file(path)
        return ""

    def _evaluated_if_possible(self, name: str, variables: Variables) -> t.Any:
        """A host's variable, evaluated if possible."""
        with contextlib.suppress(AnsibleActionFail), self._knowing(variables) as templar:
            return evaluate(name, variables[name], templar)
        return variables[name]

    def _row(self, host: str, variables: Variables, label: str) -> dict[str, t.Any] | None:
        """The host's row, from its variables; None if its registry is unknown.

        ``label``: the host's name in sentences about faults in its variables; if empty, they are not noted.
        """
        values, trouble = self._values(variables)
        if label:
            self._note_troubles(label, host, trouble)
        if trouble.keys() & set(PLACE_VARIABLES):
            return None
        declares = any(variables.get(name) for name in _WANTED)
        return {
            **self._place_of(host, values),
            "inventory_dir": variables.get("inventory_dir"),
            "declares": declares,
            "keeps": declares,
            **{name: str(values[f"provision_{name}"] or "") for name in _LIMITS},
            # If it cannot be evaluated, the machine is protected.
            "protect": "unreadable" if PROTECT in trouble else values[PROTECT],
            "trouble": {name: why_unread([host], name, reason) for name, reason in trouble.items()},
            # What it may own without a registry, from an earlier role or job
            "known": {item: variables.get(item) for item in BOUGHT},
        }

    def _place_of(self, host: str, values: Variables) -> dict[str, t.Any]:
        """The host's registry, project, and name there."""
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
        """The evaluated variables that describe a host, and by name what is wrong with some of them."""
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
    """The files of an inventory source, in Ansible's order; none for a list of hosts. Files may be missing."""
    if os.path.isdir(source):
        names = (name for name in sorted(os.listdir(source)) if not IGNORED.search(os.fsencode(name)))
        yield from itertools.chain(*(_files(os.path.join(source, name)) for name in names))
    elif "," not in source and (source != USUAL or os.path.exists(source)):
        yield source


def _has_place_by_name(row: Variables, name: str) -> bool:
    """Whether a host's project, registry folder or URL contains its name."""
    return any(name in str(row[key] or "") for key in ("project", "registry_dir", "url"))


@contextlib.contextmanager
def using_variables(templar: t.Any, variables: Variables) -> t.Iterator[t.Any]:
    """Give the templar these variables within the block.

    A copy of the templar would not do: before ansible-core 2.19, its lookups would read the original's variables.
    """
    before = templar.available_variables
    templar.available_variables = variables
    try:
        yield templar
    finally:
        templar.available_variables = before


def evaluated_variable(name: str, variables: Variables, templar: t.Any, who: str = "", after: str = "") -> t.Any:
    """Evaluate one of the variables to a plain value; None if it is missing. Raises AnsibleActionFail.

    ``who``: the beginning of its message, such as the host's name. ``after``: a sentence at its end.
    """
    try:
        return evaluate(name, variables.get(name), templar)
    except AnsibleActionFail as error:
        raise AnsibleActionFail(joined(f"{who}{name} {error}.", after)) from None


def group_of(variables: Variables, templar: t.Any) -> str:
    """The group of a playbook (``provision_group``), as its plays evaluate it. Raises AnsibleActionFail."""
    return str(evaluated_variable("provision_group", variables, templar, after=NOTHING_SENT) or "gpu")


def evaluate(name: str, value: t.Any, templar: t.Any) -> t.Any:
    """Evaluate a host's variable to a plain value. Raises AnsibleActionFail; its message ends a sentence."""
    try:
        text = json.dumps(value if _is_plain(value) else _templated(name, value, templar), default=json_default)
    except Exception as error:  # before ansible-core 2.19, filters may raise any exception
        # Without the cause: newer versions would show it, and it may contain a password.
        raise AnsibleActionFail(why_unevaluated(name, str(error))) from None
    if _OMITTED in text:
        raise AnsibleActionFail("cannot be omit, which only works for options of modules. Leave the variable out")
    return json.loads(text)


def _templated(name: str, value: t.Any, templar: t.Any) -> t.Any:
    """Evaluate a variable's template.

    A host that a play has added has no ``inventory_dir``. For its variables about the registry, that is the folder of
    the first inventory source; tasks evaluate other variables in the same way.
    """
    known = templar.available_variables
    if name not in PLACE_VARIABLES or known.get("inventory_dir"):
        return templar.template(value, fail_on_undefined=True)
    beside = registry_dir(None, None, known.get("ansible_inventory_sources") or (), os.getcwd())
    with using_variables(templar, {**known, "inventory_dir": os.path.dirname(beside)}):
        return templar.template(value, fail_on_undefined=True)


def json_default(value: t.Any) -> t.Any:
    """Convert a value for JSON as Ansible does for modules; a vaulted text is decrypted."""
    if isinstance(value, t.Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return list(value)
    return value.isoformat() if isinstance(value, datetime.date) else str(value)


def _is_plain(value: t.Any) -> bool:
    """Whether a value cannot contain a template. A ``#jinja2:`` line sets other marks for templates."""
    if isinstance(value, str):
        return "{" not in value and not value.startswith("#jinja2:")
    return value is None or isinstance(value, (bool, int, float))


def with_ranges_expanded(variable: str, asked: t.Any) -> t.Any:
    """Expand the ranges of names in a text (``gpu-[1:20]``) as inventories do; other values stay as they are.

    Raises AnsibleActionFail, which names the variable, for an invalid range or one that is too long.
    """
    if not (isinstance(asked, str) and "[" in asked):
        return asked
    return ",".join(name for part in split_names(asked) for name in _of_range(variable, part))


def _of_range(variable: str, part: str) -> list[str]:
    if not _is_range(part):
        return [part]
    names: list[str] = []
    if is_short_range(part):
        with contextlib.suppress(AnsibleError, ValueError):
            names = list(expand_hostname_range(part))
    if not names:
        raise AnsibleActionFail(
            f"{variable}: '{printable(part, 60)}' is not a range of names, such as gpu-[1:20] with numbers up to 9999."
            f" {NOTHING_SENT}"
        )
    return names


def _is_range(part: str) -> bool:
    """Whether it is a range of names (or of a group's hosts), not a pattern with a set of characters, such as [ab]."""
    return bool(detect_range(part)) and ":" in part


class Patterns:
    """Matches host patterns against the inventory and further hosts."""

    def __init__(
        self,
        task_vars: Variables,
        loader: t.Any,
        variable: str,
        further: t.Mapping[str, t.Iterable[str]] = MappingProxyType({}),
    ) -> None:
        """``variable``: the source of the patterns. ``further``: hosts outside the inventory, with their groups."""
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
        """The hosts that the pattern matches, in the inventory's order. Raises AnsibleActionFail if it is invalid."""
        for part in [pattern] if isinstance(pattern, str) else pattern:
            if reason := why_ambiguous(part.lstrip("!&"), self._groups):
                raise AnsibleActionFail(f"{self._variable}: {reason} {NOTHING_SENT}")
        if isinstance(pattern, str) and self._is_unknown(pattern):
            return []
        whole = [self._whole(part) for part in ([pattern] if isinstance(pattern, str) else pattern)]
        try:
            return [host.name for host in self._manager.get_hosts(pattern=whole)]
        except Exception as error:  # from regular expressions, ranges and indices
            shown = printable(str(pattern), 60)
            raise AnsibleActionFail(f"{self._variable}: '{shown}' is not a host pattern: {error}") from error

    def _is_unknown(self, pattern: str) -> bool:
        """Whether it names a host, or begins a range of hosts, that is none here; Ansible would warn.

        A registry may know the hosts. Ansible would match only some hosts of a range such as ``gpu-[1:3]-a``.
        """
        name = pattern.partition("[")[0] if _is_range(pattern) else pattern
        return PatternPart(name).is_name and name not in self._manager.hosts and name not in self._manager.groups

    def _whole(self, part: str) -> str:
        """The part, or a pattern that matches only this host if Ansible would split the host's name."""
        name = part.lstrip("!&")
        return part.removesuffix(name) + host_pattern(name) if name in self.names else part

    @property
    def names(self) -> t.Collection[str]:
        """The names of all hosts."""
        return t.cast("t.Collection[str]", self._manager.hosts)

    def limited(self, limit: str) -> list[str]:
        """The hosts within ``--limit``."""
        self._manager.subset(limit)
        return self.hosts("all")


# Why variables cannot be read, in sentences without secrets


def why_unread(hosts: t.Iterable[str], what: str, why: str) -> str:
    """A sentence about a variable or file of some hosts that cannot be read."""
    return f"{abridged(hosts)}: {what} {why}."


def why_play_ends(host: str, trouble: str) -> str:
    """The message about an unreadable file of a host in this play. ``trouble``: its path and the reason."""
    return f"{trouble} This ends Ansible's play for all hosts. Repair it, or add --limit 'all:!{host}'. {NOTHING_SENT}"


def why_unreadable(error: str) -> str:
    """Why a file of variables cannot be read. ``error``: Ansible's message, which may repeat lines of the file."""
    vaulted = "decrypt" in error.lower() or "vault" in error.lower()
    return f"cannot be read: {'no vault password decrypts it' if vaulted else 'it is not a YAML mapping'}"


def why_unevaluated(name: str, error: str) -> str:
    """Why a host's variable cannot be evaluated. ``error``: may repeat the template, and with it a password."""
    if name == REGISTRY:
        return "cannot be evaluated"
    for repeated, instead in _REPEATED.items():
        error = re.sub(repeated, instead, error, flags=re.DOTALL)
    # Older versions of ansible-core repeat sentences.
    reason = ". ".join(dict.fromkeys(one_line(error).rstrip(".").split(". ")))
    return f"cannot be evaluated: {reason}"
