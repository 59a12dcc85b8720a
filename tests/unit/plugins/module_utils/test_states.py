# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API's words for states, in both vocabularies, and what they mean."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils import _states
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import read_resource
from hypothesis import given
from hypothesis import strategies as st

PHASES = {"unbought", "going_on", "ready", "failed", "expired", "ended"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ready", "ready"),
        (" Ready\n", "ready"),
        ("", None),
        ("  ", None),
        (None, None),
        (7, None),
        (True, None),
        ([], None),
    ],
)
def test_word(value: Any, expected: str | None) -> None:
    assert _states.word(value) == expected


@pytest.mark.parametrize(
    ("procurement_status", "offer_status", "has_machines", "phase"),
    [
        # the vocabulary of the documentation's table
        ("available", "available", False, "unbought"),
        ("provisioning_started", "procured", False, "going_on"),
        ("provisioning_in_progress", "procured", True, "going_on"),
        ("ready", "procured", True, "ready"),
        ("failed", "failed", False, "failed"),
        # the vocabulary of the schema
        ("pending", "available", False, "unbought"),
        ("provisioning", "procured", False, "going_on"),
        # contradicting facts
        ("pending", "procured", False, "going_on"),
        ("available", "procured", False, "going_on"),
        ("pending", "available", True, "going_on"),
        ("available", "available", True, "going_on"),
        ("available", "expired", False, "expired"),
        ("pending", "expired", False, "expired"),
        ("pending", "expired", True, "going_on"),
        ("provisioning", "expired", False, "going_on"),
        ("provisioning", "available", False, "going_on"),
        ("provisioning", "failed", False, "failed"),
        ("pending", "failed", False, "failed"),
        ("failed", "procured", True, "failed"),
        ("ready", "expired", False, "ready"),
        ("ready", "available", False, "ready"),
        ("ready", None, False, "ready"),
        # one of the two is missing
        (None, "available", False, "unbought"),
        (None, "procured", False, "going_on"),
        (None, "expired", False, "expired"),
        (None, "expired", True, "going_on"),
        (None, "failed", False, "failed"),
        (None, "available", True, "going_on"),
        ("available", None, False, "unbought"),
        ("pending", None, False, "unbought"),
        ("provisioning", None, False, "going_on"),
        ("failed", None, False, "failed"),
        (None, None, False, "going_on"),
        (None, None, True, "going_on"),
        # undocumented words
        ("queued", "available", False, "going_on"),
        ("queued", "expired", False, "going_on"),
        (None, "reserved", False, "going_on"),
        ("available", "reserved", False, "unbought"),
    ],
)
def test_phase_of_offer(
    procurement_status: str | None, offer_status: str | None, has_machines: bool, phase: str
) -> None:
    assert _states.phase(procurement_status, offer_status, has_machines=has_machines) == phase


MACHINES = (
    *("vm", "VM", "container", "gpu_instance", "GPU-Instances", "gpuinstance", "GpuInstance", "virtual machine"),
    *("virtualmachine", "server", "bare_metal", "BareMetal", "nebius.compute.h100", "cluster node", "vm_small"),
    *("instance_with_disk", "vm with volumes and a public ip", "gpu-storage-optimized", "diskless_server"),
    *("gpu nvme", "vm-SSDs"),
)
# A word of storage precedes the last word: the resource may be storage or a machine.
DOUBTFUL = (
    *("storage_instance", "disk-server", "StorageNode", "volume host", "vm-disk-2"),
    *("volume_snapshot", "disk_of_vm", "storage_network"),
)
# Words for storage or for a part of a machine.
AMBIGUOUS = (
    *("nvme", "local-SSD", "NFS", "shared_fs", "SharedFS", "objectStore", "pvc", "drives"),
    *("lustre", "CephFS", "ceph", "nvmedrive", "parallel lustre"),
    *("cluster_fs", "ClusterLustre", "instance-store", "pod_pvc", "vm drives"),
)
KINDS = {
    "machine": (
        *MACHINES,
        None,
        "",
        "  ",
        7,
        ["vm"],
        {},
        "reservation",
        "warp-core",
        "chip",
        "monkey",
        "h100 with disk",
        "h100-storage-optimized",
    ),
    "storage": (
        *("storage", "block_disk", "Block-Disk", "block disks", "blockdisk", "BlockDisk", "filesystem", "file_system"),
        *("FileSystem", "volume", "VOLUMES", "boot_disk", "vm_storage", "object-storage", "bucket", "network_storage"),
        *("gpu_disk", "volume with vm", "volume2"),
        *DOUBTFUL,
        *AMBIGUOUS,
    ),
    "other": (
        *("network", "Networks", "vpc", "ip", "IPs", "public_ip", "FloatingIP", "ip-address", "addresses"),
        *("ssh_key", "SshKeys", "keypair", "snapshot", "vm_image", "firewall", "load_balancer", "router"),
        *("backups", "license"),
    ),
}


@pytest.mark.parametrize(("kind", "word"), [(kind, word) for kind, words in KINDS.items() for word in words], ids=str)
def test_kind_of_resource(kind: str, word: Any) -> None:
    assert _states.kind_of(word) == kind
    assert _states.is_machine({"kind": _states.kind_of(word)}) is (kind == "machine")


@pytest.mark.parametrize(
    ("access", "spec", "is_used"),
    [
        ({"ssh_command": "ssh root@1.2.3.4"}, {}, True),
        ({"ssh_port": 22}, {}, True),
        ({}, {"gpu_count": 1}, True),
        ({"external_ip": "1.2.3.4", "internal_ip": "10.0.0.1"}, {"size_gb": 500}, False),
        ({"ssh_command": None, "ssh_port": None}, {"gpu_count": 0}, False),
    ],
)
def test_doubtful_types_are_machines_if_used_as_machines(access: Any, spec: Any, is_used: bool) -> None:
    for kind, words in KINDS.items():
        for word in words:
            page = read_resource({"resource_id": "r", "resource_type": word, "access": access, "spec": spec})
            is_doubtful = word in (*DOUBTFUL, *AMBIGUOUS)
            assert page["kind"] == ("machine" if is_doubtful and is_used else kind), word


def test_resource_without_kind_is_a_machine() -> None:
    assert _states.is_machine({})


@pytest.mark.parametrize("word", [word for words in KINDS.values() for word in words], ids=str)
def test_only_known_or_missing_machine_types_may_be_reached(word: Any) -> None:
    is_missing = not isinstance(word, str) or not word.strip()
    resource = {"resource_type": word, "kind": _states.kind_of(word)}
    assert _states.may_be_reached(resource) is (word in MACHINES or is_missing)


@given(st.text() | st.none() | st.integers() | st.lists(st.text()))
def test_any_type_has_a_kind_and_only_machines_may_be_reached(value: Any) -> None:
    kind = _states.kind_of(value)
    assert kind in _states.KINDS
    assert kind == "machine" or not _states.may_be_reached({"resource_type": value, "kind": kind})
    if isinstance(value, str) and value.isascii():
        assert _states.kind_of(f"{value}_volume") == "storage"


KNOWN = st.sampled_from(["available", "pending", "provisioning", "ready", "failed", "expired", "procured"])
MAYBE_WORD = st.none() | KNOWN | st.text(min_size=1)


@given(MAYBE_WORD, MAYBE_WORD, st.booleans())
def test_any_words_give_a_phase_and_machines_exclude_unbought(
    procurement_status: str | None, offer_status: str | None, has_machines: bool
) -> None:
    phase = _states.phase(procurement_status, offer_status, has_machines=has_machines)
    assert phase in PHASES
    if has_machines:
        assert phase not in ("unbought", "expired")


@pytest.mark.parametrize(
    ("word", "live", "ending", "gone"),
    [
        ("running", True, False, False),
        ("provisioning", True, False, False),
        ("stopped", True, False, False),
        ("hibernating", True, False, False),
        (None, True, False, False),
        ("deleting", False, True, False),
        ("failed", False, False, False),
        ("deleted", False, True, True),
        ("terminated", False, True, True),
    ],
)
def test_is_live_is_ending_and_is_gone(word: str | None, live: bool, ending: bool, gone: bool) -> None:
    assert (_states.is_live(word), _states.is_ending(word), _states.is_gone(word)) == (live, ending, gone)


@pytest.mark.parametrize("words", [_states._OF_STORAGE, _states._OF_OTHER, _states._OF_MACHINES], ids=len)
def test_words_of_kinds_are_listed_in_the_api_page(words: Iterable[str]) -> None:
    page = (Path(__file__).parents[4] / "docs" / "api.md").read_text()
    assert [word for word in words if f"`{word}`" not in page] == []
