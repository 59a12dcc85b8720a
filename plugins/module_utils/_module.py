# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs an operation as an Ansible module. This module util is private to the collection."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from . import _spec
from ._http import REQUESTS_IMPORT_ERROR
from ._operation import Operation


def run(operation: Operation) -> None:
    """Parse the options, perform the operation, and leave with its result."""
    spec = {**_spec.API, **operation.argument_spec}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True, **operation.rules)
    if REQUESTS_IMPORT_ERROR is not None:
        module.fail_json(**operation.without_library(missing_required_lib("requests")))
    # A secret of a letter or two would only garble every message.
    module.no_log_values = {value for value in module.no_log_values if len(value.strip()) > 2}
    result = operation.perform(module.params, module.check_mode)
    for warning in result.pop("warnings", []):
        module.warn(warning)
    (module.fail_json if result.get("failed") else module.exit_json)(**result)
