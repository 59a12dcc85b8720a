# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a machine is what was paid for, and sound: one table of all checks, each with its rule. Pure."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, replace
from functools import partial

from .._text import letters_of, nodes_of, number_of
from .readings import ABSENT, Gpu, Outcome, Readings, is_divided
from .wanted import LEVELS, VERDICTS, Wanted, version_of

OK, UNKNOWN, DEGRADED, BAD = VERDICTS
Measured = t.Union[str, float, int, None]

HALF, MOST = 0.5, 0.8  # of what it should be: less than the first is bad; of a bandwidth, less than the second degraded
BUSY = 50.0  # percent of a GPU's time
BUSY_LINK = 1e6  # KB/s, of some 16 to 60 million that a link carries
_ON, _OFF = "Active", "Not Active"
_MOST_RETIRED = 60  # pages: NVIDIA replaces a GPU with more (Dynamic Page Retirement)


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

# What nvidia-smi's manual says of its exit codes, which are NVML's errors.
_NO_DRIVER = (9, 12, 18, 126, 127)  # not loaded, no library, a library of another version, no nvidia-smi
_SICK_GPU = (6, 8, 10, 15)  # no device, no power, its interrupts are lost, fallen off the bus
_BAD_INFOROM = 14


def worst(verdicts: t.Iterable[str]) -> str:
    """The worst verdict, `ok` for none."""
    return max(verdicts, key=VERDICTS.index, default=OK)


def of_ratio(measured: float, reference: float, least: float = 1.0) -> Finding:
    """The verdict by the share of its reference that is reached; one below ``least`` is degraded."""
    share = measured / reference
    verdict = BAD if share < HALF else DEGRADED if share < least else OK
    return Finding(verdict, measured, reference)


def mig(gpu: Gpu, readings: Readings, wanted: Wanted) -> Finding:
    """A fact: whether it is divided."""
    return Finding(OK if gpu.mig else UNKNOWN, f"{gpu.mig_parts} parts" if gpu.mig == "Enabled" else "not divided")


def _has_no_ecc(gpu: Gpu) -> bool:
    """Whether a GPU is of a line without memory errors to count: GeForce."""
    return "GeForce" in (gpu.model or "")


def ecc(gpu: Gpu, readings: Readings, wanted: Wanted) -> Finding:
    """Memory errors that could not be corrected. Workstation GPUs come with ECC off, and GeForce has none."""
    if gpu.uncorrected:
        return Finding(BAD, gpu.uncorrected, 0)
    if gpu.uncorrected_ever:
        crossed = gpu.sram_threshold == "Yes"
        return Finding(BAD if crossed else DEGRADED, f"{gpu.uncorrected_ever:g} in its life", 0)
    if gpu.ecc == "Enabled":
        is_read = gpu.uncorrected is not None and gpu.uncorrected_ever is not None
        return Finding(OK if is_read else UNKNOWN, gpu.uncorrected, 0)
    if _has_no_ecc(gpu) and gpu.ecc in ("Disabled", ABSENT):
        return Finding(OK, "it has no ECC")
    if gpu.ecc == "Disabled":
        return Finding(OK if "RTX" in (gpu.model or "") else DEGRADED, "ECC is off", "on")
    return Finding(UNKNOWN, gpu.ecc)


def remapped_rows(gpu: Gpu, readings: Readings, wanted: Wanted) -> Finding:
    """Memory that the GPU replaces by spare rows (since Ampere), or no longer uses (pages, before that)."""
    words = {gpu.remap_failure, gpu.remap_pending, gpu.retirement_pending}
    pages = [count for count in (gpu.retired_single, gpu.retired_double) if count is not None]
    if gpu.remap_failure == "Yes" or sum(pages) >= _MOST_RETIRED:
        return Finding(BAD, "it has no spare memory left" if pages else "a row could not be remapped")
    if "Yes" in words:
        return Finding(DEGRADED, "a repair of its memory waits for a reset")
    if gpu.remap_failure == gpu.remap_pending == "No" or (gpu.retirement_pending == "No" and len(pages) == 2):
        return Finding(OK, "no repair is pending or has failed")
    if _has_no_ecc(gpu) and words <= {ABSENT, None} and gpu.retirement_pending:
        return Finding(OK, "it has no spare memory")
    return Finding(UNKNOWN, gpu.remap_failure)


def throttle(gpu: Gpu, readings: Readings, wanted: Wanted) -> Finding:
    """Why its clocks are low. The hardware halves them at least; `hw_slowdown` alone may be a change of its state."""
    reasons = {
        "too hot (hardware)": (gpu.thermal_slowdown, BAD),
        "power brake": (gpu.power_brake, BAD),
        "too hot (software)": (gpu.software_thermal, DEGRADED),
        "hardware slowdown": (gpu.slowdown, DEGRADED),
    }
    active = {name: verdict for name, (word, verdict) in reasons.items() if word == _ON}
    if active:
        return Finding(worst(active.values()), ", ".join(active))
    is_read = all(word == _OFF for word, _verdict in reasons.values())
    return Finding(OK, "nothing slows it down") if is_read else Finding(UNKNOWN, gpu.slowdown)


def temperature(gpu: Gpu, readings: Readings, wanted: Wanted) -> Finding:
    """How far it is from the temperature at which its clocks fall."""
    margin = wanted.thresholds["temperature_margin"]
    if gpu.margin is not None and gpu.slow_margin is not None:
        left = gpu.margin - gpu.slow_margin
    elif gpu.temperature is not None and gpu.slow_temperature is not None:
        left = gpu.slow_temperature - gpu.temperature
    else:
        return Finding(UNKNOWN, gpu.temperature)
    measured = f"{left:g} below its limit"
    return Finding(BAD if left <= 0 else DEGRADED if left < margin else OK, measured, f"at least {margin:g}")


def power_limit(gpu: Gpu, readings: Readings, wanted: Wanted) -> Finding:
    """The limit that is set, against the GPU's default."""
    if gpu.power_limit is None or not gpu.default_power:
        return Finding(UNKNOWN, gpu.power_limit, gpu.default_power)
    return of_ratio(gpu.power_limit, gpu.default_power)


def is_busy(gpu: Gpu | None) -> bool:
    """Whether its link must be awake: it calculates, or the link carries data."""
    return gpu is not None and ((gpu.utilization or 0) >= BUSY or max(gpu.received or 0, gpu.sent or 0) >= BUSY_LINK)


def pcie(gpu: Gpu, readings: Readings, wanted: Wanted) -> Finding:
    """Its link against what both sides can do. A link that nothing uses sleeps, which is no fault."""
    has, can = (gpu.generation, gpu.width), (gpu.most_generation, gpu.most_width)
    if None in (*has, *can):
        return Finding(UNKNOWN, _link(*has), _link(*can))
    share = _speed(*has) / _speed(*can) if _speed(*can) else 1.0
    slow = BAD if share < HALF else DEGRADED
    verdict = OK if share >= 1 else slow if is_busy(gpu) else UNKNOWN
    return Finding(verdict, f"{_link(*has)}{' while idle' if verdict == UNKNOWN else ''}", _link(*can))


def _speed(generation: float | None, width: float | None) -> float:
    """What a link carries, without a unit: each generation doubles it."""
    return (width or 0) * 2.0 ** min(generation or 0, 99)


def _link(generation: float | None, width: float | None) -> str | None:
    return None if generation is None or width is None else f"generation {generation:g} x{width:g}"


# By "Xid Errors" (https://docs.nvidia.com/deploy/xid-errors/). What is not listed is unknown.
APPLICATION = {
    8: "stopped processing",
    13: "graphics engine exception",
    31: "memory page fault",
    32: "invalid push buffer",
    43: "stopped processing",
    45: "preemptive cleanup",
    68: "video processor exception",
    69: "graphics engine class error",
}
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


def _xid(readings: Readings, wanted: Wanted) -> Findings:
    """The errors of our GPUs in the kernel log; a container sees those of the host's others, too.

    The driver may have a GPU by its address (`Readings.addresses`) that no longer answers.
    """
    log, index = readings.log, {gpu.address: gpu.index for gpu in readings.gpus}
    if log is None:
        yield Finding(UNKNOWN, "the kernel log cannot be read")
        return
    is_certain = bool(index) and None not in index
    for place, code in dict.fromkeys(log.xids):
        is_ours = place in index or place in readings.addresses
        if is_ours or not is_certain:
            yield _xid_judged(code, index.get(place), is_ours=is_ours)
    is_read = log.is_complete and is_certain
    yield Finding(OK, "no other") if is_read else Finding(UNKNOWN, "the log is not complete")


def _xid_judged(code: int, index: int | None, *, is_ours: bool) -> Finding:
    """An error in the log; ``index``: of its GPU, if that is known. Whose it is must be certain."""
    words = HARDWARE.get(code) or APPLICATION.get(code)
    verdict = BAD if code in HARDWARE else OK if words else UNKNOWN
    return Finding(verdict if is_ours else UNKNOWN, f"Xid {code} ({words or 'unknown'})", None, index)


# How many NVLinks a GPU has, and of which generation, by a part of its model's name; others may do without a bridge.
NVLINKS = {
    "V100-SXM": (6, 2),
    "A100-SXM": (12, 3),
    "H100 80GB HBM3": (18, 4),
    "H100 SXM": (18, 4),
    "H200": (18, 4),
    "B200": (18, 5),
}
FABRIC_GENERATION = 4  # since then nvidia-smi says whether a GPU has joined its fabric
# Bus bandwidth in GB/s of all_reduce_perf by the generation of NVLink, as NVIDIA publishes it for its own machines with
# eight GPUs (nccl-tests, doc/PERFORMANCE.md); with fewer it is hardly less.
ALL_REDUCE = {2: 120.0, 3: 230.0, 4: 360.0, 5: 700.0}


def nvlinks_of_model(model: str | None) -> tuple[int, int] | None:
    """How many NVLinks, of which generation, a model must have; None if it need not have any."""
    if not model or "NVL" in model.split() or "PCIe" in model:
        return None
    return next((links for part, links in NVLINKS.items() if part in model), None)


def nvlink(gpu: Gpu, readings: Readings, wanted: Wanted) -> Finding:
    """How many of its NVLinks are up. A single GPU has nobody to talk to."""
    must = nvlinks_of_model(gpu.model)
    up = (readings.nvlinks or {}).get(gpu.index)
    if must is None or readings.is_alone:
        return Finding(OK if gpu.model else UNKNOWN, up)
    if up is None:
        return Finding(UNKNOWN, None, must[0])
    return of_ratio(up, must[0])


def fabric(gpu: Gpu, readings: Readings, wanted: Wanted) -> Finding:
    """Whether it has joined the fabric of its NVSwitches."""
    must = nvlinks_of_model(gpu.model)
    if must is None or readings.is_alone:
        return Finding(OK if gpu.model else UNKNOWN, "it needs none")
    if gpu.fabric not in (ABSENT, None):
        return _registered(gpu, readings.fabric_manager)
    if not readings.switches:
        return Finding(UNKNOWN if must[1] >= FABRIC_GENERATION else OK, "no NVSwitch")
    service = readings.fabric_manager or "unknown"
    verdicts = {"active": OK, "inactive": BAD, "failed": BAD}
    return Finding(verdicts.get(service, UNKNOWN), f"the fabric manager is {service}", "active")


def _registered(gpu: Gpu, service: str | None) -> Finding:
    """What nvidia-smi says itself. Without its manager a GPU stays in progress for ever."""
    words = f"{gpu.fabric}, {gpu.fabric_status}"
    if gpu.fabric == "Completed":
        verdict = OK if gpu.fabric_status == "Success" else BAD if gpu.fabric_status else UNKNOWN
        return Finding(verdict, words, "Completed, Success")
    waits = gpu.fabric == "In Progress" and service not in ("inactive", "failed")
    return Finding(UNKNOWN if waits else BAD, words, "Completed, Success")


_MONITOR, _CONFIGURATION = 1, 5  # DCGM's severities that end no job
_OF_STATUS = {"pass": OK, "skip": OK, "skipped": OK, "warn": DEGRADED, "fail": BAD}


def finding_of_dcgm(result: Outcome) -> Finding:
    """A test of DCGM. A failure whose severities are all harmless is degraded."""
    verdict = _OF_STATUS.get(result.status, UNKNOWN)
    if verdict == BAD and result.severities and {*result.severities} <= {_MONITOR, _CONFIGURATION}:
        verdict = DEGRADED
    return Finding(verdict, f"{result.name}: {result.words or result.status}", "pass", result.gpu)


# Whether it has what its offer says

# What a firmware, a kernel and a file system keep for themselves, and the difference between GB and GiB.
_TOLERANCE = 0.85


def _gpu_count(readings: Readings, wanted: Wanted) -> Findings:
    """The GPUs against the machine's share of its offer's, and whether nvidia-smi lists as many as it says.

    If nvidia-smi cannot be read, too few on the bus prove nothing.
    """
    share, count, smi = gpus_of_node(wanted.offer), len(readings.machine["gpus"]), readings.smi
    is_short = share is not None and count < share
    if smi and smi.attached != len(smi.gpus) and not is_short:
        yield Finding(UNKNOWN, len(smi.gpus), smi.attached)
    elif share is not None:
        is_certain = smi or not readings.programs or readings.smi_code in _NO_DRIVER
        yield Finding(OK if not is_short else BAD if is_certain else UNKNOWN, count, share)


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
    """Whether a model is of a family: its name has the family's as a word, or as two (RTX 4090)."""
    words = re.findall(r"[a-z0-9]+", model.lower())
    wanted = letters_of(family)
    return wanted in words or wanted in map("".join, zip(words, words[1:]))


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
    ranked = sorted(made, key=lambda finding: -VERDICTS.index(finding.verdict))
    return [
        ("" if finding.gpu is None else f"GPU {finding.gpu}: ") + finding.sentence() + f" ({finding.verdict})"
        for finding in ranked
        if finding.verdict in (DEGRADED, BAD)
    ]


def shortfalls(machine: t.Mapping[str, t.Any], offer: t.Mapping[str, t.Any]) -> list[str]:
    """Where a machine has less than its offer says, a sentence for each field. What is unknown is passed over."""
    made = findings(Readings(machine), Wanted("specs", offer))
    return list(dict.fromkeys(finding.sentence() for finding in made if finding.verdict == BAD))


def _of_gpus(rule: GpuRule, *, under_load: bool = False) -> Rule:
    """A rule for each GPU, also as it is ``under_load``, of which the worse counts. Without a GPU it is unknown."""

    def judged(readings: Readings, wanted: Wanted) -> Findings:
        loaded = {gpu.index: gpu for gpu in (readings.loaded.gpus if readings.loaded else ())}
        for gpu in readings.gpus:
            idle, busy = rule(gpu, readings, wanted), loaded.get(gpu.index)
            looks = [idle]
            if under_load and "loaded" in readings.programs:
                under = rule(busy, readings, wanted) if busy else Finding(UNKNOWN, "not read under load")
                # What sleeps while idle is judged under load.
                looks = [under] if idle.verdict == UNKNOWN and is_busy(busy) else [idle, under]
            yield replace(max(looks, key=lambda look: VERDICTS.index(look.verdict)), gpu=gpu.index)
        if not readings.gpus:
            yield Finding(UNKNOWN, "no GPU could be read")

    return judged


def _answers(readings: Readings, wanted: Wanted) -> Findings:
    for program in readings.hanging:
        yield Finding(BAD, f"{program} does not answer")
    if readings.programs and not readings.hanging:
        yield Finding(OK, f"{len(readings.programs)} programs answer")


def _driver(readings: Readings, wanted: Wanted) -> Findings:
    """A missing driver is bad, but for `specs`: a driver may be installed after the machine was bought."""
    code, smi, least = readings.smi_code, readings.smi, wanted.min_driver
    if wanted.level == "specs" and not readings.programs:
        return
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


def _disk_write(readings: Readings, wanted: Wanted) -> Findings:
    least, speed = wanted.thresholds["disk_write"], readings.write_speed
    verdict = BAD if readings.write_error else UNKNOWN if speed is None else DEGRADED if speed < least else OK
    yield Finding(verdict, readings.write_error or speed, least)


def _clock(readings: Readings, wanted: Wanted) -> Findings:
    """Nothing if the controller's time was not given."""
    most, ahead = wanted.thresholds["clock"], readings.clock
    if ahead is not None:
        yield Finding(DEGRADED if abs(ahead) > most else OK, ahead, f"at most {most:g}")


def _user_data(readings: Readings, wanted: Wanted) -> Findings:
    errors = readings.boot_errors
    if errors is None:
        yield Finding(UNKNOWN, "cloud-init has left no result")
    else:
        yield Finding(BAD if errors else OK, "; ".join(errors) or "no error")


_NO_LOAD, _NO_TOOL = "no load while MIG is on", "no tool that could be used"


def _under_load(readings: Readings, wanted: Wanted) -> Findings:
    if is_divided(readings.gpus):
        yield Finding(UNKNOWN, _NO_LOAD)
    else:
        yield from [*_diagnosed(readings), *_burnt(readings)] or [Finding(UNKNOWN, _NO_TOOL)]


def _diagnosed(readings: Readings) -> list[Finding]:
    """What DCGM says, by its JSON and its exit code; nothing if it is not installed."""
    diagnosis, code = readings.diagnosis, readings.diagnosis_code
    if diagnosis is None:
        return [] if code in (None, 126, 127) else [Finding(UNKNOWN, "dcgmi cannot be read")]
    judged = list(map(finding_of_dcgm, diagnosis.outcomes))
    if worse := [item for item in judged if item.verdict != OK]:
        return worse
    if code != 0 or all(result.status != "pass" for result in diagnosis.outcomes):
        return [Finding(UNKNOWN, f"dcgmi exits with {code}", "all pass")]
    return [Finding(OK, f"{len(judged)} results of dcgmi", "all pass")]


def _burnt(readings: Readings) -> Findings:
    """Which GPUs calculate right; those of which the load says nothing are unknown."""
    if readings.burnt is not None:
        for index in sorted({*readings.burnt, *(gpu.index for gpu in readings.gpus)}):
            verdict, words = _CALCULATES[readings.burnt.get(index)]
            yield Finding(verdict, words, None, index)


_CALCULATES = {True: (OK, "it calculates right"), False: (BAD, "it calculates wrong"), None: (UNKNOWN, None)}


def _all_reduce(readings: Readings, wanted: Wanted) -> Findings:
    """Against the reference of the slowest GPU's NVLink. Without NVLink no number is known to be right."""
    result, links = readings.all_reduce, [nvlinks_of_model(gpu.model) for gpu in readings.gpus]
    if readings.is_alone:
        return
    if is_divided(readings.gpus) or result is None:
        yield Finding(UNKNOWN, _NO_LOAD if is_divided(readings.gpus) else _NO_TOOL)
    elif result.is_right is False:
        yield Finding(BAD, "the sums are wrong")
    elif result.bandwidth is None or result.is_right is None or not links or not all(links):
        yield Finding(UNKNOWN, result.bandwidth)
    else:
        slowest = min(generation for _count, generation in filter(None, links))
        yield of_ratio(result.bandwidth, ALL_REDUCE[slowest], MOST)


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
    Check("remapped_rows", "health", "", "nvidia-smi", _of_gpus(remapped_rows), needs_gpus=True),
    Check("xid", "health", "", "kernel log", _xid, needs_gpus=True),
    Check("throttle", "health", "", "nvidia-smi", _of_gpus(throttle, under_load=True), needs_gpus=True),
    Check("temperature", "health", "", "nvidia-smi", _of_gpus(temperature, under_load=True), needs_gpus=True),
    Check("power_limit", "health", "W", "nvidia-smi", _of_gpus(power_limit), needs_gpus=True),
    Check("pcie", "health", "", "nvidia-smi", _of_gpus(pcie, under_load=True), needs_gpus=True),
    Check("nvlink", "health", "links", "nvidia-smi nvlink", _of_gpus(nvlink), needs_gpus=True),
    Check("fabric", "health", "", "nvidia-smi, systemctl", _of_gpus(fabric), needs_gpus=True),
    Check("disk_write", "health", "MB/s", "dd", _disk_write),
    Check("clock", "health", "seconds", "clock", _clock),
    Check("user_data", "health", "", "cloud-init", _user_data),
    Check("under_load", "load", "", "dcgmi; gpu_burn, PyTorch, nvbandwidth", _under_load, needs_gpus=True),
    Check("all_reduce", "burnin", "GB/s", "all_reduce_perf", _all_reduce, needs_gpus=True),
)
