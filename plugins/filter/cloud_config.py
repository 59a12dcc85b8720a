# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Completes a cloud-config. The logic is a plain function of the module utils."""

from __future__ import annotations

DOCUMENTATION = r"""
name: cloud_config
short_description: Completes a cloud-config
version_added: 1.0.0
author:
  - Contributors to the compute_index.supply collection (@compute-index)
description:
  - Makes a cloud-config of what a template has put together, such as the one of the role
    P(compute_index.supply.provision#role).
  - Leaves out what is empty, has the list of packages updated if there are any, and keeps the user of the image beside
    others. Files whose owner the first boot makes, or that lie on what it mounts, are written late (C(defer)), since
    cloud-init writes the others before it does so.
positional: _input
options:
  _input:
    description:
      - Keys of cloud-config, with their values.
    type: dict
    required: true
"""

EXAMPLES = r"""
# In a template of user data
- |
  #cloud-config
  {{ {'packages': provision_packages, 'write_files': provision_files, 'users': provision_users}
     | compute_index.supply.cloud_config | to_nice_yaml }}
"""

RETURN = r"""
_value:
  description: The cloud-config, ready to be written as YAML.
  type: dict
"""

import typing as t

from ansible_collections.compute_index.supply.plugins.module_utils._cloud_init.user_data import completed

try:
    from ansible.parsing.vault import EncryptedString

    # A text that has been decrypted carries a mark of it.
    _VAULTED: tuple[type, ...] = (EncryptedString, str)
except ImportError:  # before ansible-core 2.19
    from ansible.parsing.yaml.objects import AnsibleVaultEncryptedUnicode

    _VAULTED = (AnsibleVaultEncryptedUnicode,)


def cloud_config(config: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The cloud-config, complete. Raises AnsibleError for a vaulted text whose password was not given."""
    return completed(_decrypted(config))


def _decrypted(value: t.Any) -> t.Any:
    """Vaulted texts as what they are. Before ansible-core 2.21 they are written to YAML with a tag, still encrypted."""
    if isinstance(value, t.Mapping):
        return {key: _decrypted(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_decrypted(part) for part in value]
    return str(value) if isinstance(value, _VAULTED) else value


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filters of this file by their names."""
        return {"cloud_config": cloud_config}
