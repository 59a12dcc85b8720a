# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The output of the programs of GPU machines, written from their documentation. It was not recorded on a real GPU.

``Card`` knows a model, ``Machine`` has cards and faults, and writes the output of nvidia-smi, dcgmi and the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from xml.etree import ElementTree

from ansible_collections.compute_index.supply.plugins.module_utils._machine.readings import CommandResult

Paths = Mapping[str, str]
"""The text of an element of nvidia-smi's XML by its path below a GPU."""


@dataclass(frozen=True)
class Card:
    """A model of GPU, with the values that nvidia-smi shows for a sound, idle one."""

    model: str
    mebibytes: int
    watts: int
    generation: int
    offered_as: str
    ecc: str = "Enabled"
    remaps: bool = True
    links: int = 0
    link_speed: str = ""
    tells_margin: bool = False
    fabric: tuple[str, str] = ("N/A", "N/A")
    idle_generation: int = 0
    sram_errors: Sequence[str] = ("sram_uncorrectable",)
    further: Paths = field(default_factory=dict)

    def elements(self, index: int) -> dict[str, str]:
        """All elements of a GPU, in the order of the DTD."""
        count = "0" if self.ecc == "Enabled" else "N/A"
        remapped = {"remapped_row_corr": "0", "remapped_row_unc": "0"}
        remapped |= {"remapped_row_pending": "No", "remapped_row_failure": "No"}
        temperatures = {"gpu_temp": "34 C"}
        if self.tells_margin:
            temperatures |= {"gpu_temp_tlimit": "53 C", "gpu_temp_slow_tlimit_threshold": "-2 C"}
        else:
            temperatures |= {"gpu_temp_tlimit": "N/A", "gpu_temp_slow_threshold": "92 C"}
        reasons = ("gpu_idle", "sw_power_cap", "hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown")
        active = {"gpu_idle": "Active"}
        names = ("dram_correctable", "dram_uncorrectable", "sram_correctable", *self.sram_errors)
        return {
            "product_name": self.model,
            "product_brand": "NVIDIA",
            "persistence_mode": "Enabled",
            "mig_mode/current_mig": "Disabled" if self.links else "N/A",
            "mig_devices": "None",
            "serial": f"16509230{index:05}",
            "uuid": f"GPU-00000000-0000-0000-0000-{index:012}",
            "minor_number": str(index),
            "pci/pci_bus_id": f"00000000:{0x1B + 16 * index:02X}:00.0",
            "pci/pci_gpu_link_info/pcie_gen/max_link_gen": str(self.generation),
            "pci/pci_gpu_link_info/pcie_gen/current_link_gen": str(self.idle_generation or self.generation),
            "pci/pci_gpu_link_info/link_widths/max_link_width": "16x",
            "pci/pci_gpu_link_info/link_widths/current_link_width": "16x",
            "pci/tx_util": "0 KB/s",
            "pci/rx_util": "0 KB/s",
            "performance_state": "P0",
            **{
                f"clocks_event_reasons/clocks_event_reason_{name}": active.get(name, "Not Active")
                for name in (*reasons, "sw_thermal_slowdown")
            },
            "fb_memory_usage/total": f"{self.mebibytes} MiB",
            "fb_memory_usage/used": "1 MiB",
            "utilization/gpu_util": "0 %",
            "ecc_mode/current_ecc": self.ecc,
            "ecc_mode/pending_ecc": self.ecc,
            **{f"ecc_errors/{kind}/{name}": count for kind in ("volatile", "aggregate") for name in names},
            "retired_pages/multiple_single_bit_retirement/retired_count": "N/A",
            "retired_pages/double_bit_retirement/retired_count": "N/A",
            "retired_pages/pending_retirement": "N/A",
            **({f"remapped_rows/{name}": text for name, text in remapped.items()} if self.remaps else {}),
            **({} if self.remaps else {"remapped_rows": "N/A"}),
            **{f"temperature/{name}": text for name, text in temperatures.items()},
            "gpu_power_readings/power_draw": "71.50 W",
            "gpu_power_readings/current_power_limit": f"{self.watts}.00 W",
            "gpu_power_readings/default_power_limit": f"{self.watts}.00 W",
            "fabric/state": self.fabric[0],
            "fabric/status": self.fabric[1],
            "supported_clocks/supported_mem_clock/value": "2619 MHz",
            **self.further,
        }


H100 = Card(
    *("NVIDIA H100 80GB HBM3", 81559, 700, 5, "nvidia-h100-sxm5-80gb"),
    links=18,
    link_speed="26.562",
    tells_margin=True,
    fabric=("Completed", "Success"),
    sram_errors=("sram_uncorrectable_parity", "sram_uncorrectable_secded"),
)
A100 = Card("NVIDIA A100-SXM4-80GB", 81920, 400, 4, "nvidia-a100-sxm4-80gb", links=12, link_speed="25")
H200_NVL = replace(H100, model="NVIDIA H200 NVL", mebibytes=143771, offered_as="nvidia-h200-nvl-141gb", links=0)
L40S = Card("NVIDIA L40S", 46068, 350, 4, "nvidia-l40s-pcie-48gb")
RTX_4090 = Card(
    *("NVIDIA GeForce RTX 4090", 24564, 450, 4, "nvidia-rtx4090-pcie-24gb"), ecc="N/A", remaps=False, idle_generation=1
)
RTX_A6000 = Card("NVIDIA RTX A6000", 49140, 300, 4, "nvidia-rtxa6000-pcie-48gb", ecc="Disabled")
RTX_6000_ADA = Card("NVIDIA RTX 6000 Ada Generation", 49140, 300, 4, "nvidia-rtx6000ada-pcie-48gb")
T4 = Card(
    *("Tesla T4", 15360, 70, 3, "nvidia-t4-pcie-16gb"),
    remaps=False,
    further={
        "retired_pages/multiple_single_bit_retirement/retired_count": "0",
        "retired_pages/double_bit_retirement/retired_count": "0",
        "retired_pages/pending_retirement": "No",
    },
)

BUSY = {"utilization/gpu_util": "100 %", "clocks_event_reasons/clocks_event_reason_gpu_idle": "Not Active"}


@dataclass(frozen=True)
class Machine:
    """A machine with its faults, which replace elements of nvidia-smi's answer by the GPU's number."""

    card: Card = H100
    count: int = 8
    offered: int = 8
    faults: Mapping[int, Paths] = field(default_factory=dict)
    under_load: Mapping[int, Paths] = field(default_factory=dict)
    driver: str = "550.54.15"
    cuda: str = "12.4"
    xids: Sequence[tuple[str, int]] = ()
    links_down: Mapping[int, int] = field(default_factory=dict)
    parts: int = 0
    fabric_manager: str = "active"
    diagnosis: Mapping[int, tuple[str, Sequence[int]]] = field(default_factory=dict)
    bandwidth: float = 470.0
    faulty: Sequence[int] = ()
    replaced: Mapping[str, CommandResult | None] = field(default_factory=dict)

    @property
    def offer(self) -> dict[str, Any]:
        return {"gpu_type": self.card.offered_as, "gpu_count": self.offered}

    def smi(self, busy: bool = False) -> str:
        """``nvidia-smi -q -x``."""
        root = ElementTree.Element("nvidia_smi_log")
        for name, text in (
            ("timestamp", "Sat Nov 28 11:00:00 2026"),
            ("driver_version", self.driver),
            ("cuda_version", self.cuda),
            ("attached_gpus", str(self.count)),
        ):
            ElementTree.SubElement(root, name).text = text
        for index in range(self.count):
            faults = {**self.faults.get(index, {}), **(BUSY | dict(self.under_load.get(index, {})) if busy else {})}
            _add_gpu(root, {**self.card.elements(index), **faults}, self.parts)
        head = '<?xml version="1.0" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">\n'
        return head + ElementTree.tostring(root, encoding="unicode") + "\n"

    def nvlink(self) -> str:
        """``nvidia-smi nvlink --status``."""
        lines = []
        for index in range(self.count):
            lines.append(f"GPU {index}: {self.card.model} (UUID: GPU-00000000-0000-0000-0000-{index:012})")
            up = self.card.links - self.links_down.get(index, 0)
            speeds = [f"{self.card.link_speed} GB/s"] * up + ["<inactive>"] * (self.card.links - up)
            lines += [f"\t Link {link}: {speed}" for link, speed in enumerate(speeds)]
        return "\n".join(lines) + "\n"

    def kernel_log(self) -> str:
        """``journalctl --dmesg --boot --output=cat``."""
        lines = [
            "Linux version 6.8.0-45-generic (buildd@lcy02) #45-Ubuntu SMP PREEMPT_DYNAMIC",
            "nvidia: loading out-of-tree module taints kernel.",
            f"NVRM: loading NVIDIA UNIX x86_64 Kernel Module  {self.driver}  Fri Feb 23 2024",
            *(f"NVRM: Xid (PCI:{place}): {code}, pid='<unknown>', name=<unknown>" for place, code in self.xids),
        ]
        return "\n".join(lines) + "\n"

    def dcgmi(self) -> str:
        """``dcgmi diag --json`` of DCGM 4; ``diagnosis`` has the GPUs that fail, each with its severities."""
        results: list[dict[str, Any]] = []
        for index in range(self.count):
            status, severities = self.diagnosis.get(index, ("Pass", ()))
            result: dict[str, Any] = {"entity_group": "GPU", "entity_group_id": 1, "entity_id": index, "status": status}
            if severities:
                result["warnings"] = [
                    {
                        "error_category": 8,
                        "error_id": 29,
                        "error_severity": severity,
                        "warning": "Persistence mode is off.",
                    }
                    for severity in severities
                ]
            results.append(result)
        worst = "Fail" if any(result["status"] == "Fail" for result in results) else "Pass"
        test = {"name": "software", "results": results, "test_summary": {"status": worst}}
        categories = [{"category": "Deployment", "tests": [test]}]
        return json.dumps(
            {
                "DCGM Diagnostic": {"test_categories": categories},
                "metadata": {"Driver Version Detected": self.driver, "version": "4.2.3"},
            }
        )

    def gpu_burn(self) -> str:
        """The end of gpu_burn."""
        words = (f"\tGPU {gpu}: {'FAULTY' if gpu in self.faulty else 'OK'}" for gpu in range(self.count))
        return f"Tested {self.count} GPUs:\n" + "\n".join(words) + "\n"

    def all_reduce(self) -> str:
        """The end of ``all_reduce_perf``."""
        return f"# Out of bounds values : 0 OK\n# Avg bus bandwidth    : {self.bandwidth} \n#\n"

    def answers(self, level: str) -> dict[str, CommandResult]:
        """The answers of the programs that the module runs at a level."""
        texts = {"nvidia-smi": self.smi()}
        if level != "specs":
            texts |= {"nvlink": self.nvlink(), "journalctl": self.kernel_log()}
            texts |= {"fabric_manager": f"{self.fabric_manager}\n", "disk": ""}
        if level in ("load", "burnin") and not self.parts:
            texts |= {"dcgmi": self.dcgmi(), "load": self.gpu_burn(), "loaded": self.smi(busy=True)}
        if level == "burnin" and not self.parts:
            texts |= {"all_reduce": self.all_reduce()}
        answers = {name: CommandResult((name,), 0, text, seconds=0.2) for name, text in texts.items()}
        if "dcgmi" in answers and self.diagnosis:
            answers["dcgmi"] = replace(answers["dcgmi"], code=226)
        answers |= {name: answer for name, answer in self.replaced.items() if name in answers and answer}
        return {name: answer for name, answer in answers.items() if self.replaced.get(name, answer) is not None}


def _add_gpu(root: ElementTree.Element, elements: Paths, parts: int) -> None:
    node = ElementTree.SubElement(root, "gpu", id=elements.get("pci/pci_bus_id", ""))
    for path, text in elements.items():
        place = node
        for name in path.split("/"):
            child = place.find(name)
            place = ElementTree.SubElement(place, name) if child is None else child
        place.text = text
    for number in range(parts):
        devices = node.find("mig_devices")
        assert devices is not None
        ElementTree.SubElement(ElementTree.SubElement(devices, "mig_device"), "index").text = str(number)


def says(name: str, text: str, code: int | None = 0) -> dict[str, CommandResult | None]:
    """Another answer of a program; ``code`` None: it does not answer."""
    return {name: CommandResult((name,), code, text)}


LINK = "pci/pci_gpu_link_info/link_widths/current_link_width"
REASON = "clocks_event_reasons/clocks_event_reason"
THROTTLE_ENDS = {f"{REASON}_hw_thermal_slowdown": "Not Active"}
NOT_AVAILABLE = {path: "[N/A]" for path in H100.elements(0) if path != "supported_clocks/supported_mem_clock/value"}
RUBBISH = "Segmentation fault \x00\ufffd <gpu> 8 GPUs ok </nvidia_smi_log>"

# Name: machine, verdict of `health`, verdict of `burnin`, and the checks that are worse than `ok` at `burnin`.
RECORDS: dict[str, tuple[Machine, str, str, set[str]]] = {
    "H100 x 8": (Machine(), "ok", "ok", set()),
    "A100 x 8": (Machine(A100, bandwidth=232), "ok", "ok", set()),
    "H200 NVL x 2": (Machine(H200_NVL, 2, 2), "ok", "unknown", {"all_reduce"}),
    "L40S x 4": (Machine(L40S, 4, 4), "ok", "unknown", {"all_reduce"}),
    "L40S x 1": (Machine(L40S, 1, 1), "ok", "ok", set()),
    "T4 x 1": (Machine(T4, 1, 1), "ok", "ok", set()),
    "RTX A6000 as it comes": (Machine(RTX_A6000, 1, 1), "ok", "ok", set()),
    "RTX 6000 Ada with ECC": (Machine(RTX_6000_ADA, 1, 1), "ok", "ok", set()),
    "errors of a workstation's GPU": (
        Machine(
            RTX_6000_ADA,
            *(1, 1),
            faults={
                0: {"ecc_errors/volatile/dram_uncorrectable": "2", "remapped_rows/remapped_row_failure": "Yes"},
            },
        ),
        *("bad", "bad", {"ecc", "remapped_rows"}),
    ),
    "RTX 4090 without ECC": (
        Machine(RTX_4090, 1, 1, under_load={0: {"pci/pci_gpu_link_info/pcie_gen/current_link_gen": "4"}}),
        *("unknown", "ok", set()),
    ),
    "MIG": (
        Machine(A100, 1, 1, faults={0: {"mig_mode/current_mig": "Enabled", "utilization/gpu_util": "N/A"}}, parts=7),
        *("ok", "unknown", {"under_load"}),
    ),
    "a failed row of a workstation's GPU": (
        Machine(RTX_A6000, 1, 1, faults={0: {"remapped_rows/remapped_row_failure": "Yes"}}),
        *("bad", "bad", {"remapped_rows"}),
    ),
    "7 of 8": (Machine(count=7), "bad", "bad", {"gpu_count"}),
    "another model": (
        Machine(A100, faults={3: {"product_name": "NVIDIA A10"}}, bandwidth=232),
        *("bad", "bad", {"gpu_type", "all_reduce"}),
    ),
    "half the memory": (
        Machine(A100, faults={0: {"fb_memory_usage/total": "40960 MiB"}}),
        "bad",
        "bad",
        {"gpu_memory"},
    ),
    "Xid 79": (Machine(xids=[("0000:4b:00", 79)]), "bad", "bad", {"xid"}),
    "Xid 13": (Machine(xids=[("0000:4b:00", 13)]), "ok", "ok", set()),
    "Xid 999": (Machine(xids=[("0000:4b:00", 999)]), "unknown", "unknown", {"xid"}),
    "Xid of a neighbour's GPU": (Machine(L40S, 1, 1, xids=[("0000:ff:00", 79)]), "ok", "ok", set()),
    "Xid that may be a neighbour's": (
        Machine(L40S, 1, 1, faults={0: {"pci/pci_bus_id": "N/A"}}, xids=[("0000:ff:00", 79)]),
        *("unknown", "unknown", {"xid"}),
    ),
    "uncorrected errors": (
        Machine(faults={2: {"ecc_errors/volatile/sram_uncorrectable_secded": "3"}}),
        *("bad", "bad", {"ecc"}),
    ),
    "errors of long ago": (
        Machine(A100, faults={2: {"ecc_errors/aggregate/dram_uncorrectable": "1"}}, bandwidth=232),
        *("degraded", "degraded", {"ecc"}),
    ),
    "ECC is off": (
        Machine(L40S, 1, 1, faults={0: {"ecc_mode/current_ecc": "Disabled"}}),
        "degraded",
        "degraded",
        {"ecc"},
    ),
    "remap failure": (
        Machine(faults={1: {"remapped_rows/remapped_row_failure": "Yes"}}),
        "bad",
        "bad",
        {"remapped_rows"},
    ),
    "remap pending": (
        Machine(faults={1: {"remapped_rows/remapped_row_pending": "Yes"}}),
        *("degraded", "degraded", {"remapped_rows"}),
    ),
    "retirement pending": (
        Machine(T4, 1, 1, faults={0: {"retired_pages/pending_retirement": "Yes"}}),
        *("degraded", "degraded", {"remapped_rows"}),
    ),
    "x8 under load": (
        Machine(L40S, 1, 1, faults={0: {LINK: "8x"}}, under_load={0: {LINK: "8x"}}),
        *("unknown", "degraded", {"pcie"}),
    ),
    "x8 with a busy link": (
        Machine(L40S, 1, 1, faults={0: {LINK: "8x", "pci/rx_util": "2000000 KB/s", "utilization/gpu_util": "0 %"}}),
        *("degraded", "degraded", {"pcie"}),
    ),
    "x4 under load": (
        Machine(L40S, 1, 1, under_load={0: {LINK: "4x"}}),
        *("ok", "bad", {"pcie"}),
    ),
    "x8 when idle only": (Machine(faults={0: {LINK: "8x"}}, under_load={0: {LINK: "16x"}}), "unknown", "ok", set()),
    "thermal throttle": (
        Machine(under_load={5: {f"{REASON}_hw_thermal_slowdown": "Active", f"{REASON}_hw_slowdown": "Active"}}),
        *("ok", "bad", {"throttle"}),
    ),
    "throttled while idle only": (
        Machine(L40S, 1, 1, faults={0: {f"{REASON}_hw_thermal_slowdown": "Active"}}, under_load={0: THROTTLE_ENDS}),
        *("bad", "bad", {"throttle"}),
    ),
    "software throttle": (
        Machine(L40S, 1, 1, faults={0: {f"{REASON}_sw_thermal_slowdown": "Active"}}),
        *("degraded", "degraded", {"throttle"}),
    ),
    "too hot": (Machine(under_load={7: {"temperature/gpu_temp_tlimit": "1 C"}}), "ok", "degraded", {"temperature"}),
    "too hot, of an older one": (
        Machine(A100, faults={7: {"temperature/gpu_temp": "92 C"}}, bandwidth=232),
        *("bad", "bad", {"temperature"}),
    ),
    "a lower power limit": (
        Machine(faults={0: {"gpu_power_readings/current_power_limit": "500.00 W"}}),
        *("degraded", "degraded", {"power_limit"}),
    ),
    "half the power": (
        Machine(faults={0: {"gpu_power_readings/current_power_limit": "300.00 W"}}),
        *("bad", "bad", {"power_limit"}),
    ),
    "an NVLink is down": (Machine(links_down={4: 1}), "degraded", "degraded", {"nvlink"}),
    "its NVLinks are down": (Machine(links_down={4: 18}), "bad", "bad", {"nvlink"}),
    "no fabric manager": (
        Machine(
            faults={gpu: {"fabric/state": "In Progress", "fabric/status": "N/A"} for gpu in range(8)},
            fabric_manager="inactive",
        ),
        *("bad", "bad", {"fabric"}),
    ),
    "the fabric has failed": (
        Machine(faults={0: {"fabric/status": "Insufficient Resources"}}),
        *("bad", "bad", {"fabric"}),
    ),
    "old driver": (Machine(driver="470.57.02", cuda="11.4"), "bad", "bad", {"driver", "cuda"}),
    "persistence off": (Machine(diagnosis={gpu: ("Fail", [5]) for gpu in range(8)}), "ok", "degraded", {"under_load"}),
    "a failed diagnosis": (Machine(diagnosis={6: ("Fail", [5, 2])}), "ok", "bad", {"under_load"}),
    "wrong results": (Machine(faulty=[3]), "ok", "bad", {"under_load"}),
    "slow links": (Machine(bandwidth=170), "ok", "bad", {"all_reduce"}),
    "rather slow links": (Machine(bandwidth=250), "ok", "degraded", {"all_reduce"}),
    "[N/A] everywhere": (
        Machine(count=1, offered=1, faults={0: NOT_AVAILABLE}, under_load={0: NOT_AVAILABLE}),
        *("unknown", "unknown"),
        {
            *("gpu_type", "gpu_memory", "ecc", "remapped_rows", "xid", "throttle", "temperature", "power_limit"),
            *("pcie", "nvlink", "fabric"),
        },
    ),
    "missing driver": (Machine(replaced=says("nvidia-smi", "", 127)), "bad", "bad", {"driver", "gpu_count"}),
    "driver not loaded": (
        Machine(
            replaced=says("nvidia-smi", "NVIDIA-SMI has failed because it couldn't communicate with the driver.", 9)
        ),
        *("bad", "bad", {"driver", "gpu_count"}),
    ),
    "a lost GPU": (
        Machine(replaced=says("nvidia-smi", "Unable to determine the device handle for GPU0: GPU is lost.", 15)),
        *("bad", "bad", {"driver"}),
    ),
    "no GPU for the driver": (
        Machine(replaced=says("nvidia-smi", "No devices were found", 6)),
        *("bad", "bad", {"driver"}),
    ),
    "another version of the library": (
        Machine(replaced=says("nvidia-smi", "Failed to initialize NVML: Driver/library version mismatch", 18)),
        *("bad", "bad", {"driver", "gpu_count"}),
    ),
    "a fabric that is late": (
        Machine(faults={0: {"fabric/state": "In Progress", "fabric/status": "N/A"}}),
        *("unknown", "unknown", {"fabric"}),
    ),
    "an unknown exit code of nvidia-smi": (
        Machine(replaced=says("nvidia-smi", Machine().smi(), 2)),
        *("unknown", "unknown", {"driver"}),
    ),
    "damaged settings": (
        Machine(
            replaced=says("nvidia-smi", Machine().smi() + "WARNING: infoROM is corrupted at gpu 0000:1B:00.0\n", 14)
        ),
        *("degraded", "degraded", {"driver"}),
    ),
    "nvidia-smi hangs": (Machine(replaced=says("nvidia-smi", "", None)), "bad", "bad", {"answers"}),
    "nvidia-smi prints rubbish": (Machine(replaced=says("nvidia-smi", RUBBISH)), "unknown", "unknown", {"driver"}),
    "truncated XML": (Machine(replaced=says("nvidia-smi", Machine().smi()[:-40])), "unknown", "unknown", {"driver"}),
    "no kernel log": (Machine(replaced=says("journalctl", "", 1)), "unknown", "unknown", {"xid"}),
    "others' lines hidden": (Machine(replaced=says("journalctl", "-- No entries --\n")), "unknown", "unknown", {"xid"}),
    "dcgmi hangs": (Machine(replaced=says("dcgmi", "", None)), "ok", "bad", {"answers"}),
    "no host engine": (
        Machine(
            replaced=says("dcgmi", "Error: unable to establish a connection to the specified host: localhost", 255)
        ),
        *("ok", "unknown", {"under_load"}),
    ),
    "dcgmi fails and says that all pass": (
        Machine(replaced=says("dcgmi", Machine().dcgmi(), 1)),
        *("ok", "unknown", {"under_load"}),
    ),
    "a diagnosis that skips all tests": (
        Machine(replaced=says("dcgmi", Machine(diagnosis={gpu: ("Skip", []) for gpu in range(8)}).dcgmi())),
        *("ok", "unknown", {"under_load"}),
    ),
    "wrong results of a load that fails": (
        Machine(replaced=says("load", Machine(faulty=[3]).gpu_burn(), 1)),
        *("ok", "bad", {"under_load"}),
    ),
    "the load test reports nothing about one GPU": (
        Machine(replaced=says("load", Machine(count=7).gpu_burn())),
        *("ok", "unknown", {"under_load"}),
    ),
    "the load test reports nothing": (
        Machine(replaced=says("load", "")),
        *("ok", "unknown", {"under_load"}),
    ),
    "a load that fails and says that all is well": (
        Machine(replaced={"dcgmi": None, **says("load", Machine().gpu_burn(), 1)}),
        *("ok", "unknown", {"under_load"}),
    ),
    "wrong sums": (
        Machine(replaced=says("all_reduce", Machine().all_reduce().replace("0 OK", "5 FAILED"), 1)),
        *("ok", "bad", {"all_reduce"}),
    ),
    "no tool for a load": (
        Machine(replaced={"dcgmi": None, "load": None, "loaded": None}),
        *("ok", "unknown", {"under_load"}),
    ),
    "no dd": (Machine(replaced=says("disk", "", 127)), "unknown", "unknown", {"disk_write"}),
    "a full disk": (Machine(replaced=says("disk", "", 1)), "bad", "bad", {"disk_write"}),
    "a slow disk": (
        Machine(replaced={"disk": CommandResult(("disk",), 0, seconds=4.0)}),
        *("degraded", "degraded", {"disk_write"}),
    ),
}
