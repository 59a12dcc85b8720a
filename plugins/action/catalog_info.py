# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module catalog_info in the process of Ansible itself; see ``plugin_utils/_task.py``."""

from __future__ import annotations

from ansible_collections.compute_index.supply.plugins.module_utils._operations.reading import CATALOG_INFO
from ansible_collections.compute_index.supply.plugins.plugin_utils._task import InProcessAction


class ActionModule(InProcessAction):
    """Ansible's way to find the plugin."""

    operation = CATALOG_INFO
