# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Transfers the code of a run to its machine: packs it once, copies it, and lets the module unpack it."""

from __future__ import annotations

import os
import typing as t

from ansible.errors import AnsibleError
from ansible.module_utils.common.text.converters import to_text
from ansible_collections.compute_index.supply.plugins.module_utils import _spec
from ansible_collections.compute_index.supply.plugins.module_utils._machine import code_files
from ansible_collections.compute_index.supply.plugins.plugin_utils._task import (
    MachineAction,
    checked_answer,
    ending_child_processes,
    limit_connection_attempts,
    temporary_folder,
)


class ActionModule(MachineAction):
    """The action plugin; Ansible finds it by the name of this class."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Transfer the code. The result is never "unreachable", which would remove the host from the play."""
        super().run(tmp, task_vars)
        _checked, options = self.validate_argument_spec(_spec.RUN_FILES)
        limit_connection_attempts(self._connection)
        with ending_child_processes():
            try:
                return self._bring(options, task_vars)
            except (AnsibleError, ValueError, OSError) as error:
                return {"failed": True, "msg": to_text(error)}

    def _bring(self, options: dict[str, t.Any], task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        with temporary_folder() as folder:
            src, archive = os.path.abspath(options["src"]), os.path.join(folder, "code.tar.gz")
            if os.path.isfile(src):  # the playbook run has packed it at its beginning
                archive, digest = src, code_files.packed_digest(src)
            else:
                digest = code_files.pack(src, options["exclude"], archive)
            has = self._ask(options, task_vars, digest=digest)["has"]
            if not has and not self._task.check_mode:
                tmp = self._make_tmp_path()
                remote = self._transfer_file(archive, f"{tmp}/code.tar.gz")
                self._fixup_perms2((tmp, remote))
                self._ask(options, task_vars, digest=digest, archive=remote)
        return {"changed": not has, "digest": digest}

    def _ask(self, options: dict[str, t.Any], task_vars: dict[str, t.Any] | None, **step: t.Any) -> dict[str, t.Any]:
        return checked_answer(self._execute_module(module_args={**options, "step": step}, task_vars=task_vars))
