# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secret values of options, and results without them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import operation

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\n  b3BlbnNzaC1rZXkt\n  AAAAB3NzaC1yc2EA\n  -----END OPENSSH PRIVATE KEY-----"
# Values of options, and their parts that are secret as well
PARTS: list[tuple[str, set[str]]] = [
    ("a-token", set()),
    ("postgresql://user:pass-word@db/registry", {"pass-word"}),
    ("postgresql://user:p%40ss@db/registry", {"p%40ss", "p@ss"}),
    ("postgresql://user@db/registry", set()),
    ("postgresql://user:pw@db/registry", set()),  # the password is too short to be hidden
    ("postgresql://[::1", set()),
    ("host=db user=me", set()),
    ("#cloud-config\npackages: [curl]\n", set()),
    (f"#cloud-config\nssh_keys:\n  ed25519_private: |\n  {KEY}\n", {"b3BlbnNzaC1rZXkt", "AAAAB3NzaC1yc2EA"}),
]


@pytest.mark.parametrize(("value", "parts"), PARTS)
def test_mask_in_output_registers_secret_parts_with_core(
    value: str, parts: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    registered: set[str] = set()
    monkeypatch.setattr(operation, "register_secrets", registered.update)
    hidden = {value, *parts, *(text.lower() for text in (value, *parts))}
    assert operation.mask_in_output([value]) == hidden
    assert registered == hidden


def test_secret_is_hidden_in_lower_case() -> None:
    """A server may echo a secret as a word or an id, which the reader turns into lower case."""
    hidden = operation.mask_in_output(["My-Token-7"])
    assert operation.without_secrets({"status": "my-token-7", "msg": "my-token-7 (My-Token-7)"}, hidden) == {
        "status": operation.CENSORED,
        "msg": "******** (********)",
    }


def test_secrets_of_returns_only_no_log_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation, "register_secrets", None)  # as before ansible-core 2.22
    spec: dict[str, dict[str, Any]] = {"api_token": {"no_log": True}, "cloud_init": {"no_log": True}, "host": {}}
    assert operation.secrets_of(spec, {"api_token": "a-token", "cloud_init": None, "host": "gpu-1"}) == {"a-token"}
    assert operation.secrets_of(spec, {"api_token": "no"}) == set()


# Results, before and after hiding the secret `oven`
RESULTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"msg": "the oven is hot"}, {"msg": "the ******** is hot"}),
    ({"key": "oven", "list": ["oven", 1]}, {"key": operation.CENSORED, "list": [operation.CENSORED, 1]}),
    (
        {"invocation": {"module_args": {"api_token": "oven"}}},
        {"invocation": {"module_args": {"api_token": operation.CENSORED}}},
    ),
    ({"changed": True, "oven": None}, {"changed": True, "oven": None}),
]


@pytest.mark.parametrize(("result", "shown"), RESULTS)
def test_without_secrets_censors_results(result: dict[str, Any], shown: dict[str, Any]) -> None:
    assert operation.without_secrets(result, {"oven"}) == shown
    assert operation.without_secrets(result, set()) is result
