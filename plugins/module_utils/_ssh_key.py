# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a public key for SSH looks like. This module util is private to the collection."""

from __future__ import annotations

import base64
import binascii

_KEY_TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)


def check_ssh_public_key(value: str) -> str:
    """One public key in OpenSSH's one-line format, without line end. The key is never echoed."""
    key = value.strip()
    if not key:
        raise ValueError("is empty")
    if "PRIVATE KEY" in key or key.startswith("PuTTY-User-Key-File"):
        raise ValueError("is a PRIVATE key. Give the public one, the file that ends in .pub")
    if "\n" in key or "\r" in key:
        raise ValueError("must be one key on one line")
    kind, _blank, rest = key.partition(" ")
    if kind not in _KEY_TYPES:
        raise ValueError(f"must begin with the key's type, one of: {', '.join(_KEY_TYPES)}")
    try:
        blob = base64.b64decode(rest.strip().split(" ", 1)[0], validate=True)
    except (binascii.Error, ValueError):
        blob = b""
    # RFC 4253, 6.6: the blob repeats the type.
    fields = _fields(blob)
    if len(fields) < 2 or fields[0] != kind.encode():
        raise ValueError(f"is damaged: what follows '{kind}' is no such key")
    return key


def _fields(blob: bytes) -> list[bytes]:
    """The fields of a key, each with its length in four bytes before it; none if they do not add up."""
    fields: list[bytes] = []
    while blob:
        length = int.from_bytes(blob[:4], "big")
        field, rest = blob[4 : 4 + length], blob[4 + length :]
        if len(field) != length:
            return []
        fields.append(field)
        blob = rest
    return fields
