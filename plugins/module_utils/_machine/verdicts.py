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

HALF, MOST = 0.5, 0.8  # of what it should be: less than the first is bad; of a bandwidth, less than the second degraded
BUSY = 50.0  # percent of a GPU's time
BUSY_LINK = 1e6  # KB/s, of some 16 to 60 million that a link carries
MIB_WRITTEN = 64
LOADS = ("gpu_burn", "pytorch", "nvbandwidth")  # the first that is installed is enough


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
        measured, expected = (_words(value, self.unit) for value in (self.measured, self.expected))
        return f"{self.check}: {measured}" + ("" if self.expected is None else f" instead of {expected}")


def _words(value: Measured, unit: str) -> str:
    number = f"{value:g} {unit}".strip() if isinstance(value, (int, float)) else value
    return number or "unknown"


Findings = t.Iterator[Finding]
Rule = t.Callable[[Readings, Wanted], Findings]
GpuRule = t.Callable[[Gpu, Readings, Wanted], Finding]


def worst(verdicts: t.Iterable[str]) -> str:
    """The worst verdict, `ok` for none."""
    return max(verdicts, key=VERDICTS.index, default=OK)


def _rank(finding: Finding) -> int:
    return VERDICTS.index(finding.verdict)


def of_ratio(measured: float | None, reference: float | None, least: float = 1.0) -> Finding:
    """The verdict by the share of its reference that is reached; one below ``least`` is degraded."""
    if measured is None or not reference:
        return Finding(UNKNOWN, measured, reference)
    share = measured / reference
    verdict = BAD if share < HALF else DEGRADED if share < least else OK
    return Finding(verdict, measured, reference)


# What nvidia-smi says of each GPU


def _by_words(well: str, faults: t.Mapping[str, tuple[str, str, str]], gpu: Gpu, *_others: object) -> Finding:
    """The verdict by single words of nvidia-smi: an element, the word that is a fault, how bad it is, what it means."""
    words = [gpu.word(path) for path in faults]
    active = [fault for word, fault in zip(words, faults.values()) if word == fault[0]]
    if active:
        return Finding(worst(verdict for _word, verdict, _meaning in active), ", ".join(fault[2] for fault in active))
    return Finding(OK, "no fault") if set(words) == {well} else Finding(UNKNOWN, words[0])


_REASON = "clocks_event_reasons/clocks_event_reason_{}"
# Why its clocks are low. The hardware halves them at least; `hw_slowdown` alone may be a change of its state.
THROTTLE = {
    _REASON.format("hw_thermal_slowdown"): ("Active", BAD, "too hot (hardware)"),
    _REASON.format("hw_power_brake_slowdown"): ("Active", BAD, "power brake"),
    _REASON.format("sw_thermal_slowdown"): ("Active", DEGRADED, "too hot (software)"),
    _REASON.format("hw_slowdown"): ("Active", DEGRADED, "hardware slowdown"),
}
# Memory that the GPU replaces by spare rows (since Ampere), or no longer uses (pages, before that).
ROWS = {
    "remapped_rows/remapped_row_failure": ("Yes", BAD, "a row could not be remapped"),
    "remapped_rows/remapped_row_pending": ("Yes", DEGRADED, "a repair of its memory waits for a reset"),
}
PAGES = {"retired_pages/pending_retirement": ("Yes", DEGRADED, "a repair of its memory waits for a reset")}


def _needs_no_ecc(gpu: Gpu) -> bool:
    """Whether it has no ECC, as GeForce, or has it off, as GPUs of workstations (RTX) come."""
    mode, model = gpu.word("ecc_mode/current_ecc"), gpu.model or ""
    return (mode == ABSENT and "GeForce" in model) or (mode == "Disabled" and "RTX" in model)


def repairs(gpu: Gpu, readings: Readings, wanted: Wanted) -> Finding:
    """Repairs of its memory; without ECC there are none."""
    has_rows = any(gpu.word(path) not in (None, ABSENT) for path in ROWS)
    if not has_rows and _needs_no_ecc(gpu) and gpu.word(next(iter(PAGES))) == ABSENT:
        return Finding(OK, "it has no spare memory")
    return _by_words("No", ROWS if has_rows else PAGES, gpu)


def mig(gpu: Gpu, readings: Readings, wanted: Wanted) -> Finding:
    """A fact: whether it is divided."""
    known = gpu.word("mig_mode/current_mig")
    return Finding(OK if known else UNKNOWN, f"{gpu.parts} parts" if is_divided([gpu]) else "not divided")


# Since Ampere, and since driver 545. All names of one form must be there, or an error might be missed.
_ERRORS = (
    ("dram_uncorrectable", "sram_uncorrectable"),
    ("dram_uncorrectable", "sram_uncorrectable_parity", "sram_uncorrectable_secded"),
)


def _uncorrected(gpu: Gpu, kind: str) -> float | None:
    forms = ([gpu.number(f"ecc_errors/{kind}/{name}") for name in names] for names in _ERRORS)
    return next((sum(filter(None, numbers)) for numbers in forms if None not in numbers), None)


def ecc(gpu: Gpu, readings: Readings, wanted: Wanted) -> Finding:
    """Memory errors that could not be corrected."""
    now, ever = (_uncorrected(gpu, kind) for kind in ("volatile", "aggregate"))
    crossed = gpu.word("ecc_errors/aggregate/sram_threshold_exceeded") == "Yes"
    if now:
        return Finding(BAD, now, 0)
    if ever:
        return Finding(BAD if crossed else DEGRADED, f"{ever:g} in its life", 0)
    mode = gpu.word("ecc_mode/current_ecc")
    if mode == "Enabled":
        return Finding(UNKNOWN if None in (now, ever) else OK, now, 0)
    if _needs_no_ecc(gpu):
        return Finding(OK, "ECC is off, as on all of its line")
    return Finding(DEGRADED if mode == "Disabled" else UNKNOWN, "ECC is off", "on")


def temperature(gpu: Gpu, readings: Readings, wanted: Wanted) -> Finding:
    """How far it is from the temperature at which its clocks fall; newer GPUs only tell the margin."""
    tlimit, slow_tlimit, now, slow = (
        gpu.number(f"temperature/gpu_temp{name}")
        for name in ("_tlimit", "_slow_tlimit_threshold", "", "_slow_threshold")
    )
    if tlimit is not None and slow_tlimit is not None:
        left = tlimit - slow_tlimit
    elif now is not None and slow is not None:
        left = slow - now
    else:
        return Finding(UNKNOWN, now)
    least = wanted.thresholds["temperature_margin"]
    verdict = BAD if left <= 0 else DEGRADED if left < least else OK
    return Finding(verdict, f"{left:g} below its limit", f"at least {least:g}")


def power_limit(gpu: Gpu, readings: Readings, wanted: Wanted) -> Finding:
    """The limit that is set, against the GPU's default."""
    limit, default = (gpu.number(f"gpu_power_readings/{name}_power_limit") for name in ("current", "default"))
    return of_ratio(limit, default)


def pcie(gpu: Gpu, readings: Readings, wanted: Wanted) -> Finding:
    """Its link against what both sides can do. A link that nothing uses sleeps, which is no fault."""
    (has, measured), (can, expected) = (_link(gpu, name) for name in ("current", "max"))
    found = replace(of_ratio(has, can), measured=measured, expected=expected)
    if found.verdict in (OK, UNKNOWN) or _is_busy(gpu):
        return found
    return replace(found, verdict=UNKNOWN, measured=f"{measured} while idle")


def _link(gpu: Gpu, name: str) -> tuple[float | None, str]:
    """What a link carries, without a unit (each generation doubles it), and in words."""
    generation = gpu.number(f"pci/pci_gpu_link_info/pcie_gen/{name}_link_gen")
    width = gpu.number(f"pci/pci_gpu_link_info/link_widths/{name}_link_width")
    if generation is None or width is None:
        return None, "unknown"
    return width * 2.0 ** min(generation, 99), f"generation {generation:g} x{width:g}"


def _is_busy(gpu: Gpu) -> bool:
    """Whether its link must be awake: it calculates, or the link carries data."""
    traffic = max(gpu.number(f"pci/{name}_util") or 0 for name in ("rx", "tx"))
    return (gpu.number("utilization/gpu_util") or 0) >= BUSY or traffic >= BUSY_LINK


# How many NVLinks a GPU has, and of which generation, by a part of its model's name; others may do without a bridge.
NVLINKS = {
    "A100-SXM": (12, 3),
    "H100 80GB HBM3": (18, 4),
    "H100 SXM": (18, 4),
    "H200": (18, 4),
    "B200": (18, 5),
}
FABRIC_GENERATION = 4  # since then nvidia-smi says whether a GPU has joined its fabric
# Bus bandwidth in GB/s of all_reduce_perf by the generation of NVLink, as NVIDIA publishes it for its own machines with
# eight GPUs (nccl-tests, doc/PERFORMANCE.md); with fewer it is hardly less.
ALL_REDUCE = {3: 230.0, 4: 360.0, 5: 700.0}


def nvlinks_of_model(model: str | None) -> tuple[int, int] | None:
    """How many NVLinks, of which generation, a model must have; None if it need not have any."""
    if not model or "NVL" in model.split() or "PCIe" in model:
        return None
    return next((links for part, links in NVLINKS.items() if part in model), None)


def _of_links(rule: t.Callable[[Gpu, Readings, tuple[int, int]], Finding]) -> GpuRule:
    """A rule for GPUs that must have NVLinks. One that is alone needs none; a model that is unknown may need them."""

    def judged(gpu: Gpu, readings: Readings, wanted: Wanted) -> Finding:
        links = nvlinks_of_model(gpu.model)
        if links is None or len(readings.gpus) == 1:
            return Finding(OK if gpu.model else UNKNOWN, "it needs none")
        return rule(gpu, readings, links)

    return judged


def _nvlink(gpu: Gpu, readings: Readings, links: tuple[int, int]) -> Finding:
    """How many of its NVLinks are up."""
    return of_ratio(readings.links_up(gpu.index), links[0])


def _fabric(gpu: Gpu, readings: Readings, links: tuple[int, int]) -> Finding:
    """Whether it has joined the fabric of its NVSwitches. Before Hopper only systemd knows."""
    state, service = gpu.word("fabric/state"), readings.output("fabric_manager").strip()
    stopped = service in ("inactive", "failed")
    if state not in (ABSENT, None):
        return _joined(state, gpu.word("fabric/status"), BAD if stopped else UNKNOWN)
    if links[1] >= FABRIC_GENERATION:
        return Finding(UNKNOWN, "its state is unknown")
    if not devices(readings.root):
        return Finding(OK, "no NVSwitch")
    verdict = BAD if stopped else OK if service == "active" else UNKNOWN
    return Finding(verdict, f"the fabric manager is {service or 'unknown'}", "active")


def _joined(state: str, status: str | None, in_progress: str) -> Finding:
    """What nvidia-smi says itself. Without its manager a GPU stays in progress for ever."""
    verdicts = {
        **{("Completed", "Success"): OK, ("Completed", None): UNKNOWN, ("Completed", ABSENT): UNKNOWN},
        ("In Progress", status): in_progress,
    }
    return Finding(verdicts.get((state, status), BAD), f"{state}, {status}", "Completed, Success")


# What the driver and the kernel say

# What nvidia-smi's manual says of its exit codes, which are NVML's errors.
_NO_DRIVER = (9, 12, 18, *NOT_RUN)  # not loaded, no library, a library of another version, no nvidia-smi
_SICK_GPU = (6, 8, 10, 15)  # no device, no power, its interrupts are lost, fallen off the bus
_BAD_INFOROM = 14

# By "Xid Errors" (https://docs.nvidia.com/deploy/xid-errors/). What is not listed is unknown.
APPLICATION = (8, 13, 31, 32, 43, 45, 68, 69)
HARDWARE = {
    48: "double-bit memory error",
    61: "internal microcontroller breakpoint",
    62: "internal microcontroller halt",
    63: "a row of memory was remapped",
    64: "a row of memory could not be remapped",
    74: "NVLink error",
    79: "fell off the bus",
    92: "many single-bit memory errors",
    94: "contained memory error",
    95: "uncontained memory error",
    119: "its system processor does not answer",
    120: "error of its system processor",
    140: "memory error that could not be corrected",
    143: "it could not be initialized",
}


def _answers(readings: Readings, wanted: Wanted) -> Findings:
    hanging = [name for name, answer in readings.answers.items() if answer.hangs]
    for program in hanging:
        yield Finding(BAD, f"{program} does not answer")
    if readings.answers and not hanging:
        yield Finding(OK, f"{len(readings.answers)} programs answer")


def _driver(readings: Readings, wanted: Wanted) -> Findings:
    """A missing driver is bad, but for `specs`: a driver may be installed after the machine was bought."""
    code, smi, least = readings.code("nvidia-smi"), readings.smi, wanted.min_driver
    if code in _NO_DRIVER and not smi:
        verdict = UNKNOWN if wanted.level == "specs" and not least else BAD
        yield Finding(verdict, "there is none", f"at least {least}" if least else None)
    elif code in _SICK_GPU:
        yield Finding(BAD, f"nvidia-smi exits with {code}")
    elif not smi or code not in (0, _BAD_INFOROM):
        yield Finding(UNKNOWN, "nvidia-smi cannot be read")
    else:
        yield _version_judged(smi.driver, least)
        if code:
            yield Finding(DEGRADED, "the GPU's own settings (InfoROM) are damaged")


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
        verdict, words = _xid_class(code)
        if place in index:
            yield Finding(verdict, f"Xid {code} ({words})", None, index[place])
        elif not is_certain:
            yield Finding(UNKNOWN, f"Xid {code} ({words})")
    is_read = is_complete and is_certain
    yield Finding(OK, "no other") if is_read else Finding(UNKNOWN, "the kernel log cannot be read since the boot")


def _xid_class(code: int) -> tuple[str, str]:
    if code in APPLICATION:
        return OK, "of an application"
    return (BAD, HARDWARE[code]) if code in HARDWARE else (UNKNOWN, "unknown")


def _disk_write(readings: Readings, wanted: Wanted) -> Findings:
    least, code = wanted.thresholds["disk_write"], readings.code("disk")
    if code in (None, *NOT_RUN):
        yield Finding(UNKNOWN, None, least)
    elif code:
        errors = readings.answers["disk"].errors.strip().splitlines()
        yield Finding(BAD, errors[-1] if errors else f"dd exits with {code}", least)
    else:
        speed = round(MIB_WRITTEN * 2**20 / 1e6 / max(readings.answers["disk"].seconds, 0.001))
        yield Finding(DEGRADED if speed < least else OK, speed, least)


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


# What the GPUs do under load

_MONITOR, _CONFIGURATION = 1, 5  # DCGM's severities that end no job
_OF_STATUS = {"pass": OK, "skip": OK, "skipped": OK, "warn": DEGRADED, "fail": BAD}
_NO_LOAD, _NO_TOOL = "no load while MIG is on", "no tool that could be used"


def diagnosis_of(readings: Readings) -> tuple[list[Finding], str | None]:
    """The results of ``dcgmi diag --json``, none if it is no complete JSON of dcgmi; and dcgmi's version."""
    text = readings.output("dcgmi")
    try:
        data = json.loads(text[text.index("{") : text.rindex("}") + 1])
        body = data.get("DCGM Diagnostic") or data["DCGM GPU Diagnostic"]
        tests = [test for category in body["test_categories"] for test in category["tests"]]
        found = [finding_of_dcgm(test["name"], result) for test in tests for result in test["results"]]
        return found, (data.get("metadata") or body).get("version")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return [], None


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
    return Finding(verdict, f"{name}: {words}", "pass", _gpu_of(result))


def _gpu_of(result: Json) -> int | None:
    number = number_of(result.get("entity_id" if result.get("entity_group") == "GPU" else "gpu_ids"))
    return None if number is None else int(number)


def _under_load(readings: Readings, wanted: Wanted) -> Findings:
    if is_divided(readings.gpus):
        yield Finding(UNKNOWN, _NO_LOAD)
    else:
        yield from [*_diagnosed(readings), *_calculated(readings)] or [Finding(UNKNOWN, _NO_TOOL)]


def _diagnosed(readings: Readings) -> list[Finding]:
    """What DCGM says, by its JSON and its exit code; nothing if it is not installed."""
    (judged, _version), code = diagnosis_of(readings), readings.code("dcgmi")
    if not readings.has_run("dcgmi"):
        return []
    if worse := [item for item in judged if item.verdict != OK]:
        return worse
    if code != 0 or not any(str(item.measured).endswith(": pass") for item in judged):
        return [Finding(UNKNOWN, f"dcgmi exits with {code}", "all pass")]
    return [Finding(OK, f"{len(judged)} results of dcgmi", "all pass")]


def _calculated(readings: Readings) -> Findings:
    """Which GPUs calculate right under the load that has run; those of which it says nothing are unknown."""
    for name in list(filter(readings.has_run, LOADS))[:1]:
        burnt = readings.calculating(name)
        for gpu in sorted({*burnt, *(gpu.index for gpu in readings.gpus)}):
            verdict, words = _CALCULATES[burnt.get(gpu)]
            believed = verdict == BAD or readings.code(name) == 0
            yield Finding(verdict if believed else UNKNOWN, words, None, gpu)


_CALCULATES = {True: (OK, "it calculates right"), False: (BAD, "it calculates wrong"), None: (UNKNOWN, None)}


def _all_reduce(readings: Readings, wanted: Wanted) -> Findings:
    """Against the reference of the slowest GPU's NVLink. Without NVLink no number is known to be right."""
    if len(readings.gpus) == 1:
        return
    code = readings.code("all_reduce")
    end = re.search(_ALL_REDUCE_END, readings.output("all_reduce"), re.MULTILINE)
    if end and end[1] == "FAILED":  # with exit code 1
        yield Finding(BAD, "the sums are wrong")
    elif code == 0:
        yield of_ratio(number_of(end[2]) if end else None, _all_reduce_reference(readings.gpus), MOST)
    else:
        yield Finding(UNKNOWN, _NO_LOAD if is_divided(readings.gpus) else _NO_TOOL)


_ALL_REDUCE_END = r"^# Out of bounds values\s*:\s*[0-9]+ (OK|FAILED)\s*^# Avg bus bandwidth\s*:\s*([0-9.]+)\s*$"


def _all_reduce_reference(gpus: t.Iterable[Gpu]) -> float | None:
    generations = [(nvlinks_of_model(gpu.model) or (0, 0))[1] for gpu in gpus]
    return ALL_REDUCE.get(min(generations, default=0))


# Whether it has what its offer says

# What a firmware, a kernel and a file system keep for themselves, and the difference between GB and GiB.
_TOLERANCE = 0.85


def _gpu_count(readings: Readings, wanted: Wanted) -> Findings:
    """The GPUs against the machine's share of its offer's. If nvidia-smi cannot be read, too few prove nothing."""
    share, count = gpus_of_node(wanted.offer), len(readings.machine["gpus"])
    if share is not None:
        is_certain = readings.smi or not readings.answers or readings.code("nvidia-smi") in _NO_DRIVER
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
            yield _sized(gpu["memory_in_gb"], float(gigabytes), _TOLERANCE, index)


def _size(name: str, share: float, readings: Readings, wanted: Wanted) -> Findings:
    """A number of the machine against the offer's of the same name; nothing if the offer does not say."""
    offered = number_of(wanted.offer.get(name))
    if offered is not None:
        yield _sized(number_of(readings.machine[name]), offered, share)


def _sized(has: float | None, offered: float, share: float, gpu: int | None = None) -> Finding:
    return Finding(UNKNOWN if has is None else BAD if has < offered * share else OK, has, offered, gpu)


def gpus_of_node(offer: t.Mapping[str, t.Any]) -> int | None:
    """How many GPUs each machine of the offer has, None if it does not say."""
    count, nodes = number_of(offer.get("gpu_count")), nodes_of(offer) if offer.get("node_count") else 1
    return int(count // nodes) if count is not None and nodes else None


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
    needs_gpus: bool = False


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
    ranked = sorted(made, key=_rank, reverse=True)
    return [
        ("" if finding.gpu is None else f"GPU {finding.gpu}: ") + finding.sentence() + f" ({finding.verdict})"
        for finding in ranked
        if finding.verdict in (DEGRADED, BAD)
    ]


def shortfalls(machine: Json, offer: t.Mapping[str, t.Any]) -> list[str]:
    """Where a machine has less than its offer says, a sentence for each field. What is unknown is passed over."""
    made = findings(Readings(machine), Wanted("specs", offer))
    return list(dict.fromkeys(finding.sentence() for finding in made if finding.verdict == BAD))


def _of_gpus(rule: GpuRule, *, under_load: bool = False) -> Rule:
    """A rule for each GPU; ``under_load``: also as it is under a load, if one has run. Without a GPU it is unknown.

    The worse of both looks counts, but what cannot be judged while idle is judged under load.
    """

    def judged(readings: Readings, wanted: Wanted) -> Findings:
        loaded = {gpu.index: gpu for gpu in (readings.loaded.gpus if readings.loaded else ())}
        for gpu in readings.gpus:
            found = rule(gpu, readings, wanted)
            if under_load and any(map(readings.has_run, LOADS)):
                busy = loaded.get(gpu.index)
                look = rule(busy, readings, wanted) if busy else Finding(UNKNOWN, "not read under load")
                found = look if found.verdict == UNKNOWN else max(look, found, key=_rank)
            yield replace(found, gpu=gpu.index)
        if not readings.gpus:
            yield Finding(UNKNOWN, "no GPU could be read")

    return judged


CHECKS = (
    Check("answers", "specs", "", "all programs", _answers),
    Check("gpu_count", "specs", "", "nvidia-smi", _gpu_count),
    Check("gpu_type", "specs", "", "nvidia-smi", _gpu_type),
    Check("gpu_memory", "specs", "GB", "nvidia-smi", _gpu_memory),
    Check("vcpu_count", "specs", "", "the kernel", partial(_size, "vcpu_count", 1.0)),
    Check("memory_in_gb", "specs", "GB", "the kernel", partial(_size, "memory_in_gb", _TOLERANCE)),
    Check("boot_disk_in_gb", "specs", "GB", "the kernel", partial(_size, "boot_disk_in_gb", _TOLERANCE)),
    Check("driver", "specs", "", "nvidia-smi", _driver, needs_gpus=True),
    Check("cuda", "specs", "", "nvidia-smi", _cuda),
    Check("mig", "health", "", "nvidia-smi", _of_gpus(mig), needs_gpus=True),
    Check("ecc", "health", "errors", "nvidia-smi", _of_gpus(ecc), needs_gpus=True),
    Check("remapped_rows", "health", "", "nvidia-smi", _of_gpus(repairs), needs_gpus=True),
    Check("xid", "health", "", "kernel log", _xid, needs_gpus=True),
    Check(
        "throttle",
        "health",
        "",
        "nvidia-smi",
        _of_gpus(partial(_by_words, "Not Active", THROTTLE), under_load=True),
        True,
    ),
    Check("temperature", "health", "", "nvidia-smi", _of_gpus(temperature, under_load=True), needs_gpus=True),
    Check("power_limit", "health", "W", "nvidia-smi", _of_gpus(power_limit), needs_gpus=True),
    Check("pcie", "health", "", "nvidia-smi", _of_gpus(pcie, under_load=True), needs_gpus=True),
    Check("nvlink", "health", "links", "nvidia-smi nvlink", _of_gpus(_of_links(_nvlink)), needs_gpus=True),
    Check("fabric", "health", "", "nvidia-smi, systemctl", _of_gpus(_of_links(_fabric)), needs_gpus=True),
    Check("disk_write", "health", "MB/s", "dd", _disk_write),
    Check("clock", "health", "seconds", "clock", _clock),
    Check("user_data", "health", "", "cloud-init", _user_data),
    Check("under_load", "load", "", "dcgmi; gpu_burn, PyTorch, nvbandwidth", _under_load, needs_gpus=True),
    Check("all_reduce", "burnin", "GB/s", "all_reduce_perf", _all_reduce, needs_gpus=True),
)
