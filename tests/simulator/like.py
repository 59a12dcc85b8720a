# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Switches out of what the playbook ``probe`` has recorded of an API."""

from __future__ import annotations

import json
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from .settings import Settings

FORMAT = 1


class Unreadable(Exception):
    """A file that is no recording, or one of another version."""


def switches(file: str) -> dict[str, Any]:
    """The switches that the findings of a recording decide; all others are left as they are. Raises Unreadable."""
    try:
        recording = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Unreadable(f"{file}: {error}") from error
    if not isinstance(recording, dict) or recording.get("format") != FORMAT:
        raise Unreadable(f"{file}: this is no recording of the playbook probe in the format {FORMAT}")
    found: dict[str, Any] = {}
    for finding in recording["findings"]:
        found.update(finding["switches"])
    hints = get_type_hints(Settings)
    for name, value in found.items():
        if name == "token" or not fits(value, hints.get(name)):
            raise Unreadable(f"{file}: the simulator has no setting {name}={value!r}")
    return found


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is one of a setting's."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if isinstance(kind, UnionType) or get_origin(kind) is not None:
        return any(fits(value, each) for each in get_args(kind))
    if isinstance(value, bool):  # which Python takes for a number
        return kind is bool
    return isinstance(kind, type) and isinstance(value, (int, float) if kind is float else kind)
