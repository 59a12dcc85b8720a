# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys that let people in to machines: what is wrong with them, said before a machine is bought."""

from __future__ import annotations

from . import messages
from .declaration import Declaration


def needs_agent(host: Declaration, job_keys: str | None) -> bool:
    """Whether only a key that the agent of this job has can let it in. ``job_keys``: None outside AWX."""
    return job_keys is not None and host.reach and not host.identity_file


def locked_out(fingerprint: str, job_keys: str) -> str:
    """Why a job of AWX could not log in to the machine: its machine credential and the public key are changed apart.

    ``fingerprint``: the public key's; one without is objected to elsewhere. ``job_keys``: what ``ssh-add -l`` prints.
    """
    is_known = not fingerprint or fingerprint in job_keys.split()
    return "" if is_known else messages.locked_out(fingerprint, job_keys.strip())


def other_half(public: str, private: str, in_public: str, in_private: str) -> str:
    """What is odd about two files of keys. ``in_public``, ``in_private``: the public key of each; empty: unknown."""
    differ = in_public and in_private and in_private.split() != in_public.split()[:2]
    return messages.other_half(public, private) if differ else ""


def unusable(private: str, *, is_open: bool, is_locked: bool) -> str:
    """Why ssh will not use a private key: others may read it, or it has a passphrase that no agent knows."""
    if is_open:
        return messages.open_key(private)
    return messages.no_agent(private) if is_locked else ""
