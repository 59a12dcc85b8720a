# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry: one file a host, which Ansible reads back as host variables. Knows neither the API nor HTTP.

This module util is private to the collection.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import typing as t

try:
    import yaml
except ImportError:
    HAS_YAML = False
else:
    HAS_YAML = True

HEADER = (
    "# Written by compute_index.supply: what this host owns or is about to buy."
    " A machine is billed until it is deleted at the API.\n"
)
# A text that begins with the last one says by itself what else marks a template.
_TEMPLATE_MARKS = ("{{", "{%", "{#", "#jinja2:")


def entry_text(variables: t.Mapping[str, t.Any]) -> str:
    """A file of host variables. Raises ValueError for texts that Ansible would run as templates."""
    text: str = yaml.safe_dump(dict(variables), sort_keys=False, width=1000)
    if any(mark in text for mark in _TEMPLATE_MARKS):
        raise ValueError("holds template marks, which Ansible would evaluate when it reads the file")
    return "---\n" + HEADER + text


def read_text(path: str) -> str | None:
    """The file's text, None if there is no such file. Raises OSError if it cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def keep(path: str, text: str | None) -> None:
    """Make the file have this text, or not be there if it is None. Raises OSError; see `write_durably`.

    A folder that is empty then goes too: Ansible would read it instead of a file of host variables of that name.
    """
    if text is not None:
        write_durably(path, text)
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
        folder = os.path.dirname(os.path.abspath(path))
        _sync_folder(folder)
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def write_durably(path: str, text: str) -> None:
    """Replace a file in one step, mode 0600, so that after a crash it is the old or the new one, on disk.

    Raises OSError; the old file is then untouched.
    """
    path = os.path.realpath(path)  # a link stays one
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    # A name that begins with a dot is not read as host variables, should a crash leave it behind.
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    """The new name is on disk only once its folder is. Some network file systems cannot do that, and need not."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
