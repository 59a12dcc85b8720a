# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module has answered that an action plugin asks on the machine, often more than once."""

from __future__ import annotations

import typing as t


def asked(answer: dict[str, t.Any]) -> dict[str, t.Any]:
    """The answer. Raises ValueError with its sentence if it is a failure."""
    if answer.get("failed") or answer.get("unreachable"):
        details = answer.get("module_stderr") or answer.get("exception") or ""
        raise ValueError(" ".join(filter(None, (str(answer.get("msg") or "The machine does not answer."), details))))
    return answer
