# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a machine is what was paid for, and sound: one table of all checks, each with its rule. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace
from functools import partial

from . import gpu_rules, hardware
from .gpu_rules import BAD, DEGRADED, OK, UNKNOWN, Judgement, Measured, is_busy
from .readings import Gpu, Readings
from .wanted import LEVELS, VERDICTS, Wanted, version_of

# What nvidia-smi's manual says of its exit codes, which are NVML's errors.
_NO_DRIVER = (9, 12, 18, 126, 127)  # not loaded, no library, a library of another version, no nvidia-smi
_SICK_GPU = (6, 8, 10, 15)  # no device, no power, its interrupts are lost, fallen off the bus
_BAD_INFOROM = 14


@dataclass(frozen=True)
class Finding(Judgement):
    """The result of a check, for one GPU or for the machine."""

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


Judgements = t.Iterable[t.Optional[Judgement]]
Rule = t.Callable[[Readings, Wanted], Judgements]
GpuRule = t.Callable[[Gpu, Readings, Wanted], Judgement]


@dataclass(frozen=True)
class Check:
    """A row of docs/acceptance.md: a check, from which level on it is made, and when it is worse than `ok`."""

    name: str
    level: str
    unit: str
    source: str
    about: str
    degraded: str
    bad: str
    rule: Rule


def findings(readings: Readings, wanted: Wanted) -> list[Finding]:
    """All findings of a level, in the order of the table; none about GPUs if the offer has none."""
    left_out = _ABOUT_GPUS if hardware.gpus_of_node(wanted.offer) == 0 else ()
    made = [check for check in CHECKS if LEVELS.index(check.level) <= LEVELS.index(wanted.level)]
    checks = [check for check in made if check.name not in left_out]
    return [
        Finding(**vars(item), check=check.name, unit=check.unit, source=check.source)
        for check in checks
        for item in check.rule(readings, wanted)
        if item
    ]


def reasons(made: t.Iterable[Finding]) -> list[str]:
    """A sentence for each finding that is degraded or bad, the worst first, with its GPU."""
    worse = [finding for finding in made if finding.verdict in (DEGRADED, BAD)]
    ranked = sorted(worse, key=lambda finding: -VERDICTS.index(finding.verdict))
    return [
        ("" if finding.gpu is None else f"GPU {finding.gpu}: ") + finding.sentence() + f" ({finding.verdict})"
        for finding in ranked
    ]


def shortfalls(machine: t.Mapping[str, t.Any], offer: t.Mapping[str, t.Any]) -> list[str]:
    """Where a machine has less than its offer says, a sentence for each field. What is unknown is passed over."""
    made = findings(Readings(machine), Wanted("specs", offer))
    return list(dict.fromkeys(finding.sentence() for finding in made if finding.verdict == BAD))


def _offered(rule: t.Callable[[t.Any, t.Any], t.Any]) -> Rule:
    """A rule that compares the machine with its offer."""

    def judged(readings: Readings, wanted: Wanted) -> Judgements:
        judgements = rule(readings.machine, wanted.offer)
        return judgements if isinstance(judgements, list) else [judgements]

    return judged


def _of_gpus(rule: GpuRule, also_loaded: bool = False) -> Rule:
    """A rule for each GPU, also as it is under load. Without a GPU it is unknown."""

    def judged(readings: Readings, wanted: Wanted) -> Judgements:
        if not readings.gpus:
            return [Judgement(UNKNOWN, "no GPU could be read")]
        loaded = {gpu.index: gpu for gpu in (readings.loaded.gpus if readings.loaded else ())}
        judgements = []
        for gpu in readings.gpus:
            idle, busy = rule(gpu, readings, wanted), loaded.get(gpu.index)
            looks = [idle]
            if also_loaded and "loaded" in readings.programs:
                under = rule(busy, readings, wanted) if busy else Judgement(UNKNOWN, "not read under load")
                # What sleeps while idle is judged under load.
                looks = [under] if idle.verdict == UNKNOWN and is_busy(busy) else [idle, under]
            judgements.append(replace(max(looks, key=lambda look: VERDICTS.index(look.verdict)), gpu=gpu.index))
        return judgements

    return judged


def _gpu_count(readings: Readings, wanted: Wanted) -> Judgements:
    """Also whether nvidia-smi lists as many as it says. If it cannot be read, too few on the bus prove nothing."""
    listed, smi = hardware.gpu_count(readings.machine, wanted.offer), readings.smi
    if smi and smi.attached != len(smi.gpus) and (listed is None or listed.verdict == OK):
        return [Judgement(UNKNOWN, len(smi.gpus), smi.attached)]
    is_certain = smi or not readings.programs or readings.smi_code in _NO_DRIVER
    return [listed if is_certain or listed is None or listed.verdict == OK else replace(listed, verdict=UNKNOWN)]


def _answers(readings: Readings, wanted: Wanted) -> Judgements:
    if readings.hanging:
        return [Judgement(BAD, f"{program} does not answer") for program in readings.hanging]
    return [Judgement(OK, f"{len(readings.programs)} programs answer")] if readings.programs else []


def _driver(readings: Readings, wanted: Wanted) -> Judgements:
    """A missing driver is bad, but for `specs`: a driver may be installed after the machine was bought."""
    code, expected = readings.smi_code, f"at least {wanted.min_driver}" if wanted.min_driver else None
    if wanted.level == "specs" and not readings.programs:
        return []
    if code in _NO_DRIVER and not readings.smi:
        return [Judgement(UNKNOWN if wanted.level == "specs" and not expected else BAD, "there is none", expected)]
    if code in _SICK_GPU:
        return [Judgement(BAD, f"nvidia-smi exits with {code}")]
    if not readings.smi or code not in (0, _BAD_INFOROM):
        return [Judgement(UNKNOWN, "nvidia-smi cannot be read")]
    judged = _version_judged(readings.smi.driver, wanted.min_driver)
    return [judged, Judgement(DEGRADED, "the GPU's own settings (InfoROM) are damaged") if code else None]


def _cuda(readings: Readings, wanted: Wanted) -> Judgements:
    """Nothing without a demand."""
    return [_version_judged(readings.smi.cuda if readings.smi else None, wanted.min_cuda)] if wanted.min_cuda else []


def _version_judged(version: str | None, least: str) -> Judgement:
    number = version_of(version or "")
    verdict = UNKNOWN if not number else BAD if number < version_of(least) else OK
    return Judgement(verdict, version, f"at least {least}" if least else None)


def _xid(readings: Readings, wanted: Wanted) -> Judgements:
    return gpu_rules.xids(readings.log, readings.gpus, readings.addresses)


def _disk_write(readings: Readings, wanted: Wanted) -> Judgements:
    least = wanted.thresholds["disk_write"]
    if readings.write_error:
        return [Judgement(BAD, readings.write_error, least)]
    if readings.write_speed is None:
        return [Judgement(UNKNOWN, None, least)]
    return [Judgement(DEGRADED if readings.write_speed < least else OK, readings.write_speed, least)]


def _clock(readings: Readings, wanted: Wanted) -> Judgements:
    """Nothing if the controller's time was not given."""
    most, ahead = wanted.thresholds["clock"], readings.clock
    return [] if ahead is None else [Judgement(DEGRADED if abs(ahead) > most else OK, ahead, f"at most {most:g}")]


def _user_data(readings: Readings, wanted: Wanted) -> Judgements:
    if readings.boot_errors is None:
        return [Judgement(UNKNOWN, "cloud-init has left no result")]
    return [Judgement(BAD if readings.boot_errors else OK, "; ".join(readings.boot_errors) or "no error")]


def _under_load(readings: Readings, wanted: Wanted) -> Judgements:
    if readings.has_mig:
        return [Judgement(UNKNOWN, "no load while MIG is on")]
    judged = [*_diagnosed(readings), *_burnt(readings)]
    return judged or [Judgement(UNKNOWN, "no tool that could be used")]


def _diagnosed(readings: Readings) -> list[Judgement]:
    """What DCGM says, by its JSON and its exit code; nothing if it is not installed."""
    if readings.diagnosis is None:
        return [] if readings.diagnosis_code in (None, 126, 127) else [Judgement(UNKNOWN, "dcgmi cannot be read")]
    judged = list(map(gpu_rules.outcome, readings.diagnosis.outcomes))
    worse = [item for item in judged if item.verdict != OK]
    has_passed = any(result.status == "pass" for result in readings.diagnosis.outcomes)
    if not worse and (readings.diagnosis_code != 0 or not has_passed):
        return [Judgement(UNKNOWN, f"dcgmi exits with {readings.diagnosis_code}", "all pass")]
    return worse or [Judgement(OK, f"{len(judged)} results of dcgmi", "all pass")]


def _burnt(readings: Readings) -> list[Judgement]:
    """Which GPUs calculate right; those of which the load says nothing are unknown."""
    if readings.burnt is None:
        return []
    verdicts = {True: OK, False: BAD, None: UNKNOWN}
    words = {OK: "it calculates right", BAD: "it calculates wrong", UNKNOWN: None}
    indexes = sorted({*readings.burnt, *(gpu.index for gpu in readings.gpus)})
    judged = ((verdicts[readings.burnt.get(index)], index) for index in indexes)
    return [Judgement(verdict, words[verdict], None, index) for verdict, index in judged]


def _all_reduce(readings: Readings, wanted: Wanted) -> Judgements:
    """Against the reference of the slowest GPU's NVLink. Without NVLink no number is known to be right."""
    result = readings.all_reduce
    if readings.is_alone:
        return []
    if readings.has_mig or result is None:
        return [Judgement(UNKNOWN, "no load while MIG is on" if readings.has_mig else "no tool that could be used")]
    if result.is_right is False:
        return [Judgement(BAD, "the sums are wrong")]
    links = [gpu_rules.nvlinks_of_model(gpu.model) for gpu in readings.gpus]
    generations = [generation for _count, generation in filter(None, links)]
    if result.bandwidth is None or result.is_right is None or not generations or len(generations) < len(links):
        return [Judgement(UNKNOWN, result.bandwidth)]
    return [gpu_rules.of_ratio(result.bandwidth, gpu_rules.ALL_REDUCE[min(generations)], gpu_rules.MOST)]


# Rows of docs/acceptance.md: name, the first level that makes the check, unit, source, what it is about, when it is
# degraded, and when it is bad.
_TABLE = """
answers | specs | | all programs | every program ends in time | | one does not answer
gpu_count | specs | | nvidia-smi | number of GPUs | | fewer than the offer says
gpu_type | specs | | nvidia-smi | model of each GPU | | another family than the offer says
gpu_memory | specs | GB | nvidia-smi | memory of each GPU | | under 85 % of the offer's
vcpu_count | specs | | the kernel | CPUs | | fewer than the offer says
memory_in_gb | specs | GB | the kernel | memory | | under 85 % of the offer's
boot_disk_in_gb | specs | GB | the kernel | root file system | | under 85 % of the offer's
driver | specs | | nvidia-smi | driver, and whether it reaches each GPU | InfoROM damaged (exit code 14) \
  | older than `min_driver`; a GPU is lost (6, 8, 10, 15); none (9, 12, 18), at `specs` only with `min_driver`
cuda | specs | | nvidia-smi | CUDA that the driver supports | | older than `min_cuda`
mig | health | | nvidia-smi | whether a GPU is divided, into how many parts | |
ecc | health | errors | nvidia-smi | memory errors that could not be corrected \
  | some in its life; ECC off on a GPU of a data center | some since the driver was loaded; too many in its life
remapped_rows | health | | nvidia-smi | repairs of a GPU's memory | one waits for a reset | one failed; 60 retired pages
xid | health | | kernel log | errors of our GPUs since the boot | | of the hardware (of an application: `ok`)
throttle | health | | nvidia-smi | what slows a GPU down | heat, by the driver; hardware slowdown \
  | heat, by the hardware; power brake
temperature | health | | nvidia-smi | degrees to the temperature at which a GPU slows down | under 5 | 0
power_limit | health | W | nvidia-smi | power limit against its default | lower | under half
pcie | health | | nvidia-smi | link against what both sides can do (a slow idle link: `unknown`) \
  | slower, under load | under half, under load
nvlink | health | links | nvidia-smi nvlink | NVLinks up, of as many as the model has | some down | over half down
fabric | health | | nvidia-smi, systemctl | whether GPUs with NVSwitch have joined their fabric | \
  | failed; the fabric manager does not run
disk_write | health | MB/s | dd | writing 64 MiB to /var/tmp | under 50 | it fails
clock | health | seconds | clock | difference to the controller's clock | over 60 |
user_data | health | | cloud-init | the result of the first boot | | it has errors
under_load | load | | dcgmi; gpu_burn, PyTorch, nvbandwidth | GPUs under load \
  | a warning; a failure of severity "monitor" or "configuration" | any other failure; wrong results
all_reduce | burnin | GB/s | all_reduce_perf | bandwidth between GPUs, by their NVLinks \
  | under 80 % | under half; wrong sums
"""
_OF_EACH_GPU = ("mig", "ecc", "remapped_rows", "throttle", "temperature", "power_limit", "pcie", "nvlink", "fabric")
_UNDER_LOAD_TOO = ("throttle", "temperature", "pcie")
_ABOUT_GPUS = frozenset({"driver", "xid", "under_load", "all_reduce", *_OF_EACH_GPU})
_RULES: dict[str, Rule] = {
    **{name: _offered(getattr(hardware, name)) for name in ("gpu_type", "gpu_memory")},
    **{name: _offered(partial(hardware.size, name)) for name in ("vcpu_count", "memory_in_gb", "boot_disk_in_gb")},
    **{name: _of_gpus(getattr(gpu_rules, name), name in _UNDER_LOAD_TOO) for name in _OF_EACH_GPU},
    **{"answers": _answers, "gpu_count": _gpu_count, "driver": _driver, "cuda": _cuda, "xid": _xid, "clock": _clock},
    **{"disk_write": _disk_write, "user_data": _user_data, "under_load": _under_load, "all_reduce": _all_reduce},
}


def _check(row: str) -> Check:
    name, level, unit, source, about, degraded, bad = map(str.strip, row.split("|"))
    return Check(name, level, unit, source, about, degraded, bad, _RULES[name])


CHECKS = tuple(map(_check, _TABLE.strip().splitlines()))
