# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs an operation as an Ansible module."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

from .operation import AS_MODULE, Operation, Result, folded_warning, secrets_of, without_secrets


class _Module(AnsibleModule):
    """A module that fails with all fields of the operation's result, also if the options are wrong."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation
        super().__init__(argument_spec=operation.argument_spec, supports_check_mode=True, **operation.rules)

    def fail_json(self, msg: str, **facts: t.Any) -> None:
        super().fail_json(**self.printable({**self._operation.refused(msg), **facts}))

    def printable(self, result: Result) -> Result:
        """The result without secrets, and with the module's options, which Ansible shows if it is so configured."""
        self.no_log_values = secrets_of(self._operation.argument_spec, self.params)
        return without_secrets({"invocation": {"module_args": self.params}, **result}, self.no_log_values)


def run(operation: Operation) -> None:
    """Parse the options, perform the operation, and exit with its result."""
    module = _Module(operation)
    result = module.printable(operation.perform({**module.params, AS_MODULE: True}, module.check_mode))
    for warning in result.pop("warnings", []):
        # After the secrets are removed: one with blanks would not be found in folded lines.
        module.warn(folded_warning(warning))
    (module.fail_json if result.get("failed") else module.exit_json)(**result)
