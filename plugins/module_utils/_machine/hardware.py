# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine has: measured on it, and held against the offer that it was bought as. Knows no Ansible."""

from __future__ import annotations

import os
import re
import shutil
import typing as t

from .._text import number_of

Json = dict[str, t.Any]

SMI_SECONDS = 60  # nvidia-smi starts the driver, which takes long on machines with eight GPUs
_NVIDIA = "0x10de"
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


# Runs a command; returns its exit code, output and errors, as AnsibleModule.run_command does.
RunCommand = t.Callable[[list[str]], tuple[int, str, str]]


def measure(run_command: RunCommand, root: str) -> Json:
    """GPUs (with model and memory), CPUs, memory and boot disk; sizes in GB (10^9 bytes), None for what is unknown.

    ``root``: the folder of the file system that is measured.
    """
    gpus = _gpus_of_the_driver(run_command)
    source = "nvidia-smi"
    if gpus is None:
        gpus, source = _gpus_of_the_bus(root), "pci"
    return {
        "gpus": gpus,
        "gpu_source": source,
        "vcpu_count": len(os.sched_getaffinity(0)),
        "memory_in_gb": _memory(root),
        "boot_disk_in_gb": _disk(root),
    }


def _gpus_of_the_driver(run_command: RunCommand) -> list[Json] | None:
    """What nvidia-smi lists, None if there is none or it has no driver to talk to."""
    program = shutil.which("nvidia-smi", path=os.environ.get("PATH", "") + ":/usr/local/bin:/usr/bin:/bin")
    if program is None:
        return None
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    code, output, _errors = run_command(["timeout", str(SMI_SECONDS), *query])
    if code != 0:
        return None
    gpus = []
    for line in filter(None, map(str.strip, output.splitlines())):
        model, _comma, mebibytes = line.rpartition(",")
        size = round(int(mebibytes) * 1.048576 / 1000, 1) if mebibytes.strip().isdigit() else None
        gpus.append({"model": model.strip() or line, "memory_in_gb": size})
    return gpus


def _gpus_of_the_bus(root: str) -> list[Json]:
    """The GPUs that the kernel sees on the PCI bus, be there a driver or not."""
    folder = os.path.join(root, "sys/bus/pci/devices")
    gpus = []
    for device in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        vendor, kind, model = (_read(os.path.join(folder, device, name)) for name in ("vendor", "class", "device"))
        if vendor == _NVIDIA and kind.startswith(_DISPLAY):
            gpus.append({"model": _MODELS.get(model), "memory_in_gb": None})
    return gpus


def _memory(root: str) -> float | None:
    match = re.search(r"^MemTotal:\s+(\d+) kB", _read(os.path.join(root, "proc/meminfo")), re.MULTILINE)
    return round(int(match[1]) * 1024 / 1e9, 1) if match else None


def _disk(root: str) -> float | None:
    try:
        size = os.statvfs(root)
    except OSError:
        return None
    return round(size.f_blocks * size.f_frsize / 1e9, 1)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def shortfalls(machine: t.Mapping[str, t.Any], offer: t.Mapping[str, t.Any]) -> list[str]:
    """Where a machine has less than the offer says, a sentence for each field.

    What either does not tell, or tells in a way that cannot be read as a number, is passed over. ``offer`` is an offer
    of the API; of a cluster each machine has its share of the GPUs.
    """
    lacking = _gpu_shortfalls(machine["gpus"], offer)
    for name in ("vcpu_count", "memory_in_gb", "boot_disk_in_gb"):
        has, wanted = number_of(machine[name]), number_of(offer.get(name))
        if has is not None and wanted is not None and has < wanted * _SHARES.get(name, _TOLERANCE):
            lacking.append(f"{name}: {has:g} instead of {wanted:g}")
    return lacking


def _gpu_shortfalls(gpus: list[Json], offer: t.Mapping[str, t.Any]) -> list[str]:
    wanted = _gpus_of_node(offer)
    too_few = [f"gpu_count: {len(gpus)} instead of {wanted}"] if len(gpus) < wanted else []
    family, gigabytes = _canonical(offer)
    other_kinds = (_gpu_shortfall(gpu, family, gigabytes, offer.get("gpu_type")) for gpu in gpus)
    return list(dict.fromkeys((*too_few, *filter(None, other_kinds))))


def _gpu_shortfall(gpu: Json, family: str | None, gigabytes: int | None, gpu_type: str | None) -> str | None:
    """Where a GPU is less than one of the family, or has fewer gigabytes; None if it is not, or that is unknown."""
    if family and gpu["model"] and not _is_of(family, gpu["model"]):
        return f"gpu_type: {gpu['model']} instead of {gpu_type or family}"
    if gigabytes and gpu["memory_in_gb"] is not None and gpu["memory_in_gb"] < gigabytes * _TOLERANCE:
        return f"gpu_type: {gpu['model']} with {gpu['memory_in_gb']:g} GB instead of {gigabytes} GB"
    return None


def _gpus_of_node(offer: t.Mapping[str, t.Any]) -> int:
    """How many GPUs each machine of the offer has; 0 if it does not say."""
    count, nodes = number_of(offer.get("gpu_count")), number_of(offer.get("node_count") or 1)
    return int(count // nodes) if count is not None and nodes is not None and nodes >= 1 else 0


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
