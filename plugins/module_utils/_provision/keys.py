# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SSH keys that let people in to machines: what they look like, and what is wrong with them, said before a purchase."""

from __future__ import annotations

import base64
import hashlib
import io
import typing as t

from .._text import applying
from .declaration import Declaration

_KEY_TYPES = (
    *("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    *("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"),
)


# What lets nobody in


def why_key_unsuited(raw: t.Mapping[str, t.Any], file: str, text: str) -> str:
    """Why the public key that a host declares would let nobody in; empty if nothing speaks against it.

    ``raw``: its declared values. ``file``: the absolute path that counts if it gives no key; ``text``: what is in it.
    """
    if raw["has_ssh_public_key"]:
        return f"provision_ssh_public_key {raw['ssh_key_fault']}." if raw["ssh_key_fault"] else ""
    if not text:
        return (
            f"There is no SSH public key: neither provision_ssh_public_key nor the file {file}"
            " (provision_ssh_public_key_file). ssh-keygen -t ed25519 makes one."
        )
    fault = why_no_public_key(text)
    return f"The file {file} (provision_ssh_public_key_file) {fault}." if fault else ""


def why_locked_out(host: Declaration, declared: str, public_key: str, job_keys: str | None) -> str:
    """Why a job of AWX could not log in to the machine: its machine credential and the public key are changed apart.

    ``declared``: the fingerprint of the key that the host gives as a text; ``public_key``: what is in the file of
    another. One that cannot be read is objected to elsewhere. ``job_keys``: what ``ssh-add -l`` prints; None outside
    AWX.
    """
    if job_keys is None or not host.reach or host.identity_file:  # only a key of the job's agent can let it in
        return ""
    wanted = declared or fingerprint(public_key)
    if not wanted or wanted in job_keys.split():
        return ""
    return (
        f"This job cannot log in to the machines that it would buy: they let in the key {wanted}"
        " (provision_ssh_public_key, in the variables of the inventory). Its own keys, says ssh-add:"
        f" {job_keys.strip().rstrip('.')}. Add the machine credential of that pair to the job template, or run"
        " compute_index.supply.awx_setup with awx_update_secrets=true, which hands over both halves."
    )


def no_ssh(program: str) -> str:
    """This computer has no SSH client."""
    return (
        f"This computer has no {program}, so no one could log in to the machines that would be bought. Install an SSH"
        " client, or set provision_reach to false."
    )


# What keys for SSH look like


def check_ssh_public_key(value: str) -> str:
    """One public key in OpenSSH's one-line format, without line end. The key is never echoed."""
    key = value.strip()
    kind, _blank, rest = key.partition(" ")
    for fault in applying(
        {
            "is empty": not key,
            "is a PRIVATE key. Give the public one, the file that ends in .pub": (
                "PRIVATE KEY" in key or key.startswith("PuTTY-User-Key-File")
            ),
            "must be one key on one line": not {"\n", "\r"}.isdisjoint(key),
            f"must begin with the key's type, one of: {', '.join(_KEY_TYPES)}": kind not in _KEY_TYPES,
            f"is damaged: what follows '{kind}' is no such key": not _is_key(kind, rest),
        }
    ):
        raise ValueError(fault)
    return key


def _is_key(kind: str, rest: str) -> bool:
    """Whether fields follow, each with its length before it, of which the first repeats the type (RFC 4253, 6.6)."""
    try:
        blob = io.BytesIO(base64.b64decode(rest.strip().partition(" ")[0], validate=True))
    except ValueError:
        return False
    fields = []
    while head := blob.read(4):
        length = int.from_bytes(head, "big")
        fields.append(blob.read(length))
        if len(head) < 4 or len(fields[-1]) < length:
            return False
    return len(fields) > 1 and fields[0] == kind.encode()


def why_no_public_key(value: str) -> str:
    """Why this is no public key, to follow its name in a sentence; empty if it is one."""
    try:
        check_ssh_public_key(value)
    except ValueError as error:
        return str(error)
    return ""


def fingerprint(public: str) -> str:
    """A public key's fingerprint as ``ssh-keygen -l`` shows it, ``SHA256:...``; empty if that is no key."""
    try:
        digest = hashlib.sha256(base64.b64decode(public.split()[1], validate=True)).digest()
    except (IndexError, ValueError):
        return ""
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
