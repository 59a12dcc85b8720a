# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host keys of machines in the registry that several controllers share: ssh reads them from a file here."""

from __future__ import annotations

import os
import typing as t

from ._files import text_in, write_durably
from ._locks import locked

HOST_KEYS = "provision_host_keys"  # in an entry: lines of a file of known hosts


def pinned(path: str) -> list[str] | None:
    """The host keys in the file, None if there are none."""
    return text_in(path).splitlines() or None


def pin(path: str, keys: t.Sequence[str]) -> None:
    """Add these host keys to the file, whose folder is there afterwards. Raises OSError."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    if set(keys) <= set(pinned(path) or ()):
        return
    with locked(path):
        write_durably(path, "".join(f"{line}\n" for line in dict.fromkeys([*(pinned(path) or ()), *keys])))
