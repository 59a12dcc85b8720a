# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory of the account's machines. Their names, variables and groups are made in `_inventory`."""

from __future__ import annotations

DOCUMENTATION = r"""
name: resources
short_description: The live machines of the account as hosts
version_added: 1.0.0
description:
  - Makes a host of every live machine that the Supply API lists, with its connection variables. Storage is no host.
  - A resource whose C(resource_type) is an unknown word is no host either, since it may be something else than a
    machine. A warning then names the word. A resource without any such word becomes a host.
  - Its configuration is a YAML file whose name ends in C(.supply.yml) or C(.supply.yaml).
  - If the API fails, or an option is wrong, the command ends with an error and exit code 4, whatever Ansible is told to
    do with inventory sources that it cannot parse. An inventory is never silently empty or incomplete.
author:
  - Contributors to the compute_index.supply collection (@compute-index)
extends_documentation_fragment:
  - compute_index.supply.api
  - compute_index.supply.api.plugin
  - constructed
  - inventory_cache
options:
  plugin:
    description:
      - The name of this plugin.
    type: str
    required: true
    choices: [compute_index.supply.resources]
  hostname:
    description:
      - What a host is called, if not by the resource's name. A variable of the host such as
        V(supply_resource_id) or V(supply_access.external_ip), or a Jinja2 expression over its variables.
      - Where that yields nothing that can be a host's name, the resource's id is taken; also where the name is a
        group's, or means something to Ansible, such as C(localhost).
      - If several resources have one name, each becomes a host whose name has the id in it.
    type: str
  hostvars_prefix:
    description:
      - What the variables made of the API's fields begin with. It cannot be empty, since C(name) and C(tags) are words
        that Ansible needs itself.
      - O(hostname), O(filters), O(compose), O(keyed_groups) and O(groups) see the variables with it. So does the role
        P(compute_index.supply.decommission#role), which reads C(supply_resource_id).
    type: str
    default: supply_
  registry_url:
    description:
      - The registry that several controllers share, see P(compute_index.supply.provision#role). With it the hosts are
        the machines of a project, called as they were when they were bought, in the groups that they were in, with the
        variables of the role and the host keys that other controllers have seen. Machines of others are left out.
    type: str
    env:
      - name: COMPUTE_INDEX_REGISTRY_URL
  account_name:
    description:
      - What the account of O(api_token) is called in the registry of O(registry_url), if it has several of one API.
    type: str
    default: ""
    env:
      - name: COMPUTE_INDEX_ACCOUNT
  project:
    description:
      - The project whose machines become hosts. Without O(registry_url) these are the machines whose names begin with
        it and a hyphen, as the role names them; their hosts are called by what follows.
    type: str
    default: default
    env:
      - name: COMPUTE_INDEX_PROJECT
  filters:
    description:
      - Which of the live machines become hosts. Conditions are Jinja2 expressions over the variables of the host. One
        that cannot be evaluated is an error.
    type: dict
    default: {}
    suboptions:
      include:
        description:
          - Only machines for which one of these is true.
        type: list
        elements: str
      exclude:
        description:
          - No machine for which one of these is true.
        type: list
        elements: str
notes:
  - Groups that need no configuration are C(supply) with all machines, C(vendor_*), C(region_*) (the vendor's own name
    of it, and the API's region if the resource tells), C(gpu_*) (family and full name), C(state_*) and C(contract_*).
    GPU and contract are known if the resource or its C(spec) names them.
  - A machine without an address has an C(ansible_host) that cannot be resolved, so that no other computer of that
    name is reached.
  - A machine that has the name of a host of another inventory source is that host, and gets the variables and groups of
    both.
  - O(api_token), O(api_url) and O(registry_url) may be Jinja2 expressions, and vaulted.
seealso:
  - module: compute_index.supply.resource_info
"""

EXAMPLES = r"""
# gpu.supply.yml: this line alone makes a host of every machine of the account
plugin: compute_index.supply.resources

# The running machines with H100, and a group for each project that their names begin with
filters:
  include:
    - supply_spec.gpu_type | default('') is search('h100')
  exclude:
    - supply_status != 'running'
keyed_groups:
  - key: supply_name.split('-')[0]
    prefix: project
compose:
  ansible_python_interpreter: "'/usr/bin/python3'"
groups:
  gpu: true
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/supply
cache_timeout: 60
"""

import hashlib
import re
import typing as t

from ansible import constants as C
from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible_collections.compute_index.supply.plugins.module_utils import _inventory, _spec, _states
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import masked, secrets_of
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import normalized_id
from ansible_collections.compute_index.supply.plugins.module_utils._api.http import (
    MISSING_REQUESTS,
    REQUESTS_IMPORT_ERROR,
)
from ansible_collections.compute_index.supply.plugins.module_utils._machine.connection import ADDRESS
from ansible_collections.compute_index.supply.plugins.module_utils._operations.reading import RESOURCE_INFO
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import project_of
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import prefix_of
from ansible_collections.compute_index.supply.plugins.module_utils._text import LONGEST_NAME, printable

if t.TYPE_CHECKING:
    from ansible_collections.compute_index.supply.plugins.module_utils._operations._registries import RegisteredMachine

try:
    from ansible.template import trust_as_template as _trust
except ImportError:
    _trust = None

PARSER_ERROR = 4  # the exit code of ansible-playbook and ansible-inventory for an inventory that cannot be parsed
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_FILTERS = ("include", "exclude")
# What a machine has on its way from the list into the inventory.
_NEEDED = {"resource_id", "name", "status", "spec", "kind", "resource_type", *ADDRESS}


def no_template(value: t.Any) -> t.Any:
    """A value from the network such that Ansible does not run it as a template.

    Since ansible-core 2.19 a text is a template only if it is marked as one; before, unless it is marked.
    """
    if _trust is not None:
        return value
    if isinstance(value, dict):
        return {key: no_template(part) for key, part in value.items()}
    if isinstance(value, list):
        return [no_template(part) for part in value]
    if isinstance(value, str) and _may_be_template(value):
        from ansible.utils.unsafe_proxy import wrap_var  # deprecated in the newer versions

        return wrap_var(value)
    return value


def _may_be_template(text: str) -> bool:
    """Whether Ansible could find a template in a text. One that begins so says by itself what else marks templates."""
    return "{" in text or text.startswith("#jinja2:")


def _are_machines(kept: object) -> bool:
    """Whether what a cache holds can be a list of machines; it may be cut, edited, or another program's."""
    return isinstance(kept, list) and all(
        isinstance(item, dict)
        and item.keys() >= _NEEDED
        and isinstance(item["spec"], dict)
        and all(item[name] is None or isinstance(item[name], str) for name in ("name", "status", "ansible_host"))
        and (item["resource_id"] is None or normalized_id(item["resource_id"]) is not None)
        for item in kept
    )


class _Machine(t.NamedTuple):
    """A machine of the list, its host in the registry, and the variables that it has in the inventory."""

    resource: dict[str, t.Any]
    owner: RegisteredMachine | None
    variables: dict[str, t.Any]


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """Ansible's way to find the plugin."""

    NAME = "compute_index.supply.resources"

    def verify_file(self, path: str) -> bool:
        """Whether the file's name says that it is for this plugin."""
        return super().verify_file(path) and path.endswith(("supply.yml", "supply.yaml"))

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        """Add the account's machines to the inventory; leaves the process if that fails."""
        super().parse(inventory, loader, path, cache)
        try:
            self._check(self._read_config_data(path))
            self._populate(self._resources(path, cache), self._registered())
        except Exception as error:
            if not self._is_mine(path):
                raise  # so that other plugins can try it
            # Ansible makes a warning of what a plugin raises, runs on without these hosts, and ends with success unless
            # it is configured otherwise. "All hosts are done" would be a lie then; so this ends the command.
            self.display.error(f"{path}: {error}")
            raise SystemExit(PARSER_ERROR) from error

    def _is_mine(self, path: str) -> bool:
        try:
            return bool(self.loader.load_from_file(path)["plugin"] == self.NAME)
        except Exception:
            return False

    def _check(self, config: t.Mapping[str, t.Any]) -> None:
        unknown = [name for name in config if not self.has_option(name)]
        if unknown:
            raise AnsibleError(f"unknown option(s) {', '.join(unknown)}. Nothing was read.")
        prefix = self.get_option("hostvars_prefix")
        # Behind such a prefix a field of the API could become one of Ansible's own variables.
        is_ansibles = prefix.startswith("ansible") or "ansible".startswith(prefix)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", prefix) or is_ansibles:
            raise AnsibleError("hostvars_prefix must be the beginning of a variable's name, and not Ansible's own.")
        # Ansible takes any word that it does not know for false here, which would switch the check off.
        boolean(config.get("validate_certs", True), strict=True)
        filters = self.get_option("filters")
        if filters.keys() - set(_FILTERS) or not all(isinstance(value, list) for value in filters.values()):
            raise AnsibleError("filters must have a list 'include', a list 'exclude', or both.")

    # From the API, or the cache

    def _resources(self, path: str, cache: bool) -> list[dict[str, t.Any]]:
        """The live machines; ``cache`` is false if the user wants them fresh (``--flush-cache``)."""
        params = {name: self._templated(self.get_option(name)) for name in _spec.API}
        # `secret: true` in the documentation would do it from 2.22 on, but sanity tests before 2.19 refuse that.
        secrets_of(_spec.API, params)
        if not self.get_option("cache"):
            return self._listed(params)
        account = hashlib.sha256(f"{params['api_url']} {params['api_token']}".encode()).hexdigest()
        key = f"{self.get_cache_key(path)}_{account[:16]}"  # another account's machines must not be shown
        if cache and key in self._cache:
            kept = self._cache[key]
            if _are_machines(kept):
                return t.cast("list[dict[str, t.Any]]", kept)
        listed = self._cache[key] = self._listed(params)
        return listed

    def _registered(self) -> dict[str, RegisteredMachine] | None:
        """The machines of the project by their ids, None without a registry that says whose they are."""
        url = self._templated(self.get_option("registry_url"))
        if not url:
            return None
        masked([url])
        from ansible_collections.compute_index.supply.plugins.module_utils._operations._registries import (
            Registries,
            registered_machines,
        )
        from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import SharedProject

        api_url = self._templated(self.get_option("api_url"))
        name = self._templated(self.get_option("account_name"))
        registries = Registries(url, api_url, C.config.get_config_value("ANSIBLE_HOME"), name, read_only=True)
        project = self._templated(self.get_option("project"))
        return registered_machines(registries, SharedProject(project_of(project)))

    def _templated(self, value: t.Any) -> t.Any:
        return self.templar.template(value) if isinstance(value, str) else value

    @staticmethod
    def _listed(params: dict[str, t.Any]) -> list[dict[str, t.Any]]:
        if REQUESTS_IMPORT_ERROR is not None:
            raise AnsibleError(MISSING_REQUESTS)
        asked = {**dict.fromkeys(_spec.RESOURCE_INFO), "kinds": [_states.MACHINE], **params}
        result = RESOURCE_INFO.perform(asked, check_mode=True)
        if result.get("failed"):
            raise AnsibleError(result["msg"])
        return [resource for resource in result["resources"] if resource["live"]]

    # Into the inventory

    def _populate(self, resources: list[dict[str, t.Any]], owned: dict[str, RegisteredMachine] | None) -> None:
        reached = self._reached(resources)
        machines = [machine for machine in self._machines(reached, owned) if self._is_wanted(machine.variables)]
        if not machines:
            self.display.warning("The Supply API lists no live machine that the inventory is to have.")
        groups = self._add_groups(machines)
        hosts = self._host_names(machines)
        self._check_hosts(hosts, machines)
        for host, machine, names in zip(hosts, machines, groups):
            self.inventory.add_host(host)
            for name, value in machine.variables.items():
                self.inventory.set_variable(host, name, value)
            for group in names:
                self.inventory.add_child(group, host)
        for host, machine in zip(hosts, machines):
            self._construct(host, machine.variables)
        both = set(hosts).intersection(self.inventory.groups)
        if both:
            raise AnsibleError(f"keyed_groups makes groups that are called like machines: {', '.join(sorted(both))}.")

    def _check_hosts(self, hosts: list[str], machines: list[_Machine]) -> None:
        """Raise AnsibleError for hosts that are other machines in an inventory that was read before this one."""
        before = self.inventory.hosts
        known = ((host, machine.variables) for host, machine in zip(hosts, machines) if host in before)
        if others := [host for host, variables in known if self._is_other(variables, before[host].vars)]:
            raise AnsibleError(
                f"another inventory, which was read before, has other machines under these names: {', '.join(others)}."
                " Give them names of their own with hostname, or read one inventory at a time."
            )

    def _is_other(self, variables: t.Mapping[str, t.Any], before: t.Mapping[str, t.Any]) -> bool:
        """Whether a host was another computer ``before``: it had another id, or none and an address of its own."""
        name = f"{self.get_option('hostvars_prefix')}resource_id"
        has_id = variables[name] in before.values()  # behind another prefix, perhaps
        address = None if has_id else before.get("ansible_host")
        return before.get(name) not in (None, variables[name]) or address not in (None, variables["ansible_host"])

    def _reached(self, resources: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
        """Those that may be logged in to. Warns of the others, in the API's words for what they are."""
        unknown = [resource for resource in resources if not _states.may_be_reached(resource)]
        if unknown:
            words = ", ".join(sorted({printable(repr(item["resource_type"]), LONGEST_NAME) for item in unknown}))
            self.display.warning(f"{len(unknown)} live resources are no hosts, since their type is unknown: {words}.")
        return [item for item in resources if _states.may_be_reached(item)]

    def _add_groups(self, machines: list[_Machine]) -> list[list[str]]:
        """Add all groups that machines are in; returns those of each machine."""
        # A registered host is in the groups, too, in which it was when it was bought.
        of_owners = (machine.owner.entry.groups if machine.owner else () for machine in machines)
        groups = [[*_inventory.groups_of(item.resource), *further] for item, further in zip(machines, of_owners)]
        for group in dict.fromkeys(name for names in groups for name in names):
            self.inventory.add_group(group)
        return groups

    def _machines(
        self, resources: list[dict[str, t.Any]], owned: dict[str, RegisteredMachine] | None
    ) -> t.Iterator[_Machine]:
        """The project's machines: those that its registry has, without one those with its prefix."""
        prefix, begin = self.get_option("hostvars_prefix"), self._prefix()
        for resource in resources:
            owner = (owned or {}).get(resource["resource_id"])
            if owner or (owned is None and str(resource["name"] or "").startswith(begin)):
                noted = owner.variables if owner else {}
                yield _Machine(resource, owner, no_template({**_inventory.host_variables(resource, prefix), **noted}))

    def _host_names(self, machines: list[_Machine]) -> list[str]:
        """The machines' names in the inventory. Warns of those that several would have."""
        wishes = [self._wish(*machine) for machine in machines]
        taken = {*self.inventory.groups, *self.get_option("groups")}
        hosts = _inventory.host_names([machine.resource for machine in machines], wishes, taken)
        for wish, sharing in _inventory.shared_names(wishes, hosts).items():
            self.display.warning(
                f"{len(sharing)} machines are called {wish}, so none is in the inventory under that name:"
                f" {', '.join(sharing)}."
            )
        return hosts

    def _prefix(self) -> str:
        """What the names of the project's machines begin with."""
        return prefix_of(self._templated(self.get_option("project")))

    def _is_wanted(self, variables: dict[str, t.Any]) -> bool:
        include, exclude = (self.get_option("filters").get(name) for name in _FILTERS)
        if include and not any(self._holds(condition, variables) for condition in include):
            return False
        return not any(self._holds(condition, variables) for condition in exclude or [])

    def _holds(self, condition: t.Any, variables: dict[str, t.Any]) -> bool:
        try:
            value = self._compose(condition, variables) if isinstance(condition, str) else condition
            return bool(boolean(value, strict=True))
        except Exception as error:
            machine = variables.get(f"{self.get_option('hostvars_prefix')}resource_id")
            reason = f"filters: '{condition}' is no condition that can be evaluated for the machine {machine}: {error}"
            raise AnsibleError(reason) from error

    def _wish(self, resource: dict[str, t.Any], owner: RegisteredMachine | None, variables: dict[str, t.Any]) -> t.Any:
        hostname = self.get_option("hostname")
        if not hostname:
            return owner.host if owner else str(resource["name"] or "").removeprefix(self._prefix())
        if _PLAIN.fullmatch(hostname):
            return _inventory.field(variables, hostname)
        return self._compose(hostname, variables)

    def _construct(self, host: str, variables: dict[str, t.Any]) -> None:
        """What the user wants beyond that. It costs time for each host, so it is left alone if there is none."""
        for option, add in (
            ("compose", self._set_composite_vars),
            ("groups", self._add_host_to_composed_groups),
            ("keyed_groups", self._add_host_to_keyed_groups),
        ):
            if wanted := self.get_option(option):
                add(wanted, variables, host, strict=self.get_option("strict"))
