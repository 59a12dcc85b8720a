# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory of the account's machines. `_inventory` has the rules for their names, variables and groups."""

from __future__ import annotations

DOCUMENTATION = r"""
name: resources
short_description: The live machines of the account as hosts
version_added: 1.0.0
description:
  - Makes a host of every live machine that the Supply API lists, with its connection variables, and of no storage.
  - A resource with an unknown C(resource_type) is left out, since it may not be a machine. A warning names the type.
    A resource without a type becomes a host.
  - Its configuration is a YAML file whose name ends in C(.supply.yml) or C(.supply.yaml).
  - If the API fails, or an option is wrong, the command ends with an error and exit code 4, whatever Ansible's settings
    say about inventory sources that it cannot parse. An inventory is never silently empty or incomplete. But if the
    file is not valid YAML, or O(plugin) is misspelled, Ansible only warns, unless C(any_unparsed_is_failed) is set.
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
      - How hosts are named, if not by the resource's name. A variable of the host, such as V(supply_resource_id) or
        V(supply_access.external_ip), or a Jinja2 expression over its variables.
      - The host is named by the resource's id if the result is not a host name, is the name of a group, or has a
        special meaning to Ansible, such as C(localhost).
      - If several resources have the same name, each host's name also contains the id.
    type: str
  hostvars_prefix:
    description:
      - The prefix of the variables that hold the API's fields. It cannot be empty, since Ansible uses C(name) and
        C(tags) itself.
      - O(hostname), O(filters), O(compose), O(keyed_groups) and O(groups) see the variables with this prefix. Hosts
        have C(supply_resource_id) with any prefix, since the roles read it.
    type: str
    default: supply_
  registry_url:
    description:
      - The registry that several controllers share, see P(compute_index.supply.provision#role). The hosts are then
        the machines of one project, with the names and groups that they had when they were bought, the variables of the
        role, and the host keys that other controllers have seen. Other machines are left out. A warning names
        registered machines that the API does not list as live.
    type: str
    env:
      - name: COMPUTE_INDEX_REGISTRY_URL
  account_name:
    description:
      - The name of O(api_token)'s account in the registry of O(registry_url). Needed if several accounts of one API
        share that registry.
    type: str
    default: ""
    env:
      - name: COMPUTE_INDEX_ACCOUNT
  project:
    description:
      - The project whose machines become hosts. Without O(registry_url), these are the machines whose names begin with
        the project and a hyphen, as the role names them; the rest of the name becomes the host's name. V(default)
        has no prefix, so without O(registry_url) it has all machines, also those of other projects.
    type: str
    default: default
    env:
      - name: COMPUTE_INDEX_PROJECT
  filters:
    description:
      - Which of the live machines become hosts. Conditions are Jinja2 expressions over the variables of the host. If
        one cannot be evaluated, the command fails.
    type: dict
    default: {}
    suboptions:
      include:
        description:
          - Only machines for which at least one of these conditions is true.
        type: list
        elements: str
      exclude:
        description:
          - No machine for which at least one of these conditions is true.
        type: list
        elements: str
notes:
  - The default groups are C(supply) with all machines, C(vendor_*), C(region_*) (the vendor's name for it, and the
    API's region if the resource has one), C(gpu_*) (family and full name), C(state_*) and C(contract_*).
    Groups of GPU and contract need a resource that names them, itself or in its C(spec).
  - The C(ansible_host) of a machine without an address cannot be resolved, so that Ansible does not reach another
    computer with that name.
  - If another inventory source has a host with a machine's name, both are one host, with the variables and groups of
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
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import mask_in_output, secrets_of
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
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_FILTERS = ("include", "exclude")
# The fields of a machine in the cache
_NEEDED = {"resource_id", "name", "status", "spec", "kind", "resource_type", *ADDRESS}


def no_template(value: t.Any) -> t.Any:
    """Mark a value from the network, so that Ansible does not run it as a template.

    Since ansible-core 2.19, a text is a template only if it is marked as one; before, unless it is marked.
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
    """Whether Ansible could find a template in a text. A ``#jinja2:`` line sets other marks for templates."""
    return "{" in text or text.startswith("#jinja2:")


def _are_machines(cached: object) -> bool:
    """Whether a cached value is a list of machines. It may be cut, edited, or another program's."""
    return isinstance(cached, list) and all(
        isinstance(item, dict)
        and item.keys() >= _NEEDED
        and isinstance(item["spec"], dict)
        and all(item[name] is None or isinstance(item[name], str) for name in ("name", "status", "ansible_host"))
        and (item["resource_id"] is None or normalized_id(item["resource_id"]) is not None)
        for item in cached
    )


class _Machine(t.NamedTuple):
    """A machine that the API lists, what the registry says of it, and its variables in the inventory."""

    resource: dict[str, t.Any]
    registered: RegisteredMachine | None
    variables: dict[str, t.Any]


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """The inventory plugin; Ansible finds it by the name of this class."""

    NAME = "compute_index.supply.resources"

    def verify_file(self, path: str) -> bool:
        """Whether the file exists and has a name for this plugin."""
        return super().verify_file(path) and path.endswith(("supply.yml", "supply.yaml"))

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        """Add the account's machines to the inventory, or end the process if that fails."""
        super().parse(inventory, loader, path, cache)
        try:
            self._check(self._read_config_data(path))
            registered = self._registered()
            self._populate(self._resources(path, cache, (registered or {}).keys()), registered)
        except Exception as error:
            if not self._is_mine(path):
                raise  # so that other plugins can try it
            # Ansible would only warn, run without these hosts, and end with success unless it is configured otherwise.
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
        # With such a prefix, a field of the API could become one of Ansible's own variables.
        is_ansibles = prefix.startswith("ansible") or "ansible".startswith(prefix)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", prefix) or is_ansibles:
            raise AnsibleError("hostvars_prefix must be the beginning of a variable's name, and not Ansible's own.")
        # Ansible would read any unknown word as false, which would switch the check of certificates off.
        boolean(config.get("validate_certs", True), strict=True)
        filters = self.get_option("filters")
        if filters.keys() - set(_FILTERS) or not all(isinstance(value, list) for value in filters.values()):
            raise AnsibleError("filters must have a list 'include', a list 'exclude', or both.")

    # From the API, or the cache

    def _resources(self, path: str, cache: bool, registered: t.AbstractSet[str]) -> list[dict[str, t.Any]]:
        """The live machines. ``cache`` is false if the user wants a new list (``--flush-cache``).

        A cached list that lacks a machine with one of the ``registered`` ids is older than its purchase.
        """
        params = {name: self._templated(self.get_option(name)) for name in _spec.API}
        # Masks the token. From 2.22 on `secret: true` in the documentation would do so, but sanity tests before 2.19
        # refuse that.
        secrets_of(_spec.API, params)
        if not self.get_option("cache"):
            return self._listed(params)
        account = hashlib.sha256(f"{params['api_url']} {params['api_token']}".encode()).hexdigest()
        key = f"{self.get_cache_key(path)}_{account[:16]}"  # another account's machines must not be shown
        if (
            cache
            and key in self._cache
            and _are_machines(cached := self._cache[key])
            and registered <= {machine["resource_id"] for machine in cached}
        ):
            return t.cast("list[dict[str, t.Any]]", cached)
        listed = self._cache[key] = self._listed(params)
        return listed

    def _registered(self) -> dict[str, RegisteredMachine] | None:
        """The project's machines by their ids; None without a shared registry."""
        url = self._templated(self.get_option("registry_url"))
        if not url:
            return None
        mask_in_output([url])
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

    def _populate(self, resources: list[dict[str, t.Any]], registered: dict[str, RegisteredMachine] | None) -> None:
        self._warn_of_left_out(resources, registered or {})
        reachable = filter(_states.may_be_reached, resources)
        machines = [machine for machine in self._machines(reachable, registered) if self._is_wanted(machine.variables)]
        if not machines:
            self.display.warning(
                "This inventory has no hosts: the Supply API lists no live machine that belongs to it."
            )
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
            raise AnsibleError(f"keyed_groups makes groups with the names of machines: {', '.join(sorted(both))}.")

    def _check_hosts(self, hosts: list[str], machines: list[_Machine]) -> None:
        """Raise AnsibleError if an inventory that was read before has other machines with these names."""
        before = self.inventory.hosts
        known = ((host, machine.variables) for host, machine in zip(hosts, machines) if host in before)
        if others := [host for host, variables in known if self._is_other(variables, before[host].vars)]:
            raise AnsibleError(
                f"another inventory, which was read before, has other machines with these names: {', '.join(others)}."
                " Set hostname to give these machines other names, or read one inventory at a time."
            )

    def _is_other(self, variables: t.Mapping[str, t.Any], before: t.Mapping[str, t.Any]) -> bool:
        """Whether a host was another computer ``before``: it had another id, or no id and another address."""
        name = _inventory.LISTED_ID
        has_id = variables[name] in before.values()  # perhaps with another prefix
        address = None if has_id else before.get("ansible_host")
        return before.get(name) not in (None, variables[name]) or address not in (None, variables["ansible_host"])

    def _warn_of_left_out(
        self, resources: list[dict[str, t.Any]], registered: t.Mapping[str, RegisteredMachine]
    ) -> None:
        """Warn of live resources with an unknown type, and of registered machines that are not listed as live."""
        unknown = [resource for resource in resources if not _states.may_be_reached(resource)]
        if unknown:
            types = ", ".join(sorted({printable(repr(item["resource_type"]), LONGEST_NAME) for item in unknown}))
            self.display.warning(f"{len(unknown)} live resources are left out, since their type is unknown: {types}.")
        live = {resource["resource_id"] for resource in resources}
        if lost := [f"{item.host} ({key})" for key, item in registered.items() if key not in live]:
            self.display.warning(
                "The registry has machines that the Supply API does not list as live. They are not in this inventory,"
                f" but may still be billed: {', '.join(lost)}. Check them with the playbook audit."
            )

    def _add_groups(self, machines: list[_Machine]) -> list[list[str]]:
        """Add the groups of all machines, and return those of each one."""
        # A registered machine also keeps the groups that its host had at the purchase.
        noted = (machine.registered.entry.groups if machine.registered else () for machine in machines)
        groups = [[*_inventory.groups_of(item.resource), *further] for item, further in zip(machines, noted)]
        for group in dict.fromkeys(name for names in groups for name in names):
            self.inventory.add_group(group)
        return groups

    def _machines(
        self, resources: t.Iterable[dict[str, t.Any]], registered: dict[str, RegisteredMachine] | None
    ) -> t.Iterator[_Machine]:
        """The project's machines, by its registry if it has a shared one, else by the prefix of their names."""
        variable_prefix, name_prefix = self.get_option("hostvars_prefix"), self._prefix()
        for resource in resources:
            own = (registered or {}).get(resource["resource_id"])
            if own or (registered is None and str(resource["name"] or "").startswith(name_prefix)):
                variables = {**_inventory.host_variables(resource, variable_prefix), **(own.variables if own else {})}
                yield _Machine(resource, own, no_template(variables))

    def _host_names(self, machines: list[_Machine]) -> list[str]:
        """The machines' host names. Warns if machines share a name."""
        preferred = [self._preferred_name(*machine) for machine in machines]
        taken = {*self.inventory.groups, *self.get_option("groups")}
        names = _inventory.host_names([machine.resource for machine in machines], preferred, taken)
        for name, hosts in names.shared.items():
            self.display.warning(
                f"{len(hosts)} machines are called {name}, so their hosts have other names: {', '.join(hosts)}."
            )
        return names.hosts

    def _prefix(self) -> str:
        """The prefix in the names of the project's machines."""
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
            reason = f"filters: '{condition}' is neither true nor false for the machine {machine}: {error}"
            raise AnsibleError(reason) from error

    def _preferred_name(
        self, resource: dict[str, t.Any], registered: RegisteredMachine | None, variables: dict[str, t.Any]
    ) -> t.Any:
        hostname = self.get_option("hostname")
        if not hostname:
            return registered.host if registered else str(resource["name"] or "").removeprefix(self._prefix())
        if _VARIABLE.fullmatch(hostname):
            return _inventory.field(variables, hostname)
        return self._compose(hostname, variables)

    def _construct(self, host: str, variables: dict[str, t.Any]) -> None:
        """Add composed variables and groups. Each call takes time for each host, so unused options are skipped."""
        for option, add in (
            ("compose", self._set_composite_vars),
            ("groups", self._add_host_to_composed_groups),
            ("keyed_groups", self._add_host_to_keyed_groups),
        ):
            if wanted := self.get_option(option):
                add(wanted, variables, host, strict=self.get_option("strict"))
