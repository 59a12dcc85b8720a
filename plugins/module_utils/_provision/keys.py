# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys that let people in to machines: what is wrong with them, said before a machine is bought."""

from __future__ import annotations

import typing as t

from .._machine.ssh_key import fault_of
from .declaration import Declaration


def unsuited(raw: t.Mapping[str, t.Any], file: str, text: str) -> str:
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
    fault = fault_of(text)
    return f"The file {file} (provision_ssh_public_key_file) {fault}." if fault else ""


def needs_agent(host: Declaration, job_keys: str | None) -> bool:
    """Whether only a key that the agent of this job has can let it in. ``job_keys``: None outside AWX."""
    return job_keys is not None and host.reach and not host.identity_file


def locked_out(fingerprint: str, job_keys: str) -> str:
    """Why a job of AWX could not log in to the machine: its machine credential and the public key are changed apart.

    ``fingerprint``: the public key's; one without is objected to elsewhere. ``job_keys``: what ``ssh-add -l`` prints.
    """
    is_known = not fingerprint or fingerprint in job_keys.split()
    return "" if is_known else _locked_out(fingerprint, job_keys.strip())


def _locked_out(wanted: str, job_keys: str) -> str:
    """A job of AWX has other keys, as ssh-add shows them, than the one with this fingerprint that is let in."""
    return (
        f"This job cannot log in to the machines that it would buy: they let in the key {wanted}"
        " (provision_ssh_public_key, in the variables of the inventory). Its own keys, says ssh-add:"
        f" {job_keys.rstrip('.')}. Add the machine credential of that pair to the job template, or run"
        " compute_index.supply.awx_setup with awx_update_secrets=true, which hands over both halves."
    )


def other_half(public: str, private: str, in_public: str, in_private: str) -> str:
    """What is odd about two files of keys. ``in_public``, ``in_private``: the public key of each; empty: unknown."""
    differ = in_public and in_private and in_private.split() != in_public.split()[:2]
    return _other_half(public, private) if differ else ""


def _other_half(public: str, private: str) -> str:
    """The machine will let in another key than the one that SSH is told to use."""
    return (
        f"{public}, which the machines will let in, is not the public half of {private}, with which SSH will try to log"
        " in. They belong together unless the user data lets another key in."
    )


def pairs(raws: t.Iterable[t.Mapping[str, t.Any]], hosts: t.Iterable[Declaration]) -> list[tuple[str, str]]:
    """The files of public keys, each with the private key that ssh is given for its host; an inline key has none.

    ``raws``: the hosts' declared values.
    """
    files = {
        (str(raw["ssh_public_key_file"]), host.identity_file)
        for raw, host in zip(raws, hosts)
        if host.identity_file and not raw["has_ssh_public_key"]
    }
    return sorted(files)


def private_keys(hosts: t.Iterable[Declaration]) -> list[str]:
    """The private keys with which ssh reaches hosts, each once."""
    return sorted({host.identity_file for host in hosts if host.identity_file and host.reach})


def is_open(mode: int, *, is_own: bool) -> bool:
    """Whether ssh ignores a private key for its ``mode``, as sshkey_perm_ok does: others read the user's own."""
    return is_own and bool(mode & 0o077)


def unusable(private: str, *, is_open: bool, is_locked: bool) -> str:
    """Why ssh will not use a private key: others may read it, or it has a passphrase that no agent knows."""
    if is_open:
        return (
            f"Others can read {private}, so ssh will not use it, nor get into the machines, which are billed"
            f" nevertheless. chmod 600 {private}"
        )
    return _no_agent(private) if is_locked else ""


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


def _no_agent(private: str) -> str:
    """A private key with a passphrase, and no agent that knows it."""
    return (
        f"{private} has a passphrase, and no ssh-agent knows it (SSH_AUTH_SOCK is not set): by itself ssh will not get"
        " into the machines, which are billed nevertheless. Start an agent, and ssh-add the key."
    )
