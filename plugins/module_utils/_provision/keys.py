# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SSH keys that let people in to machines: what they look like, and what is wrong with them, said before a purchase."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import typing as t

from .._text import applying
from .declaration import Declaration

LEAST_RSA = 1024  # bits; sshd takes no shorter keys (RequiredRSASize in sshd_config(5))
# The fields that stand behind the type, as regular expressions.
_ED25519 = (b".{32}",)  # RFC 8709, 4
_ECDSA = {
    name: (name.encode(), b"\x04.{%d}" % (2 * size))  # RFC 5656, 3.1: the curve, and a point with both coordinates
    for name, size in (("nistp256", 32), ("nistp384", 48), ("nistp521", 66))
}
_KEY_TYPES: dict[str, tuple[bytes, ...]] = {
    "ssh-ed25519": _ED25519,
    "ssh-rsa": (b".+", b".+"),  # RFC 4253, 6.6: exponent, modulus
    **{f"ecdsa-sha2-{name}": fields for name, fields in _ECDSA.items()},
    # OpenSSH's PROTOCOL.u2f: and the application
    "sk-ssh-ed25519@openssh.com": (*_ED25519, b".+"),
    "sk-ecdsa-sha2-nistp256@openssh.com": (*_ECDSA["nistp256"], b".+"),
}


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


def halves_that_differ(
    raws: t.Iterable[t.Mapping[str, t.Any]], hosts: t.Iterable[Declaration], read: t.Callable[[str], str]
) -> t.Iterator[str]:
    """What is odd about files of public keys and the private keys that ssh is given; an inline key has no file.

    ``raws``: the hosts' declared values. ``read``: the text of a file, empty where it cannot be read, and then unknown.
    """
    files = {
        (str(raw["ssh_public_key_file"]), host.identity_file)
        for raw, host in zip(raws, hosts)
        if host.identity_file and not raw["has_ssh_public_key"]
    }
    for public, private in sorted(files):
        in_public, in_private = read(public).split()[:2], public_half(read(private)).split()
        if in_public and in_private and in_public != in_private:
            yield (
                f"{public}, which the machines will let in, is not the public half of {private}, with which SSH will"
                " try to log in. They belong together unless the user data lets another key in."
            )


def no_ssh(program: str) -> str:
    """This computer has no SSH client."""
    return (
        f"This computer has no {program}, so no one could log in to the machines that would be bought. Install an SSH"
        " client, or set provision_reach to false."
    )


def no_account(uid: int) -> str:
    """The program ssh does nothing for a user whom the system does not know."""
    return (
        f"This computer has no account for the user {uid} that runs Ansible, and for such a user ssh does nothing, so"
        " no one could log in to the machines that would be bought. Add a line for it to /etc/passwd, or set"
        " provision_reach to false."
    )


# What keys for SSH look like


def check_ssh_public_key(value: str) -> str:
    """One public key in OpenSSH's one-line format, without line end. The key is never echoed."""
    key = value.strip()
    kind, _blank, rest = key.partition(" ")
    try:
        fields = _fields(base64.b64decode(rest.strip().split(" ", 1)[0], validate=True))
    except (binascii.Error, ValueError):
        fields = []
    bits = int.from_bytes(b"".join(fields[2:3]), "big").bit_length()  # of RSA
    for fault in applying(
        {
            "is empty": not key,
            "is a PRIVATE key. Give the public one, the file that ends in .pub": (
                "PRIVATE KEY" in key or key.startswith("PuTTY-User-Key-File")
            ),
            "must be one key on one line": not {"\n", "\r"}.isdisjoint(key),
            f"must begin with the key's type, one of: {', '.join(_KEY_TYPES)}": kind not in _KEY_TYPES,
            f"is damaged: what follows '{kind}' is no such key": not _is_key(kind, fields),
            f"is an RSA key of less than {LEAST_RSA} bits, which no SSH server takes": (
                kind == "ssh-rsa" and bits < LEAST_RSA
            ),
        }
    ):
        raise ValueError(fault)
    return key


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


def public_half(private: str) -> str:
    """Type and key of the public half that a private key in OpenSSH's format holds, also where it is encrypted.

    Empty where that cannot be read (OpenSSH's PROTOCOL.key).
    """
    data = _openssh(private)
    count, length = (int.from_bytes(data[at : at + 4], "big") for at in (0, 4))
    blob = data[8 : 8 + length]
    kind = (_fields(blob) or [b""])[0].decode("ascii", "replace")
    return f"{kind} {base64.b64encode(blob).decode()}" if count == 1 and kind in _KEY_TYPES else ""


def _openssh(private: str) -> bytes:
    """What follows the key derivation of a private key in OpenSSH's format; empty for any other."""
    _begin, _mark, rest = private.partition("-----BEGIN OPENSSH PRIVATE KEY-----")
    body, _mark, _rest = rest.partition("-----END OPENSSH PRIVATE KEY-----")
    try:
        data = base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        return b""
    magic, _zero, data = data.partition(b"\0")
    if magic != b"openssh-key-v1":
        return b""
    for _field in ("cipher", "kdf", "options of the kdf"):
        data = data[4 + int.from_bytes(data[:4], "big") :]
    return data


def _is_key(kind: str, fields: list[bytes]) -> bool:
    """Whether the fields of a blob are those of a key of this type, which the first one repeats (RFC 4253, 6.6)."""
    wanted = (re.escape(kind.encode()), *_KEY_TYPES.get(kind, ()))
    fits = all(re.fullmatch(pattern, field, re.DOTALL) for pattern, field in zip(wanted, fields))
    # An even exponent of RSA has no private key.
    return len(fields) == len(wanted) and fits and (kind != "ssh-rsa" or fields[1][-1] % 2 == 1)


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
