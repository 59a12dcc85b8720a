# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with keys, before a machine is bought that lets nobody in."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.keys import (
    halves_differ,
    key_pairs,
    others_can_read,
    private_keys,
    why_key_unsuited,
    why_locked_out,
    why_ssh_ignores_key,
)

from provision_samples import declared, raw
from samples import KEY, PRIVATE_KEY


@pytest.mark.parametrize(
    ("fault", "has_key", "text", "reason"),
    [
        ("", True, "", ""),
        ("", True, PRIVATE_KEY, ""),  # the file does not count then
        ("is a PRIVATE key", True, KEY, "provision_ssh_public_key is a PRIVATE key."),
        ("", False, KEY, ""),
        (
            "",
            False,
            "",
            "neither provision_ssh_public_key nor the file /k.pub (provision_ssh_public_key_file). ssh-keygen",
        ),
        (
            "",
            False,
            PRIVATE_KEY,
            "The file /k.pub (provision_ssh_public_key_file) is a PRIVATE key. Give the public one,",
        ),
    ],
)
def test_a_key_that_lets_nobody_in_is_told_before_a_purchase(fault: str, has_key: bool, text: str, reason: str) -> None:
    told = why_key_unsuited(raw(has_ssh_public_key=has_key, ssh_key_fault=fault), "/k.pub", text)
    assert reason in told and bool(reason) == bool(told) and "b3BlbnNz" not in told


@pytest.mark.parametrize(
    ("fields", "job_keys", "needs"),
    [({}, None, False), ({}, "", True), ({"reach": False}, "", False), ({"identity_file": "/key"}, "", False)],
)
def test_only_jobs_of_awx_log_in_by_an_agent_alone(fields: dict[str, Any], job_keys: str | None, needs: bool) -> None:
    assert bool(why_locked_out(declared(**fields), "SHA256:a", "", job_keys)) is needs


@pytest.mark.parametrize(
    ("fingerprint", "job_keys", "is_out"),
    [
        ("SHA256:a", "256 SHA256:a x (ED25519)\n", False),
        ("SHA256:a", "256 SHA256:ab x (ED25519)\n", True),
        ("SHA256:a", "", True),
        ("", "", False),
    ],
)
def test_a_job_with_other_keys_is_locked_out(fingerprint: str, job_keys: str, is_out: bool) -> None:
    assert bool(why_locked_out(declared(), fingerprint, "", job_keys)) is is_out
    assert bool(why_locked_out(declared(), "", KEY, job_keys)) is True


@pytest.mark.parametrize(
    ("in_public", "in_private", "is_odd"),
    [
        ("ssh-ed25519 AAAA me@home", "ssh-ed25519 AAAA", False),
        ("ssh-ed25519 BBBB me@home", "ssh-ed25519 AAAA", True),
        ("", "ssh-ed25519 AAAA", False),
        ("ssh-ed25519 AAAA", "", False),
    ],
)
def test_two_halves_of_different_pairs(in_public: str, in_private: str, is_odd: bool) -> None:
    assert bool(halves_differ("key.pub", "key", in_public, in_private)) is is_odd


def test_what_ssh_will_not_use() -> None:
    assert "chmod 600 key" in why_ssh_ignores_key("key", is_open=True, is_locked=True)
    assert "has a passphrase" in why_ssh_ignores_key("key", is_open=False, is_locked=True)
    assert why_ssh_ignores_key("key", is_open=False, is_locked=False) == ""


@pytest.mark.parametrize(
    ("fields", "pair", "key"),
    [
        ({"identity_file": "/key"}, [("/k.pub", "/key")], ["/key"]),
        ({"identity_file": ""}, [], []),
        ({"identity_file": "/key", "has_ssh_public_key": True}, [], ["/key"]),  # an inline key has no file
        ({"identity_file": "/key", "reach": False}, [("/k.pub", "/key")], []),
    ],
)
def test_which_files_of_keys_are_looked_at(fields: dict[str, Any], pair: list[Any], key: list[str]) -> None:
    values = raw(ssh_public_key_file="/k.pub", **{"has_ssh_public_key": False, **fields})
    host = declared(**{"ssh_public_key_file": "/k.pub", "has_ssh_public_key": False, **fields})
    assert (key_pairs([values, values], [host, host]), private_keys([host, host])) == (pair, key)


@pytest.mark.parametrize(
    ("mode", "is_own", "ignored"),
    [(0o600, True, False), (0o400, True, False), (0o640, True, True), (0o604, True, True), (0o644, False, False)],
)
def test_ssh_ignores_a_key_that_others_can_read(mode: int, is_own: bool, ignored: bool) -> None:
    assert others_can_read(0o100000 | mode, is_own=is_own) is ignored
