# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write or remove the registry file of a host."""

from __future__ import annotations

from .. import _spec
from .._ansible.operation import Failure, Operation, Params, Result
from .._registry import _files
from .._registry._files import locked


def registry_entry(params: Params, check_mode: bool) -> Result:
    """Write the variables into the file, or remove the file. Raises Failure (invalid) if that fails."""
    path = params["path"]
    if not _files.HAS_YAML:
        raise Failure(_files.MISSING_YAML, "invalid", path=path)
    try:
        before = _files.read_text(path)
        after = _files.entry_text(params["variables"]) if params["state"] == "present" else None
        if before != after and not check_mode:
            with locked(path):
                _files.write_or_remove(path, after)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Failure(f"The registry file {path} cannot be written: {reason}.", "invalid", path=path) from None
    diff = {"before": before or "", "after": after or "", "before_header": path, "after_header": path}
    return {"changed": before != after, "path": path, "diff": diff}


REGISTRY_ENTRY = Operation(registry_entry, _spec.REGISTRY_ENTRY, {"path": None})
