# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine has, and whether that is what its offer says. Knows no Ansible."""

from __future__ import annotations

import os
import re
import typing as t

from .._text import number_of
from .gpu_rules import BAD, OK, UNKNOWN, Judgement
from .readings import Gpu, Smi, pci_address

Json = dict[str, t.Any]

_NVIDIA = "0x10de"
_BRIDGE = "0x0680"  # an NVSwitch
_DISPLAY = "0x03"  # the PCI class of display controllers; GPUs also have functions for sound and USB
# Device ids of the PCI database, for machines without a driver; the names are nvidia-smi's.
_MODELS = {
    "0x2330": "NVIDIA H100 80GB HBM3",
    "0x2331": "NVIDIA H100 PCIe",
    "0x2339": "NVIDIA H100 94GB HBM3",
    "0x2321": "NVIDIA H100 NVL",
    "0x2335": "NVIDIA H200",
    "0x233b": "NVIDIA H200 NVL",
    "0x2901": "NVIDIA B200",
    "0x20b0": "NVIDIA A100-SXM4-40GB",
    "0x20b2": "NVIDIA A100-SXM4-80GB",
    "0x20b5": "NVIDIA A100 80GB PCIe",
    "0x20f1": "NVIDIA A100-PCIE-40GB",
    "0x26b5": "NVIDIA L40",
    "0x26b9": "NVIDIA L40S",
    "0x27b8": "NVIDIA L4",
    "0x1eb8": "Tesla T4",
    "0x2236": "NVIDIA A10",
    "0x2684": "NVIDIA GeForce RTX 4090",
}
# What a firmware, a kernel and a file system keep for themselves, and the difference between GB and GiB.
_TOLERANCE = 0.85
_SHARES = {"vcpu_count": 1.0}


def measure(smi: Smi | None, root: str) -> Json:
    """GPUs (with model and memory), CPUs, memory and boot disk; sizes in GB (10^9 bytes), None for what is unknown.

    ``smi``: what nvidia-smi says. Without it, the PCI bus tells. ``root``: the folder of the file system to measure.
    """
    return {
        "gpus": _gpus_of_the_bus(root) if smi is None else [_gpu(gpu) for gpu in smi.gpus],
        "gpu_source": "pci" if smi is None else "nvidia-smi",
        "vcpu_count": len(os.sched_getaffinity(0)),
        "memory_in_gb": _memory(root),
        "boot_disk_in_gb": _disk(root),
    }


def _gpu(gpu: Gpu) -> Json:
    size = None if gpu.memory is None else round(gpu.memory * 2**20 / 1e9, 1)
    return {"model": gpu.model, "memory_in_gb": size}


def _gpus_of_the_bus(root: str) -> list[Json]:
    """The GPUs that the kernel sees on the PCI bus, be there a driver or not."""
    devices = (model for kind, model in _devices(root) if kind.startswith(_DISPLAY))
    return [{"model": _MODELS.get(model), "memory_in_gb": None} for model in devices]


def switches(root: str) -> int:
    """How many NVSwitches the kernel sees on the PCI bus."""
    return sum(kind.startswith(_BRIDGE) for kind, _model in _devices(root))


def _devices(root: str) -> t.Iterator[tuple[str, str]]:
    """Class and model of each device of NVIDIA's on the PCI bus."""
    folder = os.path.join(root, "sys/bus/pci/devices")
    for device in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        vendor, kind, model = (read(os.path.join(folder, device, name)) for name in ("vendor", "class", "device"))
        if vendor == _NVIDIA:
            yield kind, model


def addresses(root: str) -> frozenset[str]:
    """Where on the PCI bus the driver has GPUs, one that has fallen off included; a container sees its own alone."""
    folder = os.path.join(root, "proc/driver/nvidia/gpus")
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return frozenset(filter(None, map(pci_address, names)))


def _memory(root: str) -> float | None:
    match = re.search(r"^MemTotal:\s+(\d+) kB", read(os.path.join(root, "proc/meminfo")), re.MULTILINE)
    return round(int(match[1]) * 1024 / 1e9, 1) if match else None


def _disk(root: str) -> float | None:
    try:
        size = os.statvfs(root)
    except OSError:
        return None
    return round(size.f_blocks * size.f_frsize / 1e9, 1)


def read(path: str) -> str:
    """The text of a file, empty if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def gpu_count(machine: t.Mapping[str, t.Any], offer: t.Mapping[str, t.Any]) -> Judgement | None:
    """The number of GPUs against the machine's share of its offer's; None if the offer does not say."""
    wanted, count = gpus_of_node(offer), len(machine["gpus"])
    return None if wanted is None else Judgement(BAD if count < wanted else OK, count, wanted)


def gpu_type(machine: t.Mapping[str, t.Any], offer: t.Mapping[str, t.Any]) -> list[Judgement]:
    """The model of each GPU against the offer's family; a model that is not known is unknown, whatever was offered."""
    family, _gigabytes = _canonical(offer)
    wanted = offer.get("gpu_type") or family
    return [_model(gpu["model"], family, wanted, index) for index, gpu in enumerate(machine["gpus"])]


def _model(model: str | None, family: str | None, wanted: str | None, index: int) -> Judgement:
    verdict = UNKNOWN if not model else BAD if family and not _is_of(family, model) else OK
    return Judgement(verdict, model, wanted, index)


def gpu_memory(machine: t.Mapping[str, t.Any], offer: t.Mapping[str, t.Any]) -> list[Judgement]:
    """The memory of each GPU against the offer's in GB; nothing if the offer does not say."""
    wanted = _canonical(offer)[1]
    sizes = [gpu["memory_in_gb"] for gpu in machine["gpus"]] if wanted else []
    return [_size(size, float(wanted or 0), _TOLERANCE, index) for index, size in enumerate(sizes)]


def size(name: str, machine: t.Mapping[str, t.Any], offer: t.Mapping[str, t.Any]) -> Judgement | None:
    """A number of the machine against the offer's of the same name; None if the offer does not say."""
    wanted = number_of(offer.get(name))
    return None if wanted is None else _size(number_of(machine[name]), wanted, _SHARES.get(name, _TOLERANCE))


def _size(has: float | None, wanted: float, share: float, gpu: int | None = None) -> Judgement:
    return Judgement(UNKNOWN if has is None else BAD if has < wanted * share else OK, has, wanted, gpu)


def gpus_of_node(offer: t.Mapping[str, t.Any]) -> int | None:
    """How many GPUs each machine of the offer has, None if it does not say."""
    count, nodes = number_of(offer.get("gpu_count")), number_of(offer.get("node_count") or 1)
    return int(count // nodes) if count is not None and nodes is not None and nodes >= 1 else None


def _canonical(offer: t.Mapping[str, t.Any]) -> tuple[str | None, int | None]:
    """Family and memory (GB) of an offer, out of ``nvidia-h100-sxm5-80gb`` (API page "gpu-selection")."""
    parts = re.fullmatch(r"nvidia-([a-z0-9]+)-.*?([0-9]{1,6})gb", str(offer.get("gpu_type") or ""))
    family = offer.get("gpu_family")
    named = family if isinstance(family, str) and family else None
    return named or (parts[1] if parts else None), int(parts[2]) if parts else None


def _is_of(family: str, model: str) -> bool:
    """Whether a model is of a family: its name has the family's as a word, or as two (RTX 4090)."""
    words = re.findall(r"[a-z0-9]+", model.lower())
    wanted = re.sub(r"[^a-z0-9]", "", family.lower())
    return wanted in words or wanted in map("".join, zip(words, words[1:]))
