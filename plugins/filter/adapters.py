# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters. Each calls a plain function; the YAML file with its name documents it."""

from __future__ import annotations

import typing as t

from ansible_collections.compute_index.supply.plugins.module_utils._cloud_init.user_data import completed
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import BOUGHT, owned_row, read_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import AT_MOST, ENDS_AT
from ansible_collections.compute_index.supply.plugins.module_utils._text import narrow_table

try:
    from ansible.parsing.vault import EncryptedString

    # A decrypted text is a marked str.
    _VAULTED: tuple[type, ...] = (EncryptedString, str)
except ImportError:  # before ansible-core 2.19
    from ansible.parsing.yaml.objects import AnsibleVaultEncryptedUnicode

    _VAULTED = (AnsibleVaultEncryptedUnicode,)


def cloud_config(config: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Complete a cloud-config. Raises AnsibleError for a vaulted text without its password."""
    return completed(_decrypted(config))


def _decrypted(value: t.Any) -> t.Any:
    """Decrypt vaulted texts. Before ansible-core 2.21, YAML output would contain them encrypted, with a tag."""
    if isinstance(value, t.Mapping):
        return {key: _decrypted(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_decrypted(part) for part in value]
    return str(value) if isinstance(value, _VAULTED) else value


def owned_machines(hosts: t.Iterable[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """A mapping for each host with machines. Evaluates only the variables that it needs."""
    names = (*BOUGHT, "provision_instances", ENDS_AT, AT_MOST)
    owning = (host for host in hosts if host.get("provision_instances"))
    return [
        owned_row(host["inventory_hostname"], read_entry({name: host.get(name) for name in names})) for host in owning
    ]


def table(rows: t.Sequence[t.Mapping[str, t.Any]], columns: t.Mapping[str, str]) -> list[str]:
    """The lines of a table with a column for each key."""
    return narrow_table(rows, columns)


class FilterModule:
    """The filters; Ansible finds them by the name of this class."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filters by their names."""
        return {"cloud_config": cloud_config, "owned_machines": owned_machines, "table": table}
