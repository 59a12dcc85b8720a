# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides whether a machine is sound and what was paid for: the table of all checks, each with its rule.

The rules read the JSON of dcgmi (DCGM 3 and 4, `dcgm_errors.h`) and the last lines of the other programs.
"""

from __future__ import annotations

import json
import os
import re
import typing as t
from dataclasses import dataclass, replace
from functools import partial

from .._text import items_of, letters_of, nodes_of, number_of
from .readings import ABSENT, NOT_RUN, Gpu, Json, Readings, count_devices, is_divided, read_text_file
from .wanted import LEVELS, VERDICTS, Wanted, version_of

OK, UNKNOWN, DEGRADED, BAD = VERDICTS
Measured = t.Union[str, float, int, None]


@dataclass(frozen=True)
class Finding:
    """A verdict on one GPU or on the machine, with measured and expected value. `findings` adds the check."""

    verdict: str
    measured: Measured = None
    expected: Measured = None
    gpu: int | None = None
    check: str = ""
    unit: str = ""
    source: str = ""

    def sentence(self) -> str:
        """The finding in words: ``gpu_count: 7 instead of 8``."""
        words = [
            f"{value:g} {self.unit}".strip() if isinstance(value, (int, float)) else str(value or "unknown")
            for value in (self.measured, self.expected)
        ]
        return f"{self.check}: {' instead of '.join(words[: 1 if self.expected is None else 2])}"


Findings = t.Iterable[Finding]
Rule = t.Callable[[Readings, Wanted], Findings]


def worst(verdicts: t.Iterable[str]) -> str:
    """The worst verdict; `ok` if there are none."""
    return max(verdicts, key=VERDICTS.index, default=OK)


def _rank(finding: Finding) -> int:
    return VERDICTS.index(finding.verdict)


def compared(measured: float | None, reference: float | None, bad: float, degraded: float = 0.0) -> Finding:
    """Compare a value with its reference: a share below ``bad`` is bad, a share below ``degraded`` is degraded."""
    if measured is None or not reference:
        return Finding(UNKNOWN, measured, reference)
    share = measured / reference
    return Finding(BAD if share < bad else DEGRADED if share < degraded else OK, measured, reference)


# Shares of a reference
HALF, ALL = 0.5, 1.0
BANDWIDTH = 0.8
SIZE = 0.85  # firmware, kernel and file system use some; and GB may mean GiB


# Comparisons with the offer


def _gpu_count(readings: Readings, wanted: Wanted) -> Findings:
    """The number of GPUs, compared with one machine's share of the offer.

    Too few GPUs are bad if nvidia-smi lists them or finds no driver, and otherwise unknown.
    """
    share, count = gpus_of_node(wanted.offer), len(readings.machine["gpus"])
    if share is not None:
        is_certain = readings.smi or readings.code("nvidia-smi") in _NO_DRIVER
        yield Finding(OK if count >= share else BAD if is_certain else UNKNOWN, count, share)


def _gpu_type(readings: Readings, wanted: Wanted) -> Findings:
    """The model of each GPU, compared with the family in the offer."""
    family, _gigabytes = _canonical(wanted.offer)
    # The family as one word or as several (RTX 6000 Ada)
    word = "[^a-z0-9]*".join(letters_of(family or ""))
    for index, gpu in enumerate(readings.machine["gpus"]):
        model = gpu["model"]
        is_other = family and not re.search(rf"(?<![a-z0-9]){word}(?![a-z0-9])", (model or "").lower())
        verdict = UNKNOWN if not model else BAD if is_other else OK
        yield Finding(verdict, model, wanted.offer.get("gpu_type") or family, index)


def _gpu_memory(readings: Readings, wanted: Wanted) -> Findings:
    """The memory of each GPU in GB, compared with the offer; no finding if the offer has none."""
    if gigabytes := _canonical(wanted.offer)[1]:
        for index, gpu in enumerate(readings.machine["gpus"]):
            yield replace(compared(gpu["memory_in_gb"], float(gigabytes), SIZE), gpu=index)


def _size(name: str, least: float, readings: Readings, wanted: Wanted) -> Findings:
    """A number of the machine, compared with the offer's field of this name; no finding if the offer has none."""
    if offered := number_of(wanted.offer.get(name)):
        yield compared(number_of(readings.machine[name]), offered, least)


def gpus_of_node(offer: t.Mapping[str, t.Any]) -> int | None:
    """How many GPUs each machine of the offer has; None if the offer does not say.

    Without ``gpus_per_node``, ``gpu_count`` is taken for all machines of a cluster; the API does not document it.
    """
    count, nodes = number_of(offer.get("gpu_count")), nodes_of(offer) if offer.get("node_count") else 1
    each = number_of(offer.get("gpus_per_node")) if (nodes or 1) > 1 else None
    share = each or (count / nodes if count is not None and nodes else None)
    return None if share is None else int(share)


def _canonical(offer: t.Mapping[str, t.Any]) -> tuple[str | None, int | None]:
    """Family and memory (GB) of an offer, read from ``nvidia-h100-sxm5-80gb`` (API page "gpu-selection")."""
    parts = re.fullmatch(r"nvidia-([a-z0-9]+)-.*?([0-9]{1,6})gb", str(offer.get("gpu_type") or ""))
    family = offer.get("gpu_family")
    named = family if isinstance(family, str) and family else None
    return named or (parts[1] if parts else None), int(parts[2]) if parts else None


# Driver and kernel

# Exit codes of nvidia-smi, by its manual; they are NVML's errors.
_NO_DRIVER = (9, 12, 18, *NOT_RUN)  # not loaded, no library, a library of another version, no nvidia-smi
_SICK_GPU = (6, 8, 10, 15)  # no device, no power, its interrupts are lost, fallen off the bus
_BAD_INFOROM = 14

# From "Xid Errors" (https://docs.nvidia.com/deploy/xid-errors/). Codes that are not listed are unknown.
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
    """The driver's state and version. A missing driver is bad, except in `specs`: it may be installed later."""
    code, least = readings.code("nvidia-smi"), wanted.min_driver
    if code in _SICK_GPU:
        yield Finding(BAD, f"nvidia-smi exits with {code}")
    elif readings.smi:
        yield _version_judged(readings.smi.driver, least)
        if code:
            yield Finding(DEGRADED if code == _BAD_INFOROM else UNKNOWN, f"nvidia-smi exits with {code}")
    elif code in _NO_DRIVER:
        verdict = UNKNOWN if wanted.level == "specs" and not least else BAD
        yield Finding(verdict, "none that works", f"at least {least}" if least else None)
    else:
        yield Finding(UNKNOWN, "nvidia-smi cannot be read")


def _cuda(readings: Readings, wanted: Wanted) -> Findings:
    """The CUDA version; no finding without a required one."""
    if wanted.min_cuda:
        yield _version_judged(readings.smi.cuda if readings.smi else None, wanted.min_cuda)


def _version_judged(version: str | None, least: str) -> Finding:
    number = version_of(version or "")
    verdict = UNKNOWN if not number else BAD if number < version_of(least) else OK
    return Finding(verdict, version, f"at least {least}" if least else None)


def _xid(readings: Readings, wanted: Wanted) -> Findings:
    """The errors of this machine's GPUs in the kernel log. A container also sees those of other GPUs of its host."""
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
    """The difference from the controller's clock; no finding if the controller's time was not given."""
    most, ahead = wanted.thresholds["clock"], readings.clock
    if ahead is not None:
        yield Finding(DEGRADED if abs(ahead) > most else OK, ahead, f"at most {most:g}")


def _user_data(readings: Readings, wanted: Wanted) -> Findings:
    """The errors in cloud-init's ``result.json``."""
    try:
        errors = json.loads(read_text_file(os.path.join(readings.root, "run/cloud-init/result.json")))["v1"]["errors"]
        yield Finding(BAD if errors else OK, "; ".join(map(str, errors)) or "no error")
    except (ValueError, RecursionError, LookupError, TypeError):
        yield Finding(UNKNOWN, "cloud-init has left no result")


# GPUs by nvidia-smi

Faults = t.Mapping[str, tuple[str, str, str]]  # for an element of its answer: the fault's pattern, verdict and words

_REASON = "clocks_event_reasons/clocks_event_reason_{}"
# Reasons for low clocks. The hardware at least halves them; `hw_slowdown` alone may be a change of the power state.
THROTTLE = {
    _REASON.format("hw_thermal_slowdown"): ("Active", BAD, "too hot (hardware)"),
    _REASON.format("hw_power_brake_slowdown"): ("Active", BAD, "power brake"),
    _REASON.format("sw_thermal_slowdown"): ("Active", DEGRADED, "too hot (software)"),
    _REASON.format("hw_slowdown"): ("Active", DEGRADED, "hardware slowdown"),
}
# Memory that the GPU replaces by spare rows (since Ampere) or no longer uses (pages, before Ampere)
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


def _by_faults(healthy: str, forms: t.Sequence[Faults], gpu: Gpu, *_others: object) -> Finding:
    """The worst fault of a GPU; `ok` if all elements of a form are ``healthy``: a missing one may hide a fault."""
    faults = {path: fault for form in forms for path, fault in form.items()}
    active = [fault[1:] for path, fault in faults.items() if re.fullmatch(fault[0], gpu.word(path) or "")]
    if active:
        found, meanings = zip(*active)
        return Finding(worst(found), ", ".join(dict.fromkeys(meanings)))
    is_healthy = any({gpu.word(path) for path in form} == {healthy} for form in forms)
    return Finding(OK, "no fault") if is_healthy else Finding(UNKNOWN)


def _has_no_ecc(gpu: Gpu) -> bool:
    return gpu.word("ecc_mode/current_ecc") == ABSENT and "GeForce" in (gpu.model or "")


def _repairs(gpu: Gpu, *_others: object) -> Finding:
    """Repairs of the memory, which a GPU reports even if its ECC is off."""
    found = _by_faults("No", (ROWS, PAGES), gpu)
    is_without = _has_no_ecc(gpu) and all(gpu.word(path) == ABSENT for path in PAGES)
    return Finding(OK, "it has no spare memory") if found.verdict == UNKNOWN and is_without else found


def _ecc(gpu: Gpu, *_others: object) -> Finding:
    """Memory errors that could not be corrected. ECC is off by default on workstation GPUs (RTX)."""
    found, is_off = _by_faults("0", ERRORS, gpu), gpu.word("ecc_mode/current_ecc") == "Disabled"
    if found.verdict in (DEGRADED, BAD) or gpu.word("ecc_mode/current_ecc") == "Enabled":
        return found
    if _has_no_ecc(gpu) or (is_off and "RTX" in (gpu.model or "")):
        return Finding(OK, "ECC is off")
    return Finding(DEGRADED, "ECC is off", "on") if is_off else Finding(UNKNOWN)


def _mig(gpu: Gpu, *_others: object) -> Finding:
    """Whether the GPU is divided (MIG), which is never a fault."""
    known = gpu.word("mig_mode/current_mig")
    return Finding(OK if known else UNKNOWN, f"{gpu.parts} parts" if is_divided([gpu]) else "not divided")


# The first minus the second is the margin below the temperature at which clocks fall. Newer GPUs report only margins.
_MARGINS = (("gpu_temp_tlimit", "gpu_temp_slow_tlimit_threshold"), ("gpu_temp_slow_threshold", "gpu_temp"))


def _temperature(gpu: Gpu, readings: Readings, wanted: Wanted) -> Finding:
    """The margin below the temperature at which the GPU slows down."""
    least = wanted.thresholds["temperature_margin"]
    for names in _MARGINS:
        upper, lower = (gpu.number(f"temperature/{name}") for name in names)
        if upper is not None and lower is not None:
            margin = upper - lower
            verdict = BAD if margin <= 0 else DEGRADED if margin < least else OK
            return Finding(verdict, f"{margin:g} below its limit", f"at least {least:g}")
    return Finding(UNKNOWN)


def _power_limit(gpu: Gpu, *_others: object) -> Finding:
    """The current power limit, compared with the GPU's default."""
    limit, default = (gpu.number(f"gpu_power_readings/{name}_power_limit") for name in ("current", "default"))
    return compared(limit, default, HALF, ALL)


BUSY = 50.0  # percent of a GPU's time
BUSY_LINK = 1e6  # KB/s; a link carries some 16 to 60 million


def _pcie(gpu: Gpu, *_others: object) -> Finding:
    """The PCIe link, compared with the best that both sides support. An idle link may be slower, which is no fault."""
    (has, measured), (can, expected) = (_link(gpu, name) for name in ("current", "max"))
    found = replace(compared(has, can, HALF, ALL), measured=measured, expected=expected)
    # While the GPU calculates or the link carries data, it must be fast.
    traffic = max(gpu.number(f"pci/{name}_util") or 0 for name in ("rx", "tx"))
    if found.verdict == OK or traffic >= BUSY_LINK or (gpu.number("utilization/gpu_util") or 0) >= BUSY:
        return found
    return replace(found, verdict=UNKNOWN, measured=f"{measured} while idle")


def _link(gpu: Gpu, name: str) -> tuple[float | None, str]:
    """The relative bandwidth of a link (each generation doubles it), and its description."""
    generation = gpu.number(f"pci/pci_gpu_link_info/pcie_gen/{name}_link_gen")
    width = gpu.number(f"pci/pci_gpu_link_info/link_widths/{name}_link_width")
    if generation is None or width is None:
        return None, "unknown"
    return width * 2.0 ** min(generation, 99), f"generation {generation:g} x{width:g}"


# Number and generation of NVLinks by a part of the GPU model's name; other models may have no bridge.
NVLINKS = {"A100-SXM": (12, 3), "H100 80GB HBM3": (18, 4), "H100 SXM": (18, 4), "H200": (18, 4), "B200": (18, 5)}
FABRIC_GENERATION = 4  # since then nvidia-smi says whether a GPU has joined its fabric
# Bus bandwidth in GB/s of all_reduce_perf by the generation of NVLink, as NVIDIA publishes it for its own machines with
# eight GPUs (nccl-tests, doc/PERFORMANCE.md); with fewer GPUs it is hardly lower.
ALL_REDUCE = {3: 230.0, 4: 360.0, 5: 700.0}
_MANAGED = {"active": OK, "inactive": BAD, "failed": BAD}  # by the state of the fabric manager's service
_JOINED = {"Success": OK, ABSENT: UNKNOWN, None: UNKNOWN}  # by the status of a GPU whose registration is complete


def nvlinks(gpu: Gpu, readings: Readings) -> tuple[int, int]:
    """Number and generation of the NVLinks that a GPU must have; (0, 0) if it needs none, or is the only GPU."""
    model = gpu.model or ""
    if len(readings.gpus) == 1 or "NVL" in model.split() or "PCIe" in model:
        return 0, 0
    return next((links for part, links in NVLINKS.items() if part in model), (0, 0))


def _nvlink(gpu: Gpu, readings: Readings, wanted: Wanted) -> Finding:
    """How many of its NVLinks are up; unknown for an unknown model, which may need some."""
    count, _generation = nvlinks(gpu, readings)
    return compared(readings.links_up(gpu.index), count, HALF, ALL) if count else _without_links(gpu)


def _without_links(gpu: Gpu) -> Finding:
    return Finding(OK if gpu.model else UNKNOWN, "it needs none")


def _fabric(gpu: Gpu, readings: Readings, wanted: Wanted) -> Finding:
    """Whether the GPU has joined the fabric of its NVSwitches. Before Hopper, only the service's state is known."""
    state, status = (gpu.word(f"fabric/{name}") for name in ("state", "status"))
    service, (_count, generation) = readings.output("fabric_manager").strip(), nvlinks(gpu, readings)
    managed = _MANAGED.get(service, UNKNOWN)
    if not generation:
        return _without_links(gpu)
    if state in (ABSENT, None):
        verdict = UNKNOWN if generation >= FABRIC_GENERATION else managed if count_devices(readings.root) else OK
        return Finding(verdict, f"the fabric manager is {service or 'unknown'}")
    # Without the fabric manager, a GPU stays in progress forever.
    verdicts = {"Completed": _JOINED.get(status, BAD), "In Progress": worst((UNKNOWN, managed))}
    return Finding(verdicts.get(state, BAD), f"{state}, {status}", "Completed, Success")


# GPUs under load

_MONITOR, _CONFIGURATION = 1, 5  # DCGM's severities that do not affect jobs
_OF_STATUS = {"pass": OK, "skip": OK, "skipped": OK, "warn": DEGRADED, "fail": BAD}
_NO_LOAD, _NO_TOOL = "no load while MIG is on", "no tool that could be used"


def diagnosis_of(readings: Readings) -> list[Finding]:
    """The results of ``dcgmi diag --json``; empty if its JSON is incomplete."""
    text = readings.output("dcgmi")
    try:
        data = json.loads(text[text.index("{") : text.rindex("}") + 1])
        body = data.get("DCGM Diagnostic") or data["DCGM GPU Diagnostic"]
        tests = [test for category in body["test_categories"] for test in category["tests"]]
        return [finding_of_dcgm(test["name"], result) for test in tests for result in test["results"]]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return []


def finding_of_dcgm(name: str, result: Json) -> Finding:
    """The finding for one result of a DCGM test. A failure with only harmless severities is degraded.

    A result of DCGM 4 has an entity, and warnings with a severity; one of DCGM 3 has its GPUs in a text, and warnings
    that are texts.
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
    judged, code = diagnosis_of(readings), readings.code("dcgmi")
    # DCGM's findings that are not ok, or one finding for all
    diagnosed = [item for item in judged if item.verdict != OK]
    if readings.has_run("dcgmi") and not diagnosed:
        has_passed = code == 0 and any(str(item.measured).endswith(": pass") for item in judged)
        verdict = OK if has_passed else UNKNOWN
        diagnosed = [Finding(verdict, f"{len(judged)} results, dcgmi exits with {code}", "all pass")]
    return [*diagnosed, *_calculated(readings)] or [Finding(UNKNOWN, _NO_TOOL)]


def _calculated(readings: Readings) -> Findings:
    """Whether each GPU calculated correctly under load; unknown if the load did not report the GPU."""
    correct = readings.calculation_results()
    for gpu in sorted({*correct, *(gpu.index for gpu in readings.gpus)}) if readings.has_run("load") else ():
        verdict, words = _CALCULATES[correct.get(gpu)]
        yield Finding(verdict if verdict == BAD or readings.code("load") == 0 else UNKNOWN, words, None, gpu)


_CALCULATES = {True: (OK, "it calculates right"), False: (BAD, "it calculates wrong"), None: (UNKNOWN, None)}


def _all_reduce(readings: Readings, wanted: Wanted) -> Findings:
    """The bus bandwidth, compared with the reference for the slowest NVLink; unknown without NVLink."""
    if len(readings.gpus) == 1:
        return
    end = re.search(_ALL_REDUCE_END, readings.output("all_reduce"), re.MULTILINE)
    if end and end[1] == "FAILED":  # with exit code 1
        yield Finding(BAD, "the sums are wrong")
    elif readings.code("all_reduce") == 0:
        slowest = min((nvlinks(gpu, readings)[1] for gpu in readings.gpus), default=0)
        yield compared(number_of(end[2]) if end else None, ALL_REDUCE.get(slowest), HALF, BANDWIDTH)
    else:
        yield Finding(UNKNOWN, _NO_LOAD if is_divided(readings.gpus) else _NO_TOOL)


_ALL_REDUCE_END = r"^# Out of bounds values\s*:\s*[0-9]+ (OK|FAILED)\s*^# Avg bus bandwidth\s*:\s*([0-9.]+)\s*$"


# All checks


@dataclass(frozen=True)
class Check:
    """A check, explained by its row in docs/acceptance.md. ``level``: the first level that includes it.

    ``needs_gpus``: it is left out if the offer has no GPUs.
    """

    name: str
    level: str
    unit: str
    source: str
    rule: Rule
    needs_gpus: bool = True


def _for_each_gpu(rule: t.Callable[[Gpu, Readings, Wanted], Finding], *, under_load: bool = False) -> Rule:
    """Apply a rule to each GPU; ``under_load``: also to the readings under load, if one has run.

    The worse of both findings counts, but an unknown one while idle gives way to the one under load. Without a GPU the
    finding is unknown.
    """

    def judged(readings: Readings, wanted: Wanted) -> Findings:
        for gpu in readings.gpus:
            samples = [gpu, readings.under_load(gpu)] if under_load and readings.has_run("load") else [gpu]
            *earlier, last = (rule(sample, readings, wanted) for sample in samples)
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
    Check("memory_in_gb", "specs", "GB", _KERNEL, partial(_size, "memory_in_gb", SIZE), needs_gpus=False),
    Check("boot_disk_in_gb", "specs", "GB", _KERNEL, partial(_size, "boot_disk_in_gb", SIZE), needs_gpus=False),
    Check("driver", "specs", "", _SMI, _driver),
    Check("cuda", "specs", "", _SMI, _cuda),
    Check("mig", "health", "", _SMI, _for_each_gpu(_mig)),
    Check("ecc", "health", "", _SMI, _for_each_gpu(_ecc)),
    Check("remapped_rows", "health", "", _SMI, _for_each_gpu(_repairs)),
    Check("xid", "health", "", "kernel log", _xid),
    Check(
        "throttle", "health", "", _SMI, _for_each_gpu(partial(_by_faults, "Not Active", (THROTTLE,)), under_load=True)
    ),
    Check("temperature", "health", "", _SMI, _for_each_gpu(_temperature, under_load=True)),
    Check("power_limit", "health", "W", _SMI, _for_each_gpu(_power_limit)),
    Check("pcie", "health", "", _SMI, _for_each_gpu(_pcie, under_load=True)),
    Check("nvlink", "health", "links", "nvidia-smi nvlink", _for_each_gpu(_nvlink)),
    Check("fabric", "health", "", "nvidia-smi, systemctl", _for_each_gpu(_fabric)),
    Check("disk_write", "health", "MB/s", "dd", _disk_write, needs_gpus=False),
    Check("clock", "health", "seconds", "clock", _clock, needs_gpus=False),
    Check("user_data", "health", "", "cloud-init", _user_data, needs_gpus=False),
    Check("under_load", "load", "", "dcgmi; gpu_burn, PyTorch, nvbandwidth", _under_load),
    Check("all_reduce", "burnin", "GB/s", "all_reduce_perf", _all_reduce),
)


def findings(readings: Readings, wanted: Wanted) -> list[Finding]:
    """All findings of a level, in the order of the table; without checks that need GPUs if the offer has none."""
    levels, has_gpus = LEVELS[: LEVELS.index(wanted.level) + 1], gpus_of_node(wanted.offer) != 0
    checks = (check for check in CHECKS if check.level in levels and (has_gpus or not check.needs_gpus))
    return [
        replace(item, check=check.name, unit=check.unit, source=check.source)
        for check in checks
        for item in check.rule(readings, wanted)
    ]


def reasons(found: t.Iterable[Finding]) -> list[str]:
    """The degraded and bad findings in words, with their GPUs, the worst first."""
    return [
        ("" if finding.gpu is None else f"GPU {finding.gpu}: ") + finding.sentence() + f" ({finding.verdict})"
        for finding in sorted(found, key=_rank, reverse=True)
        if finding.verdict in (DEGRADED, BAD)
    ]
