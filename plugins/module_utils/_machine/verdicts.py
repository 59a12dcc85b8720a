# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a machine is what was paid for, and sound: one table of all checks, each with its rule.

The forms are those of dcgmi's JSON (DCGM 3 and 4, `dcgm_errors.h`) and of the other programs' last lines.
"""

from __future__ import annotations

import json
import os
import re
import typing as t
from dataclasses import dataclass, replace
from functools import partial

from .._text import items_of, letters_of, nodes_of, number_of
from .readings import ABSENT, NOT_RUN, Gpu, Json, Readings, devices, is_divided, read_text_file
from .wanted import LEVELS, VERDICTS, Wanted, version_of

OK, UNKNOWN, DEGRADED, BAD = VERDICTS
Measured = t.Union[str, float, int, None]


@dataclass(frozen=True)
class Finding:
    """A verdict, for one GPU or for the machine, with what was measured and what it should have been.

    The table adds which check has made it.
    """

    verdict: str
    measured: Measured = None
    expected: Measured = None
    gpu: int | None = None
    check: str = ""
    unit: str = ""
    source: str = ""

    def sentence(self) -> str:
        """For a person: ``gpu_count: 7 instead of 8``."""
        words = [
            f"{value:g} {self.unit}".strip() if isinstance(value, (int, float)) else str(value or "unknown")
            for value in (self.measured, self.expected)
        ]
        return f"{self.check}: {' instead of '.join(words[: 1 if self.expected is None else 2])}"


Findings = t.Iterable[Finding]
Rule = t.Callable[[Readings, Wanted], Findings]
GpuRule = t.Callable[[Gpu, Readings, Wanted], Finding]


def worst(verdicts: t.Iterable[str]) -> str:
    """The worst verdict, `ok` for none."""
    return max(verdicts, key=VERDICTS.index, default=OK)


def _rank(finding: Finding) -> int:
    return VERDICTS.index(finding.verdict)


def compared(measured: float | None, reference: float | None, bad: float, degraded: float = 0.0) -> Finding:
    """The verdict by the share of its reference that is reached: less than ``bad``, or than ``degraded``."""
    if measured is None or not reference:
        return Finding(UNKNOWN, measured, reference)
    share = measured / reference
    return Finding(BAD if share < bad else DEGRADED if share < degraded else OK, measured, reference)


HALF, ALL = 0.5, 1.0
MOST = 0.8  # of a bandwidth
# What a firmware, a kernel and a file system keep for themselves, and the difference between GB and GiB.
OFFERED = 0.85


# Whether it has what its offer says


def _gpu_count(readings: Readings, wanted: Wanted) -> Findings:
    """The GPUs against the machine's share of its offer's. If nvidia-smi cannot be read, too few prove nothing."""
    share, count = gpus_of_node(wanted.offer), len(readings.machine["gpus"])
    if share is not None:
        is_certain = readings.smi or readings.code("nvidia-smi") in _NO_DRIVER
        yield Finding(OK if count >= share else BAD if is_certain else UNKNOWN, count, share)


def _gpu_type(readings: Readings, wanted: Wanted) -> Findings:
    """The model of each GPU against the offer's family; a model that is not known is unknown, whatever was offered."""
    family, _gigabytes = _canonical(wanted.offer)
    for index, gpu in enumerate(readings.machine["gpus"]):
        model = gpu["model"]
        verdict = UNKNOWN if not model else BAD if family and not _is_of(family, model) else OK
        yield Finding(verdict, model, wanted.offer.get("gpu_type") or family, index)


def _gpu_memory(readings: Readings, wanted: Wanted) -> Findings:
    """The memory of each GPU against the offer's in GB; nothing if the offer does not say."""
    if gigabytes := _canonical(wanted.offer)[1]:
        for index, gpu in enumerate(readings.machine["gpus"]):
            yield replace(compared(gpu["memory_in_gb"], float(gigabytes), OFFERED), gpu=index)


def _size(name: str, least: float, readings: Readings, wanted: Wanted) -> Findings:
    """A number of the machine against the offer's of the same name; nothing if the offer does not say."""
    if offered := number_of(wanted.offer.get(name)):
        yield compared(number_of(readings.machine[name]), offered, least)


def gpus_of_node(offer: t.Mapping[str, t.Any]) -> int | None:
    """How many GPUs each machine of the offer has, None if it does not say.

    No page says whether ``gpu_count`` of a cluster is that of each machine or of all.
    """
    count, nodes = number_of(offer.get("gpu_count")), nodes_of(offer) if offer.get("node_count") else 1
    each = number_of(offer.get("gpus_per_node")) if (nodes or 1) > 1 else None
    share = each or (count / nodes if count is not None and nodes else None)
    return None if share is None else int(share)


def _canonical(offer: t.Mapping[str, t.Any]) -> tuple[str | None, int | None]:
    """Family and memory (GB) of an offer, out of ``nvidia-h100-sxm5-80gb`` (API page "gpu-selection")."""
    parts = re.fullmatch(r"nvidia-([a-z0-9]+)-.*?([0-9]{1,6})gb", str(offer.get("gpu_type") or ""))
    family = offer.get("gpu_family")
    named = family if isinstance(family, str) and family else None
    return named or (parts[1] if parts else None), int(parts[2]) if parts else None


def _is_of(family: str, model: str) -> bool:
    """Whether a model is of a family: its name has the family's as a word, or as several (RTX 6000 Ada)."""
    wanted = "[^a-z0-9]*".join(letters_of(family))
    return re.search(rf"(?<![a-z0-9]){wanted}(?![a-z0-9])", model.lower()) is not None


# What driver and kernel say of the machine

# What nvidia-smi's manual says of its exit codes, which are NVML's errors.
_NO_DRIVER = (9, 12, 18, *NOT_RUN)  # not loaded, no library, a library of another version, no nvidia-smi
_SICK_GPU = (6, 8, 10, 15)  # no device, no power, its interrupts are lost, fallen off the bus
_BAD_INFOROM = 14

# By "Xid Errors" (https://docs.nvidia.com/deploy/xid-errors/). What is not listed is unknown.
XIDS = (
    (OK, "of an application", (8, 13, 31, 32, 43, 45, 68, 69)),
    (BAD, "memory error", (48, 63, 64, 92, 94, 95, 140)),
    (BAD, "NVLink error", (74,)),
    (BAD, "fell off the bus", (79,)),
    (BAD, "its own processors failed", (61, 62, 119, 120, 143)),
)
_OF_XID = {code: (verdict, words) for verdict, words, codes in XIDS for code in codes}


def _answers(readings: Readings, wanted: Wanted) -> Findings:
    hanging = [name for name, answer in readings.answers.items() if answer.hangs]
    for program in hanging:
        yield Finding(BAD, f"{program} does not answer")
    if readings.answers and not hanging:
        yield Finding(OK, f"{len(readings.answers)} programs answer")


def _driver(readings: Readings, wanted: Wanted) -> Findings:
    """A missing driver is bad, but for `specs`: a driver may be installed after the machine was bought."""
    code, least = readings.code("nvidia-smi"), wanted.min_driver
    if code in _SICK_GPU:
        yield Finding(BAD, f"nvidia-smi exits with {code}")
    elif readings.smi:
        yield _version_judged(readings.smi.driver, least)
        if code:
            yield Finding(DEGRADED if code == _BAD_INFOROM else UNKNOWN, f"nvidia-smi exits with {code}")
    elif code in _NO_DRIVER:
        verdict = UNKNOWN if wanted.level == "specs" and not least else BAD
        yield Finding(verdict, "there is none", f"at least {least}" if least else None)
    else:
        yield Finding(UNKNOWN, "nvidia-smi cannot be read")


def _cuda(readings: Readings, wanted: Wanted) -> Findings:
    """Nothing without a demand."""
    if wanted.min_cuda:
        yield _version_judged(readings.smi.cuda if readings.smi else None, wanted.min_cuda)


def _version_judged(version: str | None, least: str) -> Finding:
    number = version_of(version or "")
    verdict = UNKNOWN if not number else BAD if number < version_of(least) else OK
    return Finding(verdict, version, f"at least {least}" if least else None)


def _xid(readings: Readings, wanted: Wanted) -> Findings:
    """The errors of our GPUs in the kernel log; a container sees those of the host's others too."""
    (xids, is_complete), index = readings.xids(), {gpu.address: gpu.index for gpu in readings.gpus}
    is_certain = bool(index) and None not in index
    for place, code in dict.fromkeys(xids):
        verdict, words = _OF_XID.get(code, (UNKNOWN, "unknown"))
        if place in index or not is_certain:
            yield Finding(verdict if place in index else UNKNOWN, f"Xid {code} ({words})", None, index.get(place))
    is_read = is_complete and is_certain
    yield Finding(OK, "no other") if is_read else Finding(UNKNOWN, "the kernel log cannot be read since the boot")


def _disk_write(readings: Readings, wanted: Wanted) -> Findings:
    least, answer = wanted.thresholds["disk_write"], readings.answers.get("disk")
    if not answer or answer.code in (None, *NOT_RUN):
        yield Finding(UNKNOWN, None, least)
    elif answer.code:
        yield Finding(BAD, f"dd exits with {answer.code}", least)
    else:
        speed = round(MIB_WRITTEN * 2**20 / 1e6 / max(answer.seconds, 0.001))
        yield Finding(DEGRADED if speed < least else OK, speed, least)


MIB_WRITTEN = 64


def _clock(readings: Readings, wanted: Wanted) -> Findings:
    """Nothing if the controller's time was not given."""
    most, ahead = wanted.thresholds["clock"], readings.clock
    if ahead is not None:
        yield Finding(DEGRADED if abs(ahead) > most else OK, ahead, f"at most {most:g}")


def _user_data(readings: Readings, wanted: Wanted) -> Findings:
    """The errors of cloud-init's ``result.json``."""
    try:
        errors = json.loads(read_text_file(os.path.join(readings.root, "run/cloud-init/result.json")))["v1"]["errors"]
        yield Finding(BAD if errors else OK, "; ".join(map(str, errors)) or "no error")
    except (ValueError, RecursionError, LookupError, TypeError):
        yield Finding(UNKNOWN, "cloud-init has left no result")


# What nvidia-smi says of each GPU

Faults = t.Mapping[str, tuple[str, str, str]]  # of an element of its answer: the fault's pattern, how bad it is, words

_REASON = "clocks_event_reasons/clocks_event_reason_{}"
# Why its clocks are low. The hardware halves them at least; `hw_slowdown` alone may be a change of its state.
THROTTLE = {
    _REASON.format("hw_thermal_slowdown"): ("Active", BAD, "too hot (hardware)"),
    _REASON.format("hw_power_brake_slowdown"): ("Active", BAD, "power brake"),
    _REASON.format("sw_thermal_slowdown"): ("Active", DEGRADED, "too hot (software)"),
    _REASON.format("hw_slowdown"): ("Active", DEGRADED, "hardware slowdown"),
}
# Memory that the GPU replaces by spare rows (since Ampere), or no longer uses (pages, before that).
_WAITS = ("Yes", DEGRADED, "a repair of its memory waits for a reset")
ROWS = {
    "remapped_rows/remapped_row_failure": ("Yes", BAD, "a row could not be remapped"),
    "remapped_rows/remapped_row_pending": _WAITS,
}
PAGES = {"retired_pages/pending_retirement": _WAITS}


# Since Ampere, and since driver 545
ERRORS = tuple(
    {
        **{f"ecc_errors/volatile/{name}": ("[1-9].*", BAD, "memory errors") for name in names},
        **{f"ecc_errors/aggregate/{name}": ("[1-9].*", DEGRADED, "memory errors in its life") for name in names},
    }
    for names in (
        ("dram_uncorrectable", "sram_uncorrectable"),
        ("dram_uncorrectable", "sram_uncorrectable_parity", "sram_uncorrectable_secded"),
    )
)


def _by_faults(well: str, forms: t.Sequence[Faults], gpu: Gpu, *_others: object) -> Finding:
    """The worst of its faults. It has none if all elements of a form say so, since a missing one may hide a fault."""
    faults = {path: fault for form in forms for path, fault in form.items()}
    active = [fault[1:] for path, fault in faults.items() if re.fullmatch(fault[0], gpu.word(path) or "")]
    if active:
        found, meanings = zip(*active)
        return Finding(worst(found), ", ".join(dict.fromkeys(meanings)))
    is_well = any({gpu.word(path) for path in form} == {well} for form in forms)
    return Finding(OK, "no fault") if is_well else Finding(UNKNOWN)


def _has_no_ecc(gpu: Gpu) -> bool:
    return gpu.word("ecc_mode/current_ecc") == ABSENT and "GeForce" in (gpu.model or "")


def _repairs(gpu: Gpu, *_others: object) -> Finding:
    """Repairs of its memory. A GPU whose ECC is off tells them, too."""
    found = _by_faults("No", (ROWS, PAGES), gpu)
    is_without = _has_no_ecc(gpu) and all(gpu.word(path) == ABSENT for path in PAGES)
    return Finding(OK, "it has no spare memory") if found.verdict == UNKNOWN and is_without else found


def _ecc(gpu: Gpu, *_others: object) -> Finding:
    """Memory errors that could not be corrected. GPUs of workstations (RTX) come with ECC off."""
    found, is_off = _by_faults("0", ERRORS, gpu), gpu.word("ecc_mode/current_ecc") == "Disabled"
    if found.verdict in (DEGRADED, BAD) or gpu.word("ecc_mode/current_ecc") == "Enabled":
        return found
    if _has_no_ecc(gpu) or (is_off and "RTX" in (gpu.model or "")):
        return Finding(OK, "ECC is off")
    return Finding(DEGRADED, "ECC is off", "on") if is_off else Finding(UNKNOWN)


def _mig(gpu: Gpu, *_others: object) -> Finding:
    """A fact: whether it is divided."""
    known = gpu.word("mig_mode/current_mig")
    return Finding(OK if known else UNKNOWN, f"{gpu.parts} parts" if is_divided([gpu]) else "not divided")


# The first less the second is the distance to the temperature at which the clocks fall. Newer GPUs only tell margins.
_MARGINS = (("gpu_temp_tlimit", "gpu_temp_slow_tlimit_threshold"), ("gpu_temp_slow_threshold", "gpu_temp"))


def _temperature(gpu: Gpu, readings: Readings, wanted: Wanted) -> Finding:
    """How far it is from slowing down."""
    least = wanted.thresholds["temperature_margin"]
    for names in _MARGINS:
        upper, lower = (gpu.number(f"temperature/{name}") for name in names)
        if upper is not None and lower is not None:
            left = upper - lower
            verdict = BAD if left <= 0 else DEGRADED if left < least else OK
            return Finding(verdict, f"{left:g} below its limit", f"at least {least:g}")
    return Finding(UNKNOWN)


def _power_limit(gpu: Gpu, *_others: object) -> Finding:
    """The limit that is set, against the GPU's default."""
    limit, default = (gpu.number(f"gpu_power_readings/{name}_power_limit") for name in ("current", "default"))
    return compared(limit, default, HALF, ALL)


BUSY = 50.0  # percent of a GPU's time
BUSY_LINK = 1e6  # KB/s, of some 16 to 60 million that a link carries


def _pcie(gpu: Gpu, *_others: object) -> Finding:
    """Its link against what both sides can do. A link that nothing uses sleeps, which is no fault."""
    (has, measured), (can, expected) = (_link(gpu, name) for name in ("current", "max"))
    found = replace(compared(has, can, HALF, ALL), measured=measured, expected=expected)
    # It must be awake if the GPU calculates, or it carries data.
    traffic = max(gpu.number(f"pci/{name}_util") or 0 for name in ("rx", "tx"))
    if found.verdict == OK or traffic >= BUSY_LINK or (gpu.number("utilization/gpu_util") or 0) >= BUSY:
        return found
    return replace(found, verdict=UNKNOWN, measured=f"{measured} while idle")


def _link(gpu: Gpu, name: str) -> tuple[float | None, str]:
    """What a link carries, without a unit (each generation doubles it), and in words."""
    generation = gpu.number(f"pci/pci_gpu_link_info/pcie_gen/{name}_link_gen")
    width = gpu.number(f"pci/pci_gpu_link_info/link_widths/{name}_link_width")
    if generation is None or width is None:
        return None, "unknown"
    return width * 2.0 ** min(generation, 99), f"generation {generation:g} x{width:g}"


# How many NVLinks a GPU has, and of which generation, by a part of its model's name; others may do without a bridge.
NVLINKS = {"A100-SXM": (12, 3), "H100 80GB HBM3": (18, 4), "H100 SXM": (18, 4), "H200": (18, 4), "B200": (18, 5)}
FABRIC_GENERATION = 4  # since then nvidia-smi says whether a GPU has joined its fabric
# Bus bandwidth in GB/s of all_reduce_perf by the generation of NVLink, as NVIDIA publishes it for its own machines with
# eight GPUs (nccl-tests, doc/PERFORMANCE.md); with fewer it is hardly less.
ALL_REDUCE = {3: 230.0, 4: 360.0, 5: 700.0}
_MANAGED = {"active": OK, "inactive": BAD, "failed": BAD}  # what systemd says of the fabric manager
_JOINED = {"Success": OK, ABSENT: UNKNOWN, None: UNKNOWN}  # the status of a GPU that has completed


def nvlinks(gpu: Gpu, readings: Readings) -> tuple[int, int]:
    """How many NVLinks, of which generation, a GPU must have; (0, 0) if it need not have any, or is alone."""
    model = gpu.model or ""
    if len(readings.gpus) == 1 or "NVL" in model.split() or "PCIe" in model:
        return 0, 0
    return next((links for part, links in NVLINKS.items() if part in model), (0, 0))


def _nvlink(gpu: Gpu, readings: Readings, wanted: Wanted) -> Finding:
    """How many of its NVLinks are up. A model that is unknown may need some."""
    count, _generation = nvlinks(gpu, readings)
    return compared(readings.links_up(gpu.index), count, HALF, ALL) if count else _without_links(gpu)


def _without_links(gpu: Gpu) -> Finding:
    return Finding(OK if gpu.model else UNKNOWN, "it needs none")


def _fabric(gpu: Gpu, readings: Readings, wanted: Wanted) -> Finding:
    """Whether it has joined the fabric of its NVSwitches. Before Hopper only systemd knows."""
    state, status = (gpu.word(f"fabric/{name}") for name in ("state", "status"))
    service, (_count, generation) = readings.output("fabric_manager").strip(), nvlinks(gpu, readings)
    managed = _MANAGED.get(service, UNKNOWN)
    if not generation:
        return _without_links(gpu)
    if state in (ABSENT, None):
        verdict = UNKNOWN if generation >= FABRIC_GENERATION else managed if devices(readings.root) else OK
        return Finding(verdict, f"the fabric manager is {service or 'unknown'}")
    # Without its manager a GPU stays in progress for ever.
    verdicts = {"Completed": _JOINED.get(status, BAD), "In Progress": worst((UNKNOWN, managed))}
    return Finding(verdicts.get(state, BAD), f"{state}, {status}", "Completed, Success")


# What the GPUs do under load

_MONITOR, _CONFIGURATION = 1, 5  # DCGM's severities that end no job
_OF_STATUS = {"pass": OK, "skip": OK, "skipped": OK, "warn": DEGRADED, "fail": BAD}
_NO_LOAD, _NO_TOOL = "no load while MIG is on", "no tool that could be used"


def diagnosis_of(readings: Readings) -> list[Finding]:
    """The results of ``dcgmi diag --json``, none if it is no complete JSON of dcgmi."""
    text = readings.output("dcgmi")
    try:
        data = json.loads(text[text.index("{") : text.rindex("}") + 1])
        body = data.get("DCGM Diagnostic") or data["DCGM GPU Diagnostic"]
        tests = [test for category in body["test_categories"] for test in category["tests"]]
        return [finding_of_dcgm(test["name"], result) for test in tests for result in test["results"]]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return []


def finding_of_dcgm(name: str, result: Json) -> Finding:
    """A test of DCGM. A failure whose severities are all harmless is degraded.

    DCGM 4 names an entity and has warnings with a severity; DCGM 3 has a list of GPUs in a text, and texts.
    """
    status = str(result["status"]).lower()
    warnings = [
        item if isinstance(item, dict) else {"warning": item} for item in items_of(result.get("warnings") or [])
    ]
    severities = {item.get("error_severity") for item in warnings}
    verdict = _OF_STATUS.get(status, UNKNOWN)
    if verdict == BAD and severities and severities <= {_MONITOR, _CONFIGURATION}:
        verdict = DEGRADED
    words = "; ".join(str(item.get("warning")) for item in warnings) or status
    number = number_of(result.get("entity_id" if result.get("entity_group") == "GPU" else "gpu_ids"))
    return Finding(verdict, f"{name}: {words}", "pass", None if number is None else int(number))


def _under_load(readings: Readings, wanted: Wanted) -> Findings:
    if is_divided(readings.gpus):
        return [Finding(UNKNOWN, _NO_LOAD)]
    return [*_diagnosed(readings), *_calculated(readings)] or [Finding(UNKNOWN, _NO_TOOL)]


def _diagnosed(readings: Readings) -> Findings:
    """What DCGM says, by its JSON and its exit code; nothing if it is not installed."""
    judged, code = diagnosis_of(readings), readings.code("dcgmi")
    worse = [item for item in judged if item.verdict != OK]
    if not readings.has_run("dcgmi") or worse:
        return worse
    has_passed = code == 0 and any(str(item.measured).endswith(": pass") for item in judged)
    return [Finding(OK if has_passed else UNKNOWN, f"{len(judged)} results, dcgmi exits with {code}", "all pass")]


def _calculated(readings: Readings) -> Findings:
    """Which GPUs calculate right under the load that has run; those of which it says nothing are unknown."""
    right = readings.calculating()
    for gpu in sorted({*right, *(gpu.index for gpu in readings.gpus)}) if readings.has_run("load") else ():
        verdict, words = _CALCULATES[right.get(gpu)]
        yield Finding(verdict if verdict == BAD or readings.code("load") == 0 else UNKNOWN, words, None, gpu)


_CALCULATES = {True: (OK, "it calculates right"), False: (BAD, "it calculates wrong"), None: (UNKNOWN, None)}


def _all_reduce(readings: Readings, wanted: Wanted) -> Findings:
    """Against the reference of the slowest GPU's NVLink. Without NVLink no number is known to be right."""
    if len(readings.gpus) == 1:
        return
    end = re.search(_ALL_REDUCE_END, readings.output("all_reduce"), re.MULTILINE)
    if end and end[1] == "FAILED":  # with exit code 1
        yield Finding(BAD, "the sums are wrong")
    elif readings.code("all_reduce") == 0:
        slowest = min((nvlinks(gpu, readings)[1] for gpu in readings.gpus), default=0)
        yield compared(number_of(end[2]) if end else None, ALL_REDUCE.get(slowest), HALF, MOST)
    else:
        yield Finding(UNKNOWN, _NO_LOAD if is_divided(readings.gpus) else _NO_TOOL)


_ALL_REDUCE_END = r"^# Out of bounds values\s*:\s*[0-9]+ (OK|FAILED)\s*^# Avg bus bandwidth\s*:\s*([0-9.]+)\s*$"


# All checks


@dataclass(frozen=True)
class Check:
    """A row of docs/acceptance.md, which says when it is worse than `ok`. ``level``: the first that makes the check.

    ``needs_gpus``: it is not made if the offer has none.
    """

    name: str
    level: str
    unit: str
    source: str
    rule: Rule
    needs_gpus: bool = True


def _of_gpus(rule: GpuRule, *, under_load: bool = False) -> Rule:
    """A rule for each GPU; ``under_load``: also as it is under a load, if one has run. Without a GPU it is unknown.

    The worse of both looks counts, but what cannot be judged while idle is judged under load.
    """

    def judged(readings: Readings, wanted: Wanted) -> Findings:
        for gpu in readings.gpus:
            looks = [gpu, readings.busy(gpu)] if under_load and readings.has_run("load") else [gpu]
            *earlier, last = (rule(look, readings, wanted) for look in looks)
            known = (found for found in earlier if found.verdict != UNKNOWN)
            yield replace(max([last, *known], key=_rank), gpu=gpu.index)
        if not readings.gpus:
            yield Finding(UNKNOWN, "no GPU could be read")

    return judged


_SMI, _KERNEL = "nvidia-smi", "the kernel"
CHECKS = (
    Check("answers", "specs", "", "all programs", _answers, needs_gpus=False),
    Check("gpu_count", "specs", "", _SMI, _gpu_count, needs_gpus=False),
    Check("gpu_type", "specs", "", _SMI, _gpu_type),
    Check("gpu_memory", "specs", "GB", _SMI, _gpu_memory),
    Check("vcpu_count", "specs", "", _KERNEL, partial(_size, "vcpu_count", ALL), needs_gpus=False),
    Check("memory_in_gb", "specs", "GB", _KERNEL, partial(_size, "memory_in_gb", OFFERED), needs_gpus=False),
    Check("boot_disk_in_gb", "specs", "GB", _KERNEL, partial(_size, "boot_disk_in_gb", OFFERED), needs_gpus=False),
    Check("driver", "specs", "", _SMI, _driver),
    Check("cuda", "specs", "", _SMI, _cuda),
    Check("mig", "health", "", _SMI, _of_gpus(_mig)),
    Check("ecc", "health", "", _SMI, _of_gpus(_ecc)),
    Check("remapped_rows", "health", "", _SMI, _of_gpus(_repairs)),
    Check("xid", "health", "", "kernel log", _xid),
    Check("throttle", "health", "", _SMI, _of_gpus(partial(_by_faults, "Not Active", (THROTTLE,)), under_load=True)),
    Check("temperature", "health", "", _SMI, _of_gpus(_temperature, under_load=True)),
    Check("power_limit", "health", "W", _SMI, _of_gpus(_power_limit)),
    Check("pcie", "health", "", _SMI, _of_gpus(_pcie, under_load=True)),
    Check("nvlink", "health", "links", "nvidia-smi nvlink", _of_gpus(_nvlink)),
    Check("fabric", "health", "", "nvidia-smi, systemctl", _of_gpus(_fabric)),
    Check("disk_write", "health", "MB/s", "dd", _disk_write, needs_gpus=False),
    Check("clock", "health", "seconds", "clock", _clock, needs_gpus=False),
    Check("user_data", "health", "", "cloud-init", _user_data, needs_gpus=False),
    Check("under_load", "load", "", "dcgmi; gpu_burn, PyTorch, nvbandwidth", _under_load),
    Check("all_reduce", "burnin", "GB/s", "all_reduce_perf", _all_reduce),
)


def findings(readings: Readings, wanted: Wanted) -> list[Finding]:
    """All findings of a level, in the order of the table; none about GPUs if the offer has none."""
    levels, has_gpus = LEVELS[: LEVELS.index(wanted.level) + 1], gpus_of_node(wanted.offer) != 0
    checks = (check for check in CHECKS if check.level in levels and (has_gpus or not check.needs_gpus))
    return [
        replace(item, check=check.name, unit=check.unit, source=check.source)
        for check in checks
        for item in check.rule(readings, wanted)
    ]


def reasons(made: t.Iterable[Finding]) -> list[str]:
    """A sentence for each finding that is degraded or bad, the worst first, with its GPU."""
    return [
        ("" if finding.gpu is None else f"GPU {finding.gpu}: ") + finding.sentence() + f" ({finding.verdict})"
        for finding in sorted(made, key=_rank, reverse=True)
        if finding.verdict in (DEGRADED, BAD)
    ]
