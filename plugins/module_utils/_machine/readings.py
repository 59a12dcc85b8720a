# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a machine's hardware and the state of each GPU, from the outputs of programs and from its file system.

No reader raises; an unreadable value is None. A GPU's fields have the paths of nvidia-smi's own DTD (nvsmi_device_v12).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import typing as t
from dataclasses import dataclass
from xml.etree import ElementTree

Json = dict[str, t.Any]

ABSENT = "N/A"  # the GPU has no such feature, or does not report it
NOT_RUN = (126, 127)  # a shell's exit codes for a program that cannot be executed, or is not installed
LOGS = ("journalctl", "dmesg")  # the kernel log; each may lack its beginning
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_ABSENT = re.compile(r"\[?(n/a|not supported)\]?", re.IGNORECASE)
_TROUBLE = re.compile(r"\[.*|.*(unknown|error|err!|lost|reset).*|", re.IGNORECASE)  # `[Unknown Error]`, `GPU is lost`


@dataclass(frozen=True)
class CommandResult:
    """The end of a program; ``code`` is None if it did not end in time."""

    command: tuple[str, ...]
    code: int | None
    output: str = ""
    errors: str = ""
    seconds: float = 0.0

    @property
    def hangs(self) -> bool:
        return self.code is None


Answers = t.Mapping[str, CommandResult]


class Gpu:
    """A GPU as nvidia-smi describes it: sizes in MiB, temperatures in degrees Celsius, power in watts."""

    def __init__(self, index: int, node: ElementTree.Element) -> None:
        self.index, self._node = index, node
        self.address = pci_address(node.findtext("pci/pci_bus_id") or "")
        model = self.word("product_name")
        self.model = None if model == ABSENT else model
        self.parts = len(node.findall("mig_devices/mig_device"))

    def text(self, path: str) -> str:
        return (self._node.findtext(path) or "").strip()

    def word(self, path: str) -> str | None:
        """A text with one spelling of `ABSENT`; None if it is empty or an error message."""
        word = self.text(path)
        return ABSENT if _ABSENT.fullmatch(word) else None if _TROUBLE.fullmatch(word) else word

    def number(self, path: str) -> float | None:
        """The number at the beginning of a text such as ``81559 MiB`` or ``16x``."""
        match = _NUMBER.match(self.text(path))
        return float(match[0]) if match else None


def is_divided(gpus: t.Iterable[Gpu]) -> bool:
    """Whether one of the GPUs is divided (MIG), so that no load can be put on the whole GPU."""
    return any(gpu.word("mig_mode/current_mig") == "Enabled" for gpu in gpus)


class Smi(t.NamedTuple):
    """The whole answer of ``nvidia-smi -q -x``."""

    gpus: tuple[Gpu, ...]
    driver: str | None
    cuda: str | None


def smi_of(answer: CommandResult | None) -> Smi | None:
    """The machine's GPUs; None if the answer has no complete XML of nvidia-smi. Warnings around it are ignored."""
    text = "" if answer is None or answer.hangs else answer.output
    match = re.search(r"<nvidia_smi_log>.*</nvidia_smi_log>", text, re.DOTALL)
    try:
        tree = ElementTree.fromstring(match[0]) if match else None
    except (ElementTree.ParseError, ValueError, RecursionError):
        tree = None
    if tree is None:
        return None
    gpus = tuple(Gpu(index, node) for index, node in enumerate(tree.findall("gpu")))
    return Smi(gpus, tree.findtext("driver_version"), tree.findtext("cuda_version"))


def pci_address(text: str) -> str | None:
    """Normalize an address on the PCI bus to the form ``0000:1b:00``, without the function; None if it is none."""
    match = re.search(r"\b([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\b", text.lower())
    return f"{int(match[1], 16):04x}:{match[2]}:{match[3]}" if match else None


class Readings:
    """The readings of a machine.

    ``answers``: of the programs that were started, by name. ``root``: the root of its file system. ``clock``: how many
    seconds it is ahead of the controller's clock.
    """

    def __init__(self, answers: Answers, root: str = "/", clock: float | None = None) -> None:
        self.answers, self.root, self.clock = answers, root, clock
        self.smi, self.loaded = (smi_of(answers.get(name)) for name in ("nvidia-smi", "loaded"))
        self.gpus = self.smi.gpus if self.smi else ()
        self.machine = hardware_of(self.smi, root)

    def code(self, name: str) -> int | None:
        """The exit code of a program; None if it did not end or was not started."""
        return self.answers[name].code if name in self.answers else None

    def has_run(self, name: str) -> bool:
        """Whether a program is installed and has ended."""
        return self.code(name) not in (None, *NOT_RUN)

    def output(self, name: str) -> str:
        """The output of a program; empty if it has not ended."""
        return "" if self.code(name) is None else self.answers[name].output

    def under_load(self, gpu: Gpu) -> Gpu:
        """The readings of a GPU under load; a GPU without readings if there are none."""
        loaded = {item.index: item for item in (self.loaded.gpus if self.loaded else ())}
        return loaded.get(gpu.index) or Gpu(gpu.index, ElementTree.Element("gpu"))

    def xids(self) -> tuple[list[tuple[str, int]], bool]:
        """The driver's errors in the kernel log with the GPUs' addresses; and whether the log has its first line."""
        text = "\n".join(self.output(name) for name in LOGS if self.code(name) == 0)
        xids = re.findall(r"NVRM: Xid \(([^)]*)\): ([0-9]{1,5})\b", text)
        return [(pci_address(place) or "", int(code)) for place, code in xids], "Linux version " in text

    def links_up(self, gpu: int) -> int | None:
        """How many NVLinks of a GPU are up; None if ``nvidia-smi nvlink --status`` does not list the GPU."""
        text = self.output("nvlink") if self.code("nvlink") == 0 else ""
        part = re.search(rf"^GPU {gpu}:(.*(?:\n(?!GPU ).*)*)", text, re.MULTILINE)
        return len(re.findall(r"^\s*Link [0-9]+: [0-9.]+ GB/s", part[1], re.MULTILINE)) if part else None

    def calculation_results(self) -> dict[int, bool]:
        """Whether each GPU calculated without errors under load. nvbandwidth checks its copies on all GPUs."""
        words = re.findall(r"^\s*GPU ([0-9]+): (OK|FAULTY)\s*$", self.output("load"), re.MULTILINE)
        copied = self.gpus if "\nSUM " in self.output("load") else ()
        return {gpu.index: True for gpu in copied} | {int(number): word == "OK" for number, word in words}


# The file system

_NVIDIA = "0x10de"
_BRIDGE = "0x0680"  # an NVSwitch
_DISPLAY = "0x03"  # the PCI class of display controllers; GPUs also have functions for sound and USB


def hardware_of(smi: Smi | None, root: str) -> Json:
    """GPUs (with model and memory), CPUs, memory and boot disk. Sizes are in GB (10^9 bytes), None if unknown.

    ``smi``: the answer of nvidia-smi; without it, the GPUs on the PCI bus are counted. ``root``: the root of the file
    system to measure.
    """
    gpus = [(gpu.model, gpu.number("fb_memory_usage/total")) for gpu in smi.gpus] if smi else []
    disk = None
    with contextlib.suppress(OSError):
        disk = shutil.disk_usage(root).total
    memory = re.search(r"^MemTotal:\s+(\d+) kB", read_text_file(os.path.join(root, "proc/meminfo")), re.MULTILINE)
    return {
        "gpus": [
            {"model": model, "memory_in_gb": _gigabytes(size and size * 2**20)}
            for model, size in (gpus if smi else [(None, None)] * count_devices(root, _DISPLAY))
        ],
        "gpu_source": "nvidia-smi" if smi else "pci",
        "vcpu_count": len(os.sched_getaffinity(0)),
        "memory_in_gb": _gigabytes(int(memory[1]) * 1024 if memory else None),
        "boot_disk_in_gb": _gigabytes(disk),
    }


def _gigabytes(size: float | None) -> float | None:
    return None if size is None else round(size / 1e9, 1)


def count_devices(root: str, kind: str = _BRIDGE) -> int:
    """How many NVIDIA devices of a PCI class the kernel sees on the bus, with or without a driver."""
    folder = os.path.join(root, "sys/bus/pci/devices")
    names = os.listdir(folder) if os.path.isdir(folder) else []
    found = ([read_text_file(os.path.join(folder, name, part)) for part in ("vendor", "class")] for name in names)
    return sum(vendor == _NVIDIA and model.startswith(kind) for vendor, model in found)


def read_text_file(path: str) -> str:
    """The text of a file; empty if it cannot be read."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read().strip()
    return ""
