# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages about variables and files that cannot be read do not repeat secrets in them."""

from __future__ import annotations

import pytest
from ansible_collections.compute_index.supply.plugins.plugin_utils import _hosts

URL = "postgresql://user:hunter2@db/supply"


@pytest.mark.parametrize(
    ("name", "error", "reason"),
    [
        ("provision_registry_url", f"'x' is undefined in {URL}", "cannot be evaluated"),
        ("provision_spec", "'gpu' is undefined.", "cannot be evaluated: 'gpu' is undefined"),
        ("provision_spec", "a. a. b.", "cannot be evaluated: a. b"),  # older versions repeat the reason
        ("provision_spec", f"no filter. String: {URL}", "cannot be evaluated: no filter"),
        (
            "provision_spec",
            f"while templating '{URL} {{{{ x }}}}'. Error was: x",
            "cannot be evaluated: while templating. Error was: x",
        ),
        ("provision_spec", f"bad. The offending line appears to be:\n\n{URL}\n^ here", "cannot be evaluated: bad"),
    ],
)
def test_why_unevaluated_hides_secrets(name: str, error: str, reason: str) -> None:
    assert _hosts.why_unevaluated(name, error) == reason
    assert "hunter2" not in _hosts.why_unevaluated(name, error)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("Attempting to decrypt but no vault secrets found", "no vault password decrypts it"),
        ("VAULT password wrong", "no vault password decrypts it"),
        (f"mapping values are not allowed here: {URL}", "it is not a YAML mapping"),
    ],
)
def test_why_unreadable_hides_content_of_file(error: str, reason: str) -> None:
    assert _hosts.why_unreadable(error) == f"cannot be read: {reason}"


def test_messages_name_hosts_and_remedy() -> None:
    assert _hosts.why_unread(["a", "b"], "provision_spec", "is odd") == "a, b: provision_spec is odd."
    text = _hosts.why_play_ends("gpu-1", "host_vars/gpu-1.yml is odd.")
    assert text.startswith("host_vars/gpu-1.yml is odd. ") and "--limit 'all:!gpu-1'" in text
    assert text.endswith("Nothing was sent.")
