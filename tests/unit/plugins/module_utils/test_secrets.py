# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which values of options are secret, and results without them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import operation

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\n  b3BlbnNzaC1rZXkt\n  AAAAB3NzaC1yc2EA\n  -----END OPENSSH PRIVATE KEY-----"
# What is given, and what is secret of it beside the whole.
PARTS: list[tuple[str, set[str]]] = [
    ("a-token", set()),
    ("postgresql://user:pass-word@db/registry", {"pass-word"}),
    ("postgresql://user:p%40ss@db/registry", {"p%40ss", "p@ss"}),
    ("postgresql://user@db/registry", set()),
    ("postgresql://user:pw@db/registry", set()),  # too short to be hidden by itself
    ("postgresql://[::1", set()),
    ("host=db user=me", set()),
    ("#cloud-config\npackages: [curl]\n", set()),
    (f"#cloud-config\nssh_keys:\n  ed25519_private: |\n  {KEY}\n", {"b3BlbnNzaC1rZXkt", "AAAAB3NzaC1yc2EA"}),
]


@pytest.mark.parametrize(("value", "parts"), PARTS)
def test_what_is_secret_in_a_value_is_told_to_core(
    value: str, parts: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    registered: set[str] = set()
    monkeypatch.setattr(operation, "register_secrets", registered.update)
    hidden = {value, *parts, *(text.lower() for text in (value, *parts))}
    assert operation.mask_in_output([value]) == hidden
    assert registered == hidden


def test_a_secret_that_a_server_echoes_as_a_word_or_an_id_is_hidden() -> None:
    """Those are kept in small letters."""
    hidden = operation.mask_in_output(["My-Token-7"])
    assert operation.without_secrets({"status": "my-token-7", "msg": "my-token-7 (My-Token-7)"}, hidden) == {
        "status": operation.CENSORED,
        "msg": "******** (********)",
    }


def test_only_options_with_no_log_are_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation, "register_secrets", None)  # as before ansible-core 2.22
    spec: dict[str, dict[str, Any]] = {"api_token": {"no_log": True}, "cloud_init": {"no_log": True}, "host": {}}
    assert operation.secrets_of(spec, {"api_token": "a-token", "cloud_init": None, "host": "gpu-1"}) == {"a-token"}
    assert operation.secrets_of(spec, {"api_token": "no"}) == set()


# A result, and the same without the secret `oven`.
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
def test_a_result_loses_secrets(result: dict[str, Any], shown: dict[str, Any]) -> None:
    assert operation.without_secrets(result, {"oven"}) == shown
    assert operation.without_secrets(result, set()) is result
