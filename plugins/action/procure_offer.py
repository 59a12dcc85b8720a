# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module procure_offer in the process of Ansible itself; see ``plugin_utils/_in_process.py``."""

from __future__ import annotations

# What renders user data, for all workers: Ansible reads each file of filters until it finds the one that it looks for.
from ansible_collections.compute_index.supply.plugins.filter import (  # noqa: F401
    cloud_config,
    owned_machines,
    shortfalls,
    table,
    usd,
)
from ansible_collections.compute_index.supply.plugins.lookup import user_data  # noqa: F401
from ansible_collections.compute_index.supply.plugins.module_utils._operations.procure_offer import PROCURE_OFFER
from ansible_collections.compute_index.supply.plugins.module_utils._registry._postgresql import preload
from ansible_collections.compute_index.supply.plugins.plugin_utils._in_process import InProcessAction

preload()  # before Ansible forks its workers


class ActionModule(InProcessAction):
    """Ansible's way to find the plugin."""

    operation = PROCURE_OFFER
