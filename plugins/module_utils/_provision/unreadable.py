# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why the variables of a host cannot be read, in sentences that show no secret. Other hosts go on."""

from __future__ import annotations

import re
import typing as t

from .._text import one_line
from .messages import NOTHING_SENT, some

OTHER_REGISTRY_UNREAD = (
    "names another shared registry than the one that was read, and a run reads one. Run this again for that one"
    " (-e provision_registry_url=...)"
)
HOST_DECIDES = (
    "depends on the host's name, so it is not known where hosts that were ordered are remembered. Put them into the"
    " inventory"
)
_SECRET = "provision_registry_url"
# Where ansible-core repeats a template or a line of a file, and what is left of that.
_REPEATED = {
    r"The offending line appears to be:.*": "",
    r"while templating '.*?'\. Error was": "while templating. Error was",
    r"\. String: .*": "",
}


def unread_of_hosts(hosts: t.Iterable[str], what: str, why: str) -> str:
    """A variable or a file of some hosts that cannot be read. Others go on."""
    return f"{some(hosts)}: {what} {why}."


def ends_the_play(host: str, trouble: str) -> str:
    """A file of a host of this play cannot be read. ``trouble``: which one, and why."""
    return f"{trouble} Ansible ends a play with such a host. Repair it, or add --limit 'all:!{host}'. {NOTHING_SENT}"


def why_unreadable(error: str) -> str:
    """Why a file of variables cannot be read. ``error``: Ansible's, which may repeat lines of it."""
    vaulted = "decrypt" in error.lower() or "vault" in error.lower()
    return f"cannot be read: {'there is no vault password that opens it' if vaulted else 'it is no YAML mapping'}"


def why_unevaluated(name: str, error: str) -> str:
    """Why a variable of a host cannot be evaluated. An error may repeat what was written, and with it a password."""
    if name == _SECRET:
        return "cannot be evaluated"
    for repeated, instead in _REPEATED.items():
        error = re.sub(repeated, instead, error, flags=re.DOTALL)
    # The older versions of ansible-core say everything twice.
    reason = ". ".join(dict.fromkeys(one_line(error).rstrip(".").split(". ")))
    return f"cannot be evaluated: {reason}"
