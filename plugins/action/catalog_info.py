# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module catalog_info in Ansible's own process; see ``plugin_utils/_task.py``."""

from __future__ import annotations

from ansible_collections.compute_index.supply.plugins.module_utils._operations.reading import CATALOG_INFO
from ansible_collections.compute_index.supply.plugins.plugin_utils._task import InProcessAction


class ActionModule(InProcessAction):
    """The action plugin; Ansible finds it by the name of this class."""

    operation = CATALOG_INFO
