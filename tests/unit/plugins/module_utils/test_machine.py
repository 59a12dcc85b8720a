# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the hardware of a machine, and compares it with the offer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._machine import acceptance
from ansible_collections.compute_index.supply.plugins.module_utils._machine.readings import (
    CommandResult,
    Readings,
    count_devices,
    hardware_of,
    smi_of,
)
from ansible_collections.compute_index.supply.plugins.module_utils._machine.verdicts import findings
from ansible_collections.compute_index.supply.plugins.module_utils._machine.wanted import Wanted

H100 = {"model": "NVIDIA H100 80GB HBM3", "memory_in_gb": 85.5}
OFFER = {
    "gpu_type": "nvidia-h100-sxm5-80gb",
    "gpu_family": "H100",
    "gpu_count": 4,
    "vcpu_count": 16,
    "memory_in_gb": 200,
    "boot_disk_in_gb": 100,
}
MACHINE = {"gpus": [H100] * 4, "vcpu_count": 16, "memory_in_gb": 190.0, "boot_disk_in_gb": 95.0}


def shortfalls(machine: dict[str, Any], offer: dict[str, Any]) -> list[str]:
    """The bad findings about a machine compared with its offer, in words."""
    readings = Readings({"nvidia-smi": CommandResult((), 0, "<nvidia_smi_log></nvidia_smi_log>")})
    readings.machine = machine
    found = findings(readings, Wanted("specs", offer))
    return list(dict.fromkeys(finding.sentence() for finding in found if finding.verdict == "bad"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root folder of a computer with 8 GB of memory and no PCI device."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal:        7812500 kB\nMemFree: 1 kB\n")
    return tmp_path


def add_device(root: Path, slot: str, vendor: str, kind: str, device: str) -> None:
    """Add a device to the PCI bus."""
    folder = root / "sys" / "bus" / "pci" / "devices" / slot
    folder.mkdir(parents=True)
    for name, value in (("vendor", vendor), ("class", kind), ("device", device)):
        (folder / name).write_text(value + "\n")


def test_gpus_are_read_from_nvidia_smi(root: Path) -> None:
    gpu = "<gpu><product_name>{}</product_name><fb_memory_usage><total>{}</total></fb_memory_usage></gpu>"
    gpus = gpu.format("NVIDIA H100 80GB HBM3", "81559 MiB") + gpu.format("Odd, name", "N/A")
    smi = smi_of(CommandResult((), 0, f"<nvidia_smi_log>{gpus}</nvidia_smi_log>"))
    machine = hardware_of(smi, str(root))
    assert machine["gpu_source"] == "nvidia-smi"
    assert machine["gpus"] == [H100, {"model": "Odd, name", "memory_in_gb": None}]
    assert machine["memory_in_gb"] == 8.0
    assert machine["vcpu_count"] >= 1
    assert machine["boot_disk_in_gb"] > 0


@pytest.mark.parametrize("script", [None, "exit 9", "sleep 9"], ids=["no nvidia-smi", "no driver", "nvidia-smi hangs"])
def test_without_driver_gpus_are_counted_on_the_pci_bus(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, script: str | None
) -> None:
    if script:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    add_device(root, "0000:01:00.0", "0x10de", "0x030200", "0x2330")
    add_device(root, "0000:01:00.1", "0x10de", "0x040300", "0x22ba")
    add_device(root, "0000:02:00.0", "0x10de", "0x030000", "0xffff")
    add_device(root, "0000:03:00.0", "0x1af4", "0x030000", "0x1050")
    add_device(root, "0000:04:00.0", "0x10de", "0x068000", "0x22a3")
    machine = acceptance.measure_hardware(str(root), seconds=0.2)
    assert machine["gpu_source"] == "pci"
    assert machine["gpus"] == [{"model": None, "memory_in_gb": None}] * 2
    assert count_devices(str(root)) == 1  # an NVSwitch


def test_unknown_hardware_is_none(tmp_path: Path) -> None:
    machine = hardware_of(None, str(tmp_path / "nowhere"))
    assert (machine["gpus"], machine["memory_in_gb"], machine["boot_disk_in_gb"]) == ([], None, None)


@pytest.mark.parametrize(
    ("machine", "offer", "expected"),
    [
        ({}, {}, []),
        ({"gpus": [H100] * 3}, {}, ["gpu_count: 3 instead of 4"]),
        ({"gpus": []}, {}, ["gpu_count: 0 instead of 4"]),
        ({"gpus": [H100] * 8}, {}, []),
        ({"gpus": [H100] * 8}, {"gpu_count": 24, "node_count": 3}, []),
        ({"gpus": [H100] * 7}, {"gpu_count": 24, "node_count": 3}, ["gpu_count: 7 instead of 8"]),
        (
            {"gpus": [H100] * 7},
            {"gpu_count": 8, "node_count": 2, "gpus_per_node": 8},
            ["gpu_count: 7 instead of 8"],
        ),
        ({"gpus": [H100] * 8}, {"gpu_count": 16, "node_count": 2, "gpus_per_node": 8}, []),
        ({"gpus": [H100] * 3}, {"gpus_per_node": 2}, ["gpu_count: 3 instead of 4"]),
        ({"vcpu_count": 15}, {}, ["vcpu_count: 15 instead of 16"]),
        ({"memory_in_gb": 169.9}, {}, ["memory_in_gb: 169.9 GB instead of 200 GB"]),
        ({"memory_in_gb": 171.0, "boot_disk_in_gb": 86.0}, {}, []),
        ({"boot_disk_in_gb": 48.0}, {}, ["boot_disk_in_gb: 48 GB instead of 100 GB"]),
        ({"memory_in_gb": None, "boot_disk_in_gb": None}, {}, []),
        ({"vcpu_count": 1, "memory_in_gb": 1.0}, {"vcpu_count": None, "memory_in_gb": None}, []),
        ({}, dict.fromkeys(OFFER), []),
        ({"gpus": [H100] * 3}, {"gpu_count": "4.0"}, ["gpu_count: 3 instead of 4"]),
        ({"gpus": [H100] * 3}, {"gpu_count": "eight"}, []),
        ({"gpus": [H100] * 3}, {"gpu_count": [8]}, []),
        ({"gpus": [H100] * 7}, {"gpu_count": "24", "node_count": "3"}, ["gpu_count: 7 instead of 8"]),
        ({"gpus": [H100] * 3}, {"node_count": 0}, ["gpu_count: 3 instead of 4"]),
        ({"gpus": [H100] * 3}, {"node_count": "one"}, []),
        ({"gpus": [H100] * 3}, {"node_count": 0.5}, []),
        ({"gpus": [H100] * 3}, {"node_count": "0.5"}, []),
        ({"gpus": [H100] * 3}, {"node_count": -1}, []),
        (
            {"vcpu_count": 15, "memory_in_gb": 0.4},
            {"vcpu_count": "16", "memory_in_gb": "0.5"},
            ["vcpu_count: 15 instead of 16", "memory_in_gb: 0.4 GB instead of 0.5 GB"],
        ),
        ({}, {"vcpu_count": "many", "memory_in_gb": {}, "boot_disk_in_gb": True}, []),
        ({}, {"vcpu_count": float("nan"), "memory_in_gb": "inf"}, []),
        ({}, {"gpu_family": 100, "gpu_type": 7}, []),
        (
            {"gpus": [{"model": "NVIDIA A100-SXM4-80GB", "memory_in_gb": 85.9}] * 4},
            {},
            ["gpu_type: NVIDIA A100-SXM4-80GB instead of nvidia-h100-sxm5-80gb"],
        ),
        (
            {"gpus": [{"model": "NVIDIA A100-SXM4-40GB", "memory_in_gb": 42.9}] * 4},
            {"gpu_type": "nvidia-a100-sxm4-80gb", "gpu_family": "A100"},
            ["gpu_memory: 42.9 GB instead of 80 GB"],
        ),
        (
            {"gpus": [{"model": "NVIDIA A100-SXM4-80GB", "memory_in_gb": 85.9}] * 4},
            {"gpu_type": None},
            ["gpu_type: NVIDIA A100-SXM4-80GB instead of H100"],
        ),
        ({"gpus": [{"model": None, "memory_in_gb": None}] * 4}, {}, []),
    ],
)
def test_findings_name_each_shortfall(machine: dict[str, Any], offer: dict[str, Any], expected: list[str]) -> None:
    assert shortfalls({**MACHINE, **machine}, {**OFFER, **offer}) == expected


@pytest.mark.parametrize(
    ("gpu_type", "model", "is_same"),
    [
        ("nvidia-rtx4090-pcie-24gb", "NVIDIA GeForce RTX 4090", True),
        ("nvidia-l4-pcie-24gb", "NVIDIA L4", True),
        ("nvidia-l4-pcie-24gb", "NVIDIA L40S", False),
        ("nvidia-l40s-pcie-48gb", "NVIDIA L40S", True),
        ("nvidia-l40-pcie-48gb", "NVIDIA L40S", False),
        ("nvidia-a100-pcie-40gb", "NVIDIA A100-PCIE-40GB", True),
        ("nvidia-h200-sxm5-141gb", "NVIDIA H100 80GB HBM3", False),
    ],
)
def test_models_are_compared_by_family(gpu_type: str, model: str, is_same: bool) -> None:
    gpus = [{"model": model, "memory_in_gb": None}]
    found = shortfalls({**MACHINE, "gpus": gpus}, {"gpu_type": gpu_type, "gpu_count": 1})
    assert (found == []) == is_same
