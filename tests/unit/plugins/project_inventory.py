# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory in a folder, as Ansible reads it, and the parameters that steps of `decide` gather from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from ansible_collections.compute_index.supply.plugins.action import decide
from ansible_collections.compute_index.supply.plugins.plugin_utils import _hosts

Json = dict[str, Any]
# A file with a merge conflict, and one that is encrypted with an unknown vault password
CONFLICT = "<<<<<<< HEAD\npassword: hunter2\n=======\na: 1\n>>>>>>> theirs\n"
VAULTED = "$ANSIBLE_VAULT;1.1;AES256\n" + "\n".join(["61" * 40] * 4) + "\n"


class Inventory:
    """A folder with hosts and groups in a YAML file, and with files of variables."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.extra: Json = {}
        self.play: Json = {}  # variables of the play
        self.hosts: _hosts.Hosts  # as the last step has read them

    def write(self, groups: Json) -> None:
        (self.folder / "hosts.yml").write_text(yaml.safe_dump(groups))

    def variables(self, kind: str, name: str, text: Json | str, file: str = "own.yml") -> Path:
        """Write a file of variables of a host (``host_vars``) or a group (``group_vars``), and return its path."""
        path = self.folder / kind / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if isinstance(text, str) else yaml.safe_dump(text))
        return path

    def gathered(self, step: str, **args: Any) -> Json:
        """The parameters of a step of `decide` on localhost."""
        loader = DataLoader()
        loader.set_basedir(str(self.folder))
        inventory = InventoryManager(loader, sources=[str(self.folder / "hosts.yml")])
        manager = VariableManager(loader=loader, inventory=inventory)
        manager._extra_vars = self.extra
        manager._hostvars = HostVars(inventory, manager, loader)
        own = manager.get_vars(host=inventory.get_host("localhost"))
        own = {
            **own,
            **self.play,
            "hostvars": manager._hostvars,
            "ansible_inventory_sources": [str(self.folder / "hosts.yml")],
        }
        task = Mock(args=args, get_variable_manager=lambda: manager, _parent=None)
        action = decide.ActionModule(task, Mock(), Mock(), loader, Templar(loader=loader, variables=own), Mock())
        action.operation = decide.operation_of(decide.STEPS[step])
        self.hosts = action._hosts = action._hosts_of(decide.STEPS[step], own)
        found = {**args, **action._hosts.paths, "registry_url": action._hosts.url or None, "here": str(self.folder)}
        task.args.update(found)
        found.update(action.gathered(decide.STEPS[step], own))
        plain: Json = json.loads(json.dumps(found, default=str))
        return plain
