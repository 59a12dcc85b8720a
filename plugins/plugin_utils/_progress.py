# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells in a terminal how far something is that is waited for, since Ansible's own lines do not."""

from __future__ import annotations

import re
import time

from ansible import constants as C
from ansible.utils.display import Display
from ansible_collections.compute_index.supply.plugins.module_utils._text import COLUMNS, wrapped

MINUTE = 60.0  # seconds after which a state that has not changed is told again
QUIET = 10.0  # the first seconds of a wait, which need no word
# Ansible's callback for terminals. Others, such as AWX's and JSON, have an output of their own, which stays as it is.
_TERMINAL = ("default", "ansible.builtin.default")

display = Display()


def in_terminal() -> bool:
    """Whether a person reads along, by Ansible's callback for terminals."""
    return C.DEFAULT_STDOUT_CALLBACK in _TERMINAL


def tell(text: str) -> None:
    """Show a line in the terminal, or as many as it needs there."""
    for line in wrapped(f"  {text}", COLUMNS, "    "):
        display.display(line)


class Progress:
    """What was told of a host's wait, which begins now; at first only what is urgent is told."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.start = time.monotonic()
        self.msg, self.told = "", 0.0

    @property
    def passed(self) -> float:
        """Seconds since the wait began."""
        return time.monotonic() - self.start

    def news(self, msg: str, *, repeat: bool = True) -> float | None:
        """Seconds since the begin if this is new, or nothing was told for a minute (``repeat``); else None."""
        passed = self.passed
        if msg == self.msg and not (repeat and passed - self.told >= MINUTE):
            return None
        self.msg, self.told = msg, passed
        return passed

    def tell(self, msg: str, urgent: bool = False) -> None:
        """A line if there is something new to say, or nothing was said for a minute: then its first words again."""
        if not in_terminal() or (self.passed < QUIET and not urgent):
            return
        again = msg == self.msg
        passed = self.news(msg)
        if passed is not None:
            message = f"unchanged: {re.split('[.:] ', msg)[0].removesuffix('.')}." if again else msg
            tell(f"{self.host}, after {passed:.0f} s: {message}")
