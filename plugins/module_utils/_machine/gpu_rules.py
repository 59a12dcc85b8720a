# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a reading of one GPU means: pure rules. The table in `verdicts.py` says in words what each of them decides.

A rule answers `ok` only if it could read all that it needs, so a reading that disappears never improves a verdict.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .readings import ABSENT, Gpu, KernelLog, Outcome, Readings
from .wanted import VERDICTS, Wanted

OK, UNKNOWN, DEGRADED, BAD = VERDICTS
Measured = t.Union[str, float, int, None]

HALF, MOST = 0.5, 0.8  # of what it should be: less than the first is bad; of a bandwidth, less than the second degraded
BUSY = 50.0  # percent of a GPU's time
BUSY_LINK = 1e6  # KB/s, of some 16 to 60 million that a link carries
_ON, _OFF = "Active", "Not Active"
_MOST_RETIRED = 60  # pages: NVIDIA replaces a GPU with more (Dynamic Page Retirement)


@dataclass(frozen=True)
class Judgement:
    """A verdict, with what was measured and what it should have been."""

    verdict: str
    measured: Measured = None
    expected: Measured = None
    gpu: int | None = None


def worst(verdicts: t.Iterable[str]) -> str:
    """The worst verdict, `ok` for none."""
    return max(verdicts, key=VERDICTS.index, default=OK)


def of_ratio(measured: float, reference: float, least: float = 1.0) -> Judgement:
    """The verdict by the share of its reference that is reached; one below ``least`` is degraded."""
    share = measured / reference
    verdict = BAD if share < HALF else DEGRADED if share < least else OK
    return Judgement(verdict, measured, reference)


def mig(gpu: Gpu, readings: Readings, wanted: Wanted) -> Judgement:
    """A fact: whether it is divided."""
    return Judgement(OK if gpu.mig else UNKNOWN, f"{gpu.mig_parts} parts" if gpu.mig == "Enabled" else "not divided")


def _has_no_ecc(gpu: Gpu) -> bool:
    """Whether a GPU is of a line without memory errors to count: GeForce."""
    return "GeForce" in (gpu.model or "")


def ecc(gpu: Gpu, readings: Readings, wanted: Wanted) -> Judgement:
    """Memory errors that could not be corrected. Workstation GPUs come with ECC off, and GeForce has none."""
    if gpu.uncorrected:
        return Judgement(BAD, gpu.uncorrected, 0)
    if gpu.uncorrected_ever:
        crossed = gpu.sram_threshold == "Yes"
        return Judgement(BAD if crossed else DEGRADED, f"{gpu.uncorrected_ever:g} in its life", 0)
    if gpu.ecc == "Enabled":
        is_read = gpu.uncorrected is not None and gpu.uncorrected_ever is not None
        return Judgement(OK if is_read else UNKNOWN, gpu.uncorrected, 0)
    if _has_no_ecc(gpu) and gpu.ecc in ("Disabled", ABSENT):
        return Judgement(OK, "it has no ECC")
    if gpu.ecc == "Disabled":
        return Judgement(OK if "RTX" in (gpu.model or "") else DEGRADED, "ECC is off", "on")
    return Judgement(UNKNOWN, gpu.ecc)


def remapped_rows(gpu: Gpu, readings: Readings, wanted: Wanted) -> Judgement:
    """Memory that the GPU replaces by spare rows (since Ampere), or no longer uses (pages, before that)."""
    words = {gpu.remap_failure, gpu.remap_pending, gpu.retirement_pending}
    pages = [count for count in (gpu.retired_single, gpu.retired_double) if count is not None]
    if gpu.remap_failure == "Yes" or sum(pages) >= _MOST_RETIRED:
        return Judgement(BAD, "it has no spare memory left" if pages else "a row could not be remapped")
    if "Yes" in words:
        return Judgement(DEGRADED, "a repair of its memory waits for a reset")
    if gpu.remap_failure == gpu.remap_pending == "No" or (gpu.retirement_pending == "No" and len(pages) == 2):
        return Judgement(OK, "no repair is pending or has failed")
    if _has_no_ecc(gpu) and words <= {ABSENT, None} and gpu.retirement_pending:
        return Judgement(OK, "it has no spare memory")
    return Judgement(UNKNOWN, gpu.remap_failure)


def throttle(gpu: Gpu, readings: Readings, wanted: Wanted) -> Judgement:
    """Why its clocks are low. The hardware halves them at least; `hw_slowdown` alone may be a change of its state."""
    reasons = {
        "too hot (hardware)": (gpu.thermal_slowdown, BAD),
        "power brake": (gpu.power_brake, BAD),
        "too hot (software)": (gpu.software_thermal, DEGRADED),
        "hardware slowdown": (gpu.slowdown, DEGRADED),
    }
    active = {name: verdict for name, (word, verdict) in reasons.items() if word == _ON}
    if active:
        return Judgement(worst(active.values()), ", ".join(active))
    is_read = all(word == _OFF for word, _verdict in reasons.values())
    return Judgement(OK, "nothing slows it down") if is_read else Judgement(UNKNOWN, gpu.slowdown)


def temperature(gpu: Gpu, readings: Readings, wanted: Wanted) -> Judgement:
    """How far it is from the temperature at which its clocks fall."""
    margin = wanted.thresholds["temperature_margin"]
    if gpu.margin is not None and gpu.slow_margin is not None:
        left = gpu.margin - gpu.slow_margin
    elif gpu.temperature is not None and gpu.slow_temperature is not None:
        left = gpu.slow_temperature - gpu.temperature
    else:
        return Judgement(UNKNOWN, gpu.temperature)
    measured = f"{left:g} below its limit"
    return Judgement(BAD if left <= 0 else DEGRADED if left < margin else OK, measured, f"at least {margin:g}")


def power_limit(gpu: Gpu, readings: Readings, wanted: Wanted) -> Judgement:
    """The limit that is set, against the GPU's default."""
    if gpu.power_limit is None or not gpu.default_power:
        return Judgement(UNKNOWN, gpu.power_limit, gpu.default_power)
    return of_ratio(gpu.power_limit, gpu.default_power)


def is_busy(gpu: Gpu | None) -> bool:
    """Whether its link must be awake: it calculates, or the link carries data."""
    return gpu is not None and ((gpu.utilization or 0) >= BUSY or max(gpu.received or 0, gpu.sent or 0) >= BUSY_LINK)


def pcie(gpu: Gpu, readings: Readings, wanted: Wanted) -> Judgement:
    """Its link against what both sides can do. A link that nothing uses sleeps, which is no fault."""
    has, can = (gpu.generation, gpu.width), (gpu.most_generation, gpu.most_width)
    if None in (*has, *can):
        return Judgement(UNKNOWN, _link(*has), _link(*can))
    share = _speed(*has) / _speed(*can) if _speed(*can) else 1.0
    slow = BAD if share < HALF else DEGRADED
    verdict = OK if share >= 1 else slow if is_busy(gpu) else UNKNOWN
    return Judgement(verdict, f"{_link(*has)}{' while idle' if verdict == UNKNOWN else ''}", _link(*can))


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


def xids(log: KernelLog | None, gpus: t.Sequence[Gpu], addresses: t.Collection[str]) -> list[Judgement]:
    """The errors of our GPUs in the kernel log; a container sees those of the host's others, too.

    ``addresses``: of GPUs that the driver has, also if one of them no longer answers.
    """
    if log is None:
        return [Judgement(UNKNOWN, "the kernel log cannot be read")]
    index = {gpu.address: gpu.index for gpu in gpus}
    is_certain = bool(gpus) and None not in index
    judged = []
    for place, code in dict.fromkeys(log.xids):
        if place in index or place in addresses:
            judged.append(replace(_xid(code), gpu=index.get(place)))
        elif not is_certain:
            judged.append(replace(_xid(code), verdict=UNKNOWN))
    is_read = log.is_complete and is_certain
    return [*judged, Judgement(OK, "no other") if is_read else Judgement(UNKNOWN, "the log is not complete")]


def _xid(code: int) -> Judgement:
    words = HARDWARE.get(code) or APPLICATION.get(code)
    verdict = BAD if code in HARDWARE else OK if words else UNKNOWN
    return Judgement(verdict, f"Xid {code} ({words or 'unknown'})")


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


def nvlink(gpu: Gpu, readings: Readings, wanted: Wanted) -> Judgement:
    """How many of its NVLinks are up. A single GPU has nobody to talk to."""
    must = nvlinks_of_model(gpu.model)
    up = (readings.nvlinks or {}).get(gpu.index)
    if must is None or readings.is_alone:
        return Judgement(OK if gpu.model else UNKNOWN, up)
    if up is None:
        return Judgement(UNKNOWN, None, must[0])
    return of_ratio(up, must[0])


def fabric(gpu: Gpu, readings: Readings, wanted: Wanted) -> Judgement:
    """Whether it has joined the fabric of its NVSwitches."""
    must = nvlinks_of_model(gpu.model)
    if must is None or readings.is_alone:
        return Judgement(OK if gpu.model else UNKNOWN, "it needs none")
    if gpu.fabric not in (ABSENT, None):
        return _registered(gpu, readings.fabric_manager)
    if not readings.switches:
        return Judgement(UNKNOWN if must[1] >= FABRIC_GENERATION else OK, "no NVSwitch")
    service = readings.fabric_manager or "unknown"
    verdicts = {"active": OK, "inactive": BAD, "failed": BAD}
    return Judgement(verdicts.get(service, UNKNOWN), f"the fabric manager is {service}", "active")


def _registered(gpu: Gpu, service: str | None) -> Judgement:
    """What nvidia-smi says itself. Without its manager a GPU stays in progress for ever."""
    words = f"{gpu.fabric}, {gpu.fabric_status}"
    if gpu.fabric == "Completed":
        verdict = OK if gpu.fabric_status == "Success" else BAD if gpu.fabric_status else UNKNOWN
        return Judgement(verdict, words, "Completed, Success")
    waits = gpu.fabric == "In Progress" and service not in ("inactive", "failed")
    return Judgement(UNKNOWN if waits else BAD, words, "Completed, Success")


_MONITOR, _CONFIGURATION = 1, 5  # DCGM's severities that end no job
_OF_STATUS = {"pass": OK, "skip": OK, "skipped": OK, "warn": DEGRADED, "fail": BAD}


def outcome(result: Outcome) -> Judgement:
    """A test of DCGM. A failure whose severities are all harmless is degraded."""
    verdict = _OF_STATUS.get(result.status, UNKNOWN)
    if verdict == BAD and result.severities and {*result.severities} <= {_MONITOR, _CONFIGURATION}:
        verdict = DEGRADED
    return Judgement(verdict, f"{result.name}: {result.words or result.status}", "pass", result.gpu)
