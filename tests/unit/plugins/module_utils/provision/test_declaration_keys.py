# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objections to SSH keys, so that no machine is bought that does not let the user log in."""

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
    ("fault", "has_key", "file_text", "objection"),
    [
        ("", True, "", ""),
        ("", True, PRIVATE_KEY, ""),  # the variable replaces the file
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
def test_missing_or_private_key_is_an_objection(fault: str, has_key: bool, file_text: str, objection: str) -> None:
    found = why_key_unsuited(raw(has_ssh_public_key=has_key, ssh_key_fault=fault), "/k.pub", file_text)
    assert objection in found and bool(objection) == bool(found) and "b3BlbnNz" not in found


@pytest.mark.parametrize(
    ("fields", "job_keys", "is_locked_out"),
    [({}, None, False), ({}, "", True), ({"reach": False}, "", False), ({"identity_file": "/key"}, "", False)],
)
def test_only_awx_job_without_identity_file_needs_key_in_agent(
    fields: dict[str, Any], job_keys: str | None, is_locked_out: bool
) -> None:
    assert bool(why_locked_out(declared(**fields), "SHA256:a", "", job_keys)) is is_locked_out


@pytest.mark.parametrize(
    ("fingerprint", "job_keys", "is_locked_out"),
    [
        ("SHA256:a", "256 SHA256:a x (ED25519)\n", False),
        ("SHA256:a", "256 SHA256:ab x (ED25519)\n", True),
        ("SHA256:a", "", True),
        ("", "", False),
    ],
)
def test_awx_job_whose_agent_lacks_the_key_is_locked_out(fingerprint: str, job_keys: str, is_locked_out: bool) -> None:
    assert bool(why_locked_out(declared(), fingerprint, "", job_keys)) is is_locked_out
    assert bool(why_locked_out(declared(), "", KEY, job_keys)) is True
