# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs an operation as an Ansible module."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.parameters import remove_values

from .. import _spec
from .operation import AS_MODULE, Operation, folded


class _Module(AnsibleModule):
    """Fails with all the fields of the operation's result, also where the options are wrong."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation
        super().__init__(argument_spec=operation.argument_spec, supports_check_mode=True, **operation.rules)

    def fail_json(self, msg: str, **facts: t.Any) -> None:
        super().fail_json(**{**self._operation.refused(msg), **facts})


def run(operation: Operation) -> None:
    """Parse the options, perform the operation, and leave with its result."""
    module = _Module(operation)
    module.no_log_values = _spec.secrets(operation.argument_spec, module.params)
    result = operation.perform({**module.params, AS_MODULE: True}, module.check_mode)
    for warning in result.pop("warnings", []):
        # A secret with blanks would not be found in folded lines.
        module.warn(folded(str(remove_values(warning, module.no_log_values))))
    (module.fail_json if result.get("failed") else module.exit_json)(**result)
