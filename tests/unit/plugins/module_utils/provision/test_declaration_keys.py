# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objections to keys, before a machine is bought that nobody could log in to."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.declaration import (
    why_key_unsuited,
    why_locked_out,
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
            "neither provision_ssh_public_key nor the file /k.pub (provision_ssh_public_key_file). Create one",
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
