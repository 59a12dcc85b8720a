# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print what ``nvidia-smi`` prints on an idle machine: its table, ``-L``, ``--query-gpu``, ``-q -x`` and ``nvlink``.

A machine of the simulator has a copy of this file as its program, so it needs only Python 3.9 and no other file.
"""

from __future__ import annotations

import argparse
import sys
import time
import uuid
from dataclasses import dataclass

DRIVER, CUDA = "570.195.03", "12.8"
#: Exit codes of nvidia-smi: 2 for an invalid argument, 6 for a query without an object.
INVALID, NOT_FOUND = 2, 6
#: The units of a query's fields, which also stand in its header.
UNITS = {"memory": "MiB", "power": "W", "utilization": "%"}
FRAME = "+-----------------------------------------------------------------------------------------+"
COLUMNS = "+-----------------------------------------+------------------------+----------------------+"
HEAD = f"""\
{FRAME}
| NVIDIA-SMI {DRIVER:<22} Driver Version: {DRIVER:<14} CUDA Version: {CUDA:<8} |
|{COLUMNS[1:-1]}+
| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |
| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |
|                                         |                        |               MIG M. |
|=========================================+========================+======================|"""
PROCESSES = f"""
{FRAME}
| Processes:                                                                              |
|  GPU   GI   CI              PID   Type   Process name                        GPU Memory |
|        ID   ID                                                               Usage      |
|=========================================================================================|
|  No running processes found                                                             |
{FRAME}"""


#: What ``-q -x`` says of a GPU that is well, by the names of its DTD; `Gpus.xml` fills in the rest.
WELL = """\
<product_name>{model}</product_name><serial>{serial}</serial><uuid>{uuid}</uuid>
<mig_mode><current_mig>Disabled</current_mig></mig_mode>
<pci><pci_bus_id>{bus}</pci_bus_id><pci_gpu_link_info>
<pcie_gen><max_link_gen>5</max_link_gen><current_link_gen>5</current_link_gen></pcie_gen>
<link_widths><max_link_width>16x</max_link_width><current_link_width>16x</current_link_width></link_widths>
</pci_gpu_link_info><tx_util>0 KB/s</tx_util><rx_util>0 KB/s</rx_util></pci>
<clocks_event_reasons>
<clocks_event_reason_hw_slowdown>Not Active</clocks_event_reason_hw_slowdown>
<clocks_event_reason_hw_thermal_slowdown>Not Active</clocks_event_reason_hw_thermal_slowdown>
<clocks_event_reason_hw_power_brake_slowdown>Not Active</clocks_event_reason_hw_power_brake_slowdown>
<clocks_event_reason_sw_thermal_slowdown>Not Active</clocks_event_reason_sw_thermal_slowdown>
</clocks_event_reasons>
<fb_memory_usage><total>{mebibytes} MiB</total></fb_memory_usage>
<utilization><gpu_util>0 %</gpu_util></utilization>
<ecc_mode><current_ecc>Enabled</current_ecc></ecc_mode>
<ecc_errors>
<volatile><dram_uncorrectable>0</dram_uncorrectable><sram_uncorrectable>0</sram_uncorrectable></volatile>
<aggregate><dram_uncorrectable>0</dram_uncorrectable><sram_uncorrectable>0</sram_uncorrectable></aggregate>
</ecc_errors>
<retired_pages><pending_retirement>N/A</pending_retirement></retired_pages>
<remapped_rows><remapped_row_pending>No</remapped_row_pending><remapped_row_failure>No</remapped_row_failure></remapped_rows>
<temperature><gpu_temp>29 C</gpu_temp><gpu_temp_slow_threshold>92 C</gpu_temp_slow_threshold></temperature>
<gpu_power_readings>
<current_power_limit>{watts}.00 W</current_power_limit><default_power_limit>{watts}.00 W</default_power_limit>
</gpu_power_readings>
<fabric><state>Completed</state><status>Success</status></fabric>
"""


@dataclass(frozen=True)
class Gpus:
    """Equal GPUs of one machine that nothing uses."""

    model: str
    """The model by nvidia-smi, for example ``NVIDIA H100 80GB HBM3``."""
    count: int
    mebibytes: int
    """Memory of each."""
    watts: int
    """The limit of its power."""
    machine: str
    """Distinguishes their UUIDs from those of other machines."""

    def bus(self, index: int) -> str:
        """The address of a GPU on the PCI bus."""
        return f"00000000:{0x10 + 0x08 * index:02X}:00.0"

    def uuid(self, index: int) -> str:
        """The UUID of a GPU, always the same."""
        return f"GPU-{uuid.uuid5(uuid.NAMESPACE_OID, f'{self.machine} {index}')}"

    def fields(self, index: int) -> dict[str, str]:
        """The fields of a GPU for queries, without units."""
        return {
            "index": str(index),
            "count": str(self.count),
            "name": self.model,
            "gpu_name": self.model,
            "uuid": self.uuid(index),
            "gpu_uuid": self.uuid(index),
            "pci.bus_id": self.bus(index),
            "gpu_bus_id": self.bus(index),
            "driver_version": DRIVER,
            "persistence_mode": "Enabled",
            "compute_mode": "Default",
            "pstate": "P0",
            "temperature.gpu": "29",
            "memory.total": str(self.mebibytes),
            "memory.used": "1",
            "memory.free": str(self.mebibytes - 1),
            "utilization.gpu": "0",
            "utilization.memory": "0",
            "power.draw": f"{self.watts / 10:.2f}",
            "power.limit": f"{self.watts:.2f}",
        }

    def table(self) -> str:
        """The answer without arguments, as wide as the real one (91 columns)."""
        rows = "\n".join(map(self._row, range(self.count)))
        return f"{time.strftime('%a %b %d %H:%M:%S %Y')}       \n{HEAD}\n{rows}\n{PROCESSES}"

    def _row(self, index: int) -> str:
        memory = f"1MiB / {self.mebibytes:>6}MiB"
        return (
            f"| {index:>3}  {self.model:<31.30}On  |   {self.bus(index)} Off |                    0 |\n"
            f"| N/A   29C    P0          {self.watts // 10:>5}W / {self.watts:>4}W |"
            f" {memory:>22} |      0%      Default |\n"
            f"|                                         |                        |             Disabled |\n"
            f"{COLUMNS}"
        )

    def listed(self) -> str:
        """The answer to ``-L``."""
        return "\n".join(f"GPU {index}: {self.model} (UUID: {self.uuid(index)})" for index in range(self.count))

    def xml(self) -> str:
        """The answer to ``-q -x``."""
        gpus = "".join(
            f'<gpu id="{self.bus(index)}">\n{WELL.format(**self._known(index))}</gpu>\n' for index in range(self.count)
        )
        head = f"<driver_version>{DRIVER}</driver_version>\n<cuda_version>{CUDA}</cuda_version>\n"
        count = f"<attached_gpus>{self.count}</attached_gpus>\n"
        return f'<?xml version="1.0" ?>\n<nvidia_smi_log>\n{head}{count}{gpus}</nvidia_smi_log>'

    def _known(self, index: int) -> dict[str, object]:
        own = {"serial": 1650923000000 + index, "uuid": self.uuid(index), "bus": self.bus(index)}
        return {"model": self.model, "mebibytes": self.mebibytes, "watts": self.watts, **own}

    def links(self) -> str:
        """The answer to ``nvlink --status``."""
        links = "".join(f"\n\t Link {number}: 26.562 GB/s" for number in range(18))
        return "\n".join(f"{line}{links}" for line in self.listed().splitlines())

    def query(self, names: list[str], style: list[str], gpu: int | None) -> str:
        """The answer to ``--query-gpu``: CSV. Raises KeyError for an unknown field."""
        units = {name: UNITS.get(name.partition(".")[0], "") for name in names}
        head = [", ".join(f"{name} [{units[name]}]" if units[name] else name for name in names)]
        rows = []
        for index in range(self.count) if gpu is None else [gpu]:
            values = self.fields(index)
            shown = {name: "" if "nounits" in style else units[name] for name in names}
            rows.append(", ".join(f"{values[name]} {shown[name]}".rstrip() for name in names))
        return "\n".join(rows if "noheader" in style else head + rows)


def answer(gpus: Gpus, arguments: list[str]) -> tuple[int, str]:
    """The exit code and the output."""
    parser = argparse.ArgumentParser(prog="nvidia-smi", description="The simulated machine's stand-in.")
    parser.add_argument("-L", "--list-gpus", action="store_true")
    parser.add_argument("-i", "--id", type=int)
    parser.add_argument("--query-gpu", metavar="FIELD,...")
    parser.add_argument("--query-compute-apps", metavar="FIELD,...")
    parser.add_argument("--format", default="", help="csv[,noheader][,nounits]")
    parser.add_argument("-q", "--query", action="store_true")
    parser.add_argument("-x", "--xml-format", action="store_true")
    if arguments[:1] == ["nvlink"]:
        return 0, gpus.links()
    options = parser.parse_args(arguments)
    style = options.format.split(",")
    if options.id is not None and not 0 <= options.id < gpus.count:
        return NOT_FOUND, "No devices were found"
    if options.query and options.xml_format:
        return 0, gpus.xml()
    if options.list_gpus:
        return 0, gpus.listed()
    if not (options.query_gpu or options.query_compute_apps):
        return 0, gpus.table()
    if style[0] != "csv":
        return INVALID, 'Must specify output format with "--format".'
    if options.query_compute_apps:
        return 0, "" if "noheader" in style else options.query_compute_apps.replace(",", ", ")
    try:
        return 0, gpus.query([name.strip() for name in options.query_gpu.split(",")], style, options.id)
    except KeyError as unknown:
        return INVALID, f'Field "{unknown.args[0]}" is not a valid field to query.\n'


def main(gpus: Gpus) -> None:
    """Run as the program."""
    code, text = answer(gpus, sys.argv[1:])
    if text:
        print(text)
    sys.exit(code)
