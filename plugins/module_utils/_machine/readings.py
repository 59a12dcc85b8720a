# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the programs and the file system of a machine say, as typed readings: what it has, and how it is.

No reader raises; what cannot be read is None. The forms are those of nvidia-smi's own DTD (nvsmi_device_v11 to v13;
fields that changed their names have both), of dcgmi's JSON (DCGM 3 and 4, `dcgm_errors.h`), and of the NVIDIA driver's
lines in the kernel log ("Xid Errors", https://docs.nvidia.com/deploy/xid-errors/).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import typing as t
from dataclasses import dataclass, field, fields
from xml.etree import ElementTree

from .._text import items_of, number_of

Json = dict[str, t.Any]

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
ABSENT = "N/A"  # a GPU has no such thing, or does not tell
_ABSENT = re.compile(r"\[?(n/a|not supported)\]?", re.IGNORECASE)
_TROUBLE = re.compile(r"\[.*|.*(unknown|error|err!|lost|reset).*|", re.IGNORECASE)  # `[Unknown Error]`, `GPU is lost`


def _number(text: str | None) -> float | None:
    """The number with which a text begins, such as that of ``81559 MiB`` and ``16x``."""
    match = _NUMBER.match((text or "").strip())
    return float(match[0]) if match else None


def _word(text: str | None) -> str | None:
    """A text in one spelling, None if there is none, or trouble instead of it."""
    word = (text or "").strip()
    return ABSENT if _ABSENT.fullmatch(word) else None if _TROUBLE.fullmatch(word) else word


# Fields of the dataclasses below, with where they are read.
# pylint: disable=invalid-field-call


def _numbers(*paths: str) -> t.Any:
    return field(default=None, metadata={"paths": paths, "read": _number})


def _words(*paths: str) -> t.Any:
    return field(default=None, metadata={"paths": paths, "read": _word})


def _reasons(name: str) -> t.Any:
    """Why clocks are low; the second name is that of drivers before 535."""
    return _words(*(f"clocks_{word}_reasons/clocks_{word}_reason_{name}" for word in ("event", "throttle")))


@dataclass(frozen=True)
class Gpu:
    """A GPU as nvidia-smi describes it; sizes in MiB, temperatures in degrees Celsius, power in watts."""

    index: int
    address: str | None = None  # on the PCI bus, as `pci_address` writes it
    model: str | None = _words("product_name")
    memory: float | None = _numbers("fb_memory_usage/total")
    utilization: float | None = _numbers("utilization/gpu_util")  # percent
    received: float | None = _numbers("pci/rx_util")  # KB/s
    sent: float | None = _numbers("pci/tx_util")
    mig: str | None = _words("mig_mode/current_mig")
    mig_parts: int = 0
    ecc: str | None = _words("ecc_mode/current_ecc")
    uncorrected: float | None = None  # errors since the driver was loaded
    uncorrected_ever: float | None = None
    sram_threshold: str | None = _words("ecc_errors/aggregate/sram_threshold_exceeded")
    remap_pending: str | None = _words("remapped_rows/remapped_row_pending")
    remap_failure: str | None = _words("remapped_rows/remapped_row_failure")
    retirement_pending: str | None = _words("retired_pages/pending_retirement")
    retired_single: float | None = _numbers("retired_pages/multiple_single_bit_retirement/retired_count")
    retired_double: float | None = _numbers("retired_pages/double_bit_retirement/retired_count")
    slowdown: str | None = _reasons("hw_slowdown")
    thermal_slowdown: str | None = _reasons("hw_thermal_slowdown")
    power_brake: str | None = _reasons("hw_power_brake_slowdown")
    software_thermal: str | None = _reasons("sw_thermal_slowdown")
    temperature: float | None = _numbers("temperature/gpu_temp")
    slow_temperature: float | None = _numbers("temperature/gpu_temp_slow_threshold")
    margin: float | None = _numbers("temperature/gpu_temp_tlimit")  # to the first limit; newer GPUs tell only that
    slow_margin: float | None = _numbers("temperature/gpu_temp_slow_tlimit_threshold")
    power_limit: float | None = _numbers("gpu_power_readings/current_power_limit", "power_readings/power_limit")
    default_power: float | None = _numbers(
        *(f"{name}/default_power_limit" for name in ("gpu_power_readings", "power_readings"))
    )
    generation: float | None = _numbers("pci/pci_gpu_link_info/pcie_gen/current_link_gen")
    most_generation: float | None = _numbers("pci/pci_gpu_link_info/pcie_gen/max_link_gen")
    width: float | None = _numbers("pci/pci_gpu_link_info/link_widths/current_link_width")
    most_width: float | None = _numbers("pci/pci_gpu_link_info/link_widths/max_link_width")
    fabric: str | None = _words("fabric/state")
    fabric_status: str | None = _words("fabric/status")


@dataclass(frozen=True)
class Smi:
    """The whole answer of ``nvidia-smi -q -x``."""

    gpus: tuple[Gpu, ...]
    attached: float | None
    driver: str | None
    cuda: str | None


def is_divided(gpus: t.Iterable[Gpu]) -> bool:
    """Whether one of the GPUs is divided (MIG), so that no load can be put on all of it."""
    return any(gpu.mig == "Enabled" for gpu in gpus)


def smi_of(text: str) -> Smi | None:
    """The machine's GPUs, None if the text is not complete XML of nvidia-smi. Warnings may stand around it."""
    match = re.search(r"<nvidia_smi_log>.*</nvidia_smi_log>", text, re.DOTALL)
    try:
        tree = ElementTree.fromstring(match[0]) if match else None
    except (ElementTree.ParseError, ValueError, RecursionError):
        tree = None
    if tree is None:
        return None
    gpus = tuple(_gpu(index, node) for index, node in enumerate(tree.findall("gpu")))
    words = (_word(tree.findtext(name)) for name in ("driver_version", "cuda_version"))
    return Smi(gpus, _number(tree.findtext("attached_gpus")), *words)


def _gpu(index: int, node: ElementTree.Element) -> Gpu:
    values: dict[str, t.Any] = {
        item.name: item.metadata["read"](next(filter(None, map(node.findtext, item.metadata["paths"])), None))
        for item in fields(Gpu)
        if item.metadata
    }
    values.update(
        index=index,
        address=pci_address(node.findtext("pci/pci_bus_id") or node.get("id") or ""),
        model=None if values["model"] == ABSENT else values["model"],
        mig_parts=len(node.findall("mig_devices/mig_device")),
        uncorrected=_uncorrected(node.find("ecc_errors/volatile")),
        uncorrected_ever=_uncorrected(node.find("ecc_errors/aggregate")),
    )
    return Gpu(**values)


# Since Ampere, since driver 545, and before Ampere. All names of one form must be there, or an error might be missed.
_ERRORS = (
    ("dram_uncorrectable", "sram_uncorrectable"),
    ("dram_uncorrectable", "sram_uncorrectable_parity", "sram_uncorrectable_secded"),
    ("double_bit/total",),
)


def _uncorrected(counts: ElementTree.Element | None) -> float | None:
    for names in _ERRORS:
        numbers = [_number(None if counts is None else counts.findtext(name)) for name in names]
        readable = [number for number in numbers if number is not None]
        if len(readable) == len(names):
            return sum(readable)
    return None


def pci_address(text: str) -> str | None:
    """The one spelling of an address on the PCI bus: ``0000:1b:00``, whatever the function and the domain's length."""
    match = re.search(r"\b([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\b", text.lower())
    return f"{int(match[1], 16):04x}:{match[2]}:{match[3]}" if match else None


@dataclass(frozen=True)
class KernelLog:
    """What the driver has written since the boot; incomplete if the beginning is lost, or others' lines are hidden."""

    xids: tuple[tuple[str, int], ...]  # each with the GPU's address
    is_complete: bool


_XID = re.compile(r"NVRM: Xid \(([^)]*)\): ([0-9]{1,5})\b")


def kernel_log_of(text: str) -> KernelLog:
    """The errors (Xid) of a kernel log. It is complete if it has the kernel's first line."""
    xids = tuple((pci_address(place) or "", int(code)) for place, code in _XID.findall(text))
    return KernelLog(xids, "Linux version " in text)


def nvlinks_of(text: str) -> dict[int, int]:
    """How many NVLinks each GPU has up, by its number; of ``nvidia-smi nvlink --status``."""
    parts = re.split(r"^GPU ([0-9]+):", text, flags=re.MULTILINE)
    active = re.compile(r"^\s*Link [0-9]+: [0-9.]+ GB/s", re.MULTILINE)
    return {int(number): len(active.findall(part)) for number, part in zip(parts[1::2], parts[2::2])}


@dataclass(frozen=True)
class Outcome:
    """A result of DCGM's diagnosis for one GPU, or for the machine; severities as in `dcgm_errors.h`."""

    name: str
    status: str
    gpu: int | None = None
    severities: tuple[int | None, ...] = ()
    words: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """The answer of ``dcgmi diag --json``."""

    outcomes: tuple[Outcome, ...]
    version: str | None


def diagnosis_of(text: str) -> Diagnosis | None:
    """The diagnosis, None if it is no complete JSON of dcgmi with tests. Other lines may stand around it."""
    try:
        data = json.loads(text[text.index("{") : text.rindex("}") + 1])
        body = data.get("DCGM Diagnostic") or data["DCGM GPU Diagnostic"]
        tests = [test for category in body["test_categories"] for test in category["tests"]]
        version = _word((data.get("metadata") or {}).get("version") or body.get("version"))
        outcomes = tuple(outcome for test in tests for outcome in _outcomes(test))
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None
    return Diagnosis(outcomes, version) if outcomes else None


def _outcomes(test: t.Mapping[str, t.Any]) -> t.Iterator[Outcome]:
    """Raises LookupError, TypeError or AttributeError if a test has another form."""
    summary = (test.get("test_summary") or {}).get("status")
    results = test["results"]
    has_more = summary and summary not in [result["status"] for result in results]
    for result in [*results, {"status": summary}] if has_more else results:
        warnings = result.get("warnings") or []
        items = [item if isinstance(item, dict) else {"warning": item} for item in items_of(warnings)]
        numbers = [number_of(item.get("error_severity")) for item in items]
        severities = tuple(None if number is None else int(number) for number in numbers)
        words = "; ".join(str(item.get("warning")) for item in items)
        yield Outcome(str(test["name"]), str(result["status"]).lower(), _gpu_id(result), severities, words)


def _gpu_id(result: t.Mapping[str, t.Any]) -> int | None:
    """The number of a result's GPU: DCGM 4 names an entity, DCGM 3 a list of numbers in a text."""
    if "entity_id" in result:
        return int(result["entity_id"]) if result.get("entity_group") == "GPU" else None
    number = number_of(result.get("gpu_ids"))
    return None if number is None else int(number)


def gpu_burn_results(text: str) -> dict[int, bool]:
    """Which GPUs calculate without errors under load, by their numbers: ``GPU 0: OK`` or ``GPU 0: FAULTY``."""
    verdicts = re.findall(r"^\s*GPU ([0-9]+): (OK|FAULTY)\s*$", text, re.MULTILINE)
    return {int(number): word == "OK" for number, word in verdicts}


@dataclass(frozen=True)
class AllReduce:
    """The end of ``all_reduce_perf`` (nccl-tests): bus bandwidth in GB/s, and whether all values were right."""

    bandwidth: float | None
    is_right: bool | None


def all_reduce_of(text: str) -> AllReduce:
    """The two last lines of its output."""
    bandwidth = re.search(r"^# Avg bus bandwidth\s*:\s*([0-9.]+)\s*$", text, re.MULTILINE)
    values = re.search(r"^# Out of bounds values\s*:\s*[0-9]+ (OK|FAILED)", text, re.MULTILINE)
    return AllReduce(number_of(bandwidth[1]) if bandwidth else None, values[1] == "OK" if values else None)


def boot_errors_of(text: str) -> tuple[str, ...] | None:
    """The errors of cloud-init's ``result.json``, None if it cannot be read."""
    try:
        return tuple(map(str, json.loads(text)["v1"]["errors"]))
    except (ValueError, RecursionError, LookupError, TypeError):
        return None


# What the file system tells

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


def hardware_of(smi: Smi | None, root: str) -> Json:
    """GPUs (with model and memory), CPUs, memory and boot disk; sizes in GB (10^9 bytes), None for what is unknown.

    ``smi``: what nvidia-smi says. Without it, the PCI bus tells. ``root``: the folder of the file system to measure.
    """
    on_bus = [(_MODELS.get(model), None) for kind, model in _devices(root) if kind.startswith(_DISPLAY)]
    gpus = on_bus if smi is None else [(gpu.model, gpu.memory and gpu.memory * 2**20) for gpu in smi.gpus]
    memory = re.search(r"^MemTotal:\s+(\d+) kB", read_text_file(os.path.join(root, "proc/meminfo")), re.MULTILINE)
    return {
        # Be there a driver or not, the kernel sees them on the PCI bus.
        "gpus": [{"model": model, "memory_in_gb": _gigabytes(size)} for model, size in gpus],
        "gpu_source": "pci" if smi is None else "nvidia-smi",
        "vcpu_count": len(os.sched_getaffinity(0)),
        "memory_in_gb": _gigabytes(int(memory[1]) * 1024 if memory else None),
        "boot_disk_in_gb": _gigabytes(_disk(root)),
    }


def _gigabytes(size: float | None) -> float | None:
    return None if size is None else round(size / 1e9, 1)


def switches(root: str) -> int:
    """How many NVSwitches the kernel sees on the PCI bus."""
    return sum(kind.startswith(_BRIDGE) for kind, _model in _devices(root))


def _devices(root: str) -> t.Iterator[tuple[str, str]]:
    """Class and model of each device of NVIDIA's on the PCI bus."""
    folder = os.path.join(root, "sys/bus/pci/devices")
    for device in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        vendor, kind, model = (
            read_text_file(os.path.join(folder, device, name)) for name in ("vendor", "class", "device")
        )
        if vendor == _NVIDIA:
            yield kind, model


def addresses(root: str) -> frozenset[str]:
    """Where on the PCI bus the driver has GPUs, one that has fallen off included; a container sees its own alone."""
    folder = os.path.join(root, "proc/driver/nvidia/gpus")
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return frozenset(filter(None, map(pci_address, names)))


def _disk(root: str) -> float | None:
    with contextlib.suppress(OSError):
        return shutil.disk_usage(root).total
    return None


def read_text_file(path: str) -> str:
    """The text of a file, empty if it cannot be read."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read().strip()
    return ""


@dataclass(frozen=True)
class Readings:
    """What was read on a machine; None for what could not be read, or was not."""

    machine: t.Mapping[str, t.Any]  # as `hardware_of` returns it
    smi: Smi | None = None
    smi_code: int | None = None  # the exit code of nvidia-smi, None if it does not answer
    loaded: Smi | None = None  # what it said under load, if the program of this name was started
    addresses: frozenset[str] = frozenset()  # where on the PCI bus the driver has GPUs
    log: KernelLog | None = None
    nvlinks: t.Mapping[int, int] | None = None
    switches: int = 0
    fabric_manager: str | None = None  # what systemd says of its service
    write_speed: float | None = None  # MB/s
    write_error: str = ""
    clock: float | None = None  # seconds that the machine is ahead of the controller
    boot_errors: tuple[str, ...] | None = None
    diagnosis: Diagnosis | None = None
    diagnosis_code: int | None = None  # dcgmi's exit code
    burnt: t.Mapping[int, bool] | None = None  # which GPUs calculate right under load
    all_reduce: AllReduce | None = None
    programs: tuple[str, ...] = ()  # that were started
    hanging: tuple[str, ...] = ()  # those of them that do not answer

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        return self.smi.gpus if self.smi else ()

    @property
    def is_alone(self) -> bool:
        """Whether the machine has one GPU, by each count of them."""
        return self.smi is not None and len(self.gpus) == 1 == self.smi.attached
