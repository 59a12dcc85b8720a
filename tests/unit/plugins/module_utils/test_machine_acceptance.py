# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The acceptance test of machines: every record gets its verdict, and no missing reading improves a verdict."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._machine import acceptance, readings, verdicts
from ansible_collections.compute_index.supply.plugins.module_utils._machine.readings import CommandResult, Gpu, Readings
from ansible_collections.compute_index.supply.plugins.module_utils._machine.verdicts import CHECKS, Finding
from ansible_collections.compute_index.supply.plugins.module_utils._machine.wanted import (
    LEVELS,
    THRESHOLDS,
    Wanted,
    version_of,
)
from ansible_collections.compute_index.supply.plugins.modules import gpu_acceptance
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gpu_records import H100, LINK, RECORDS, RTX_4090, RTX_A6000, RUBBISH, Card, Machine, says

ROOT = Path(__file__).parents[4]
UNREADABLE = ["", "N/A", "[N/A]", "[Unknown Error]", "[GPU requires reset]", "???", "None"]
Answers = dict[str, CommandResult]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The root folder of a machine that has finished its first boot."""
    folder = tmp_path_factory.mktemp("machine")
    for name, text in {
        "run/cloud-init/result.json": '{"v1": {"datasource": "DataSourceNone", "errors": []}}',
        "proc/meminfo": "MemTotal: 2112000000 kB\n",
    }.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(text)
    return str(folder)


def findings_of(answers: Answers, root: str, machine: Machine, level: str) -> list[Finding]:
    wanted = Wanted(level, machine.offer, min_driver="535", min_cuda="12")
    return verdicts.findings(Readings(answers, root, 0.5), wanted)


def worst_verdict(found: list[Finding]) -> str:
    return verdicts.worst(finding.verdict for finding in found)


def verdict(answers: Answers, root: str, machine: Machine, level: str) -> str:
    return worst_verdict(findings_of(answers, root, machine, level))


def failed_checks(found: list[Finding]) -> set[str]:
    return {finding.check for finding in found if finding.verdict != "ok"}


@pytest.mark.parametrize("name", RECORDS)
def test_each_record_has_its_verdict(name: str, root: str) -> None:
    machine, health, burnin, _checks = RECORDS[name]
    for level, expected in (("health", health), ("load", None), ("burnin", burnin)):
        found = findings_of(machine.answers(level), root, machine, level)
        assert expected in (None, worst_verdict(found)), [finding for finding in found if finding.verdict != "ok"]


@pytest.mark.parametrize("name", RECORDS)
def test_fault_fails_only_its_own_check(name: str, root: str) -> None:
    """Without GPUs, all checks of GPUs are unknown as well."""
    machine, _health, _burnin, checks = RECORDS[name]
    found = findings_of(machine.answers("burnin"), root, machine, "burnin")
    bad = {finding.check for finding in found if finding.verdict in ("bad", "degraded")}
    assert bad <= checks <= failed_checks(found)
    if all(finding.gpu is not None or finding.check != "ecc" for finding in found):
        assert failed_checks(found) == checks


@pytest.mark.parametrize(
    ("card", "path", "word", "expected"),
    [
        (RTX_4090, "ecc_mode/current_ecc", "[Unknown Error]", {"ecc": "unknown", "remapped_rows": "unknown"}),
        (RTX_4090, "retired_pages/pending_retirement", "[Unknown Error]", {"remapped_rows": "unknown"}),
        (RTX_A6000, "ecc_mode/current_ecc", "[Unknown Error]", {"ecc": "unknown"}),
        (RTX_A6000, "ecc_errors/volatile/dram_uncorrectable", "2", {"ecc": "bad"}),
    ],
)
def test_gpu_without_ecc_is_ok_only_if_it_says_so(
    root: str, card: Card, path: str, word: str, expected: Mapping[str, str]
) -> None:
    machine = Machine(card, 1, 1, faults={0: {path: word}})
    found = findings_of(machine.answers("health"), root, machine, "health")
    assert {item.check: item.verdict for item in found if item.check in expected} == expected


# Missing or worse readings never improve a verdict


def paths_of(machine: Machine) -> list[str]:
    return list(machine.card.elements(0))


def with_element(text: str, gpu: int, path: str, word: str | None) -> str:
    """nvidia-smi's output with this word in an element of a GPU. Without a word, the element is removed."""
    parts = re.split(r"(?=<gpu id=)", text)
    if gpu + 1 >= len(parts):
        return text
    name = path.rpartition("/")[2]
    parents = path.split("/")[:-1]
    start = 0
    for parent in parents:
        start = parts[gpu + 1].find(f"<{parent}>", start)
    if start < 0:
        return text
    element = re.compile(rf"<{name}>[^<]*</{name}>")
    new = "" if word is None else f"<{name}>{word}</{name}>"
    before, after = parts[gpu + 1][:start], parts[gpu + 1][start:]
    parts[gpu + 1] = before + element.sub(lambda _match: new, after, count=1)
    return "".join(parts)


def with_output(answers: Answers, name: str, text: str) -> Answers:
    return {**answers, name: replace(answers[name], output=text)}


def elements_read_by_rules() -> set[str]:
    """The elements of a GPU in nvidia-smi's output that the rules read."""
    paths, text = set[str](), Gpu.text

    def noting_text(gpu: Gpu, path: str) -> str:
        paths.add(path)
        return text(gpu, path)

    with mock.patch.object(Gpu, "text", noting_text):
        for machine, *_expected in RECORDS.values():
            findings_of(machine.answers("burnin"), "/nowhere", machine, "burnin")
    return paths


READ = elements_read_by_rules()


FAULTY = [name for name, (_machine, _health, burnin, _checks) in RECORDS.items() if burnin != "ok"]


@pytest.mark.parametrize("word", [None, "N/A"])
@pytest.mark.parametrize("name", [name for name in FAULTY if RECORDS[name][0].faults or RECORDS[name][0].under_load])
def test_missing_elements_never_hide_a_fault(name: str, word: str | None, root: str) -> None:
    """Removes or blanks each element that the rules read, alone and together with its neighbours."""
    machine, *_expected = RECORDS[name]
    gpu = min({*machine.faults, *machine.under_load})
    answers = machine.answers("burnin")
    paths_read = sorted(READ & machine.card.elements(0).keys())
    branches = [
        [path for path in paths_read if path.startswith(f"{top}/")]
        for top in {path.split("/")[0] for path in paths_read}
    ]
    for paths in [*([path] for path in paths_read), *branches]:
        mutated = answers
        for source in {"nvidia-smi", "loaded"} & answers.keys():
            text = answers[source].output
            for path in paths:
                text = with_element(text, gpu, path, word)
            mutated = with_output(mutated, source, text)
        assert verdict(mutated, root, machine, "burnin") != "ok", paths


OPTIONAL = {"pci/rx_util", "pci/tx_util"}


@pytest.mark.parametrize("path", sorted(READ & H100.elements(0).keys() - OPTIONAL))
def test_unreadable_element_of_healthy_machine_is_unknown(path: str, root: str) -> None:
    machine = Machine()
    answers = machine.answers("health")
    found = {
        verdict(
            with_output(answers, "nvidia-smi", with_element(answers["nvidia-smi"].output, 3, path, word)),
            root,
            machine,
            "health",
        )
        for word in (None, "[Unknown Error]")
    }
    # Elements of older GPUs, and readings that matter only if another value is suspicious
    is_optional = path.startswith("retired_pages/") or path in ("temperature/gpu_temp", "utilization/gpu_util")
    assert found == {"ok" if is_optional else "unknown"}


def test_elements_read_by_no_check_do_not_matter(root: str) -> None:
    """All elements at once, since each could only make the verdict worse."""
    kept = ("ecc_errors", "pci/pci_bus_id", "mig_devices")
    unread = [path for path in H100.elements(0).keys() - READ if not path.startswith(kept)]
    answers = Machine().answers("burnin")
    text = answers["nvidia-smi"].output
    for path in unread:
        before, text = text, with_element(text, 3, path, "???")
        assert text != before, path
    assert verdict(with_output(answers, "nvidia-smi", text), root, Machine(), "burnin") == "ok"


class Mutation:
    """Removes or worsens a reading in a machine's answers."""

    def __init__(self, kind: str, tool: str, number: int, path: str, word: str | None) -> None:
        self.kind, self.tool, self.number, self.path, self.word = kind, tool, number, path, word

    def __repr__(self) -> str:
        return f"Mutation{(self.kind, self.tool, self.number, self.path, self.word)}"

    def __call__(self, answers: Answers) -> Answers:
        if self.tool not in answers:
            return answers
        answer = answers[self.tool]
        if self.kind in ("element", "branch"):
            output, top = answer.output, f"{self.path.partition('/')[0]}/"
            for path in H100.elements(0) if self.kind == "branch" else [self.path]:
                if path == self.path or path.startswith(top):
                    output = with_element(output, self.number % 8, path, self.word)
            return {**answers, self.tool: replace(answer, output=output)}
        if self.kind == "gone" and self.tool not in ("dcgmi", "load"):  # these may be not installed
            return {name: item for name, item in answers.items() if name != self.tool}
        if self.kind == "truncate" and self.tool != "journalctl":  # a log may end anywhere
            return {
                **answers,
                self.tool: replace(answer, output=answer.output[: self.number * len(answer.output) // 1000]),
            }
        if self.kind == "gpu":
            parts = re.split(r"(?=<gpu id=)", answer.output)
            return {**answers, self.tool: replace(answer, output="".join(parts[:1] + parts[2:-1] + parts[-1:]))}
        if self.kind == "code":
            return {**answers, self.tool: replace(answer, code=answer.code or 1 + self.number % 255)}
        mutated = {"hang": replace(answer, code=None, output=""), "rubbish": replace(answer, output=RUBBISH)}
        return {**answers, self.tool: mutated.get(self.kind, answer)}


TOOLS = ["nvidia-smi", "loaded", "nvlink", "journalctl", "fabric_manager", "dcgmi", "load", "all_reduce"]
mutations = st.builds(
    Mutation,
    st.sampled_from(["element", "element", "element", "branch", "truncate", "code", "hang", "rubbish", "gpu", "gone"]),
    st.sampled_from([*TOOLS, "nvidia-smi", "loaded"]),
    st.integers(0, 999),
    st.sampled_from(sorted(H100.elements(0))),
    st.sampled_from([None, *UNREADABLE]),
)
quickly = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quickly
@given(name=st.sampled_from(FAULTY), several=st.lists(mutations, min_size=1, max_size=3))
def test_lost_or_worse_answers_never_hide_a_fault(name: str, several: list[Mutation], root: str) -> None:
    machine, _health, _burnin, _checks = RECORDS[name]
    answers = machine.answers("burnin")
    for mutation in several:
        answers = mutation(answers)
    assert verdict(answers, root, machine, "burnin") != "ok"


WORSE: Mapping[str, st.SearchStrategy[str]] = {
    "ecc_errors/volatile/dram_uncorrectable": st.integers(1, 10**9).map(str),
    "ecc_errors/aggregate/sram_uncorrectable_parity": st.integers(1, 10**9).map(str),
    "remapped_rows/remapped_row_failure": st.just("Yes"),
    "remapped_rows/remapped_row_pending": st.just("Yes"),
    "clocks_event_reasons/clocks_event_reason_hw_thermal_slowdown": st.just("Active"),
    "clocks_event_reasons/clocks_event_reason_hw_power_brake_slowdown": st.just("Active"),
    "clocks_event_reasons/clocks_event_reason_sw_thermal_slowdown": st.just("Active"),
    "temperature/gpu_temp_tlimit": st.integers(-100, 2).map("{} C".format),
    "gpu_power_readings/current_power_limit": st.integers(0, 699).map("{}.00 W".format),
    "pci/pci_gpu_link_info/pcie_gen/current_link_gen": st.integers(1, 4).map(str),
    LINK: st.integers(1, 15).map("{}x".format),
    "fabric/status": st.just("Insufficient Resources"),
    "fb_memory_usage/total": st.integers(0, 60_000).map("{} MiB".format),
    "product_name": st.just("NVIDIA A10"),
}


SAMPLED = ("clocks", "temperature", "pci")
"""The beginnings of elements that are also read under load, where the value may be good again."""


@quickly
@given(path=st.sampled_from(sorted(WORSE)), gpu=st.integers(0, 7), data=st.data())
def test_worse_reading_is_never_ok(path: str, gpu: int, data: st.DataObject, root: str) -> None:
    answers = Machine().answers("burnin")
    source = "loaded" if path.startswith(SAMPLED) else "nvidia-smi"
    text = with_element(answers[source].output, gpu, path, data.draw(WORSE[path]))
    assert verdict(with_output(answers, source, text), root, Machine(), "burnin") != "ok"


# Readers


@given(st.text() | st.binary().map(lambda data: data.decode(errors="replace")) | st.just(RUBBISH))
@example("<nvidia_smi_log></nvidia_smi_log>")
@example('{"DCGM Diagnostic": {"test_categories": [{"tests": [{"name": 1, "results": 7}]}]}}')
@example('{"DCGM Diagnostic": {"test_categories": {"a": 1}}}')
@example(
    '{"DCGM Diagnostic": {"test_categories": [{"tests": [{"name": "a", "results": [{"status": 1, "warnings": 3}]}]}]}}'
)
@example("{" * 100_000)
@example('{"v1": {"errors": 7}}')
def test_readers_accept_any_text(text: str) -> None:
    names = ("nvidia-smi", "loaded", "journalctl", "nvlink", "dcgmi", "load", "all_reduce", "fabric_manager")
    for output in (text, f"<nvidia_smi_log>{text}</nvidia_smi_log>"):
        answers = {name: CommandResult((name,), 0, output) for name in names}
        verdicts.findings(Readings(answers, "/nowhere", None), Wanted("burnin", Machine().offer))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("00000000:1B:00.0", "0000:1b:00"),
        ("PCI:0000:1b:00", "0000:1b:00"),
        ("0000:1b:00.0", "0000:1b:00"),
        ("00000001:00:00.0", "0001:00:00"),
        ("1b:00.0", None),
        ("", None),
    ],
)
def test_pci_address(text: str, address: str | None) -> None:
    assert readings.pci_address(text) == address


DCGM_3 = {
    "DCGM GPU Diagnostic": {
        "test_categories": [
            {
                "category": "Deployment",
                "tests": [
                    {"name": "Persistence Mode", "results": [{"gpu_ids": "0", "status": "Pass"}]},
                    {"name": "Denylist", "results": [{"gpu_ids": "1", "status": "Fail", "warnings": "it is denied"}]},
                ],
            }
        ],
        "version": "3.3.6",
    }
}


def diagnosis_of(text: str) -> list[Finding]:
    return verdicts.diagnosis_of(Readings({"dcgmi": CommandResult(("dcgmi",), 0, text)}))


def test_diagnoses_of_dcgm_3_and_4_are_read() -> None:
    old = diagnosis_of(f"Successfully ran diagnostic for group.\n{json.dumps(DCGM_3)}")
    assert [(item.gpu, item.verdict) for item in old] == [(0, "ok"), (1, "bad")]
    assert old[1] == Finding("bad", "Denylist: it is denied", "pass", 1)
    assert [item.gpu for item in diagnosis_of(Machine().dcgmi())] == [*range(8)]


@pytest.mark.parametrize(
    ("severities", "expected"),
    [
        ([5], "degraded"),
        ([1], "degraded"),
        ([1, 5], "degraded"),
        ([2], "bad"),
        ([5, 6], "bad"),
        ([3], "bad"),
        ([], "bad"),
    ],
)
def test_severities_decide_between_degraded_and_bad(severities: list[int], expected: str) -> None:
    warnings = [{"error_severity": severity, "warning": "x"} for severity in severities]
    assert verdicts.finding_of_dcgm("software", {"status": "Fail", "warnings": warnings}).verdict == expected


SXM = {"A100": "NVIDIA A100-SXM4-80GB", "H100": "NVIDIA H100 80GB HBM3", "NVL": "NVIDIA H100 NVL"}


@pytest.mark.parametrize(
    ("model", "state", "switches", "service", "expected"),
    [
        ("H100", "Completed, Success", 0, None, "ok"),
        ("H100", "Completed, Success", 4, "inactive", "ok"),
        ("H100", "Completed, Failed", 4, "active", "bad"),
        ("H100", "Completed, ", 4, "active", "unknown"),
        ("H100", "Completed, N/A", 4, "active", "unknown"),
        ("H100", "In Progress, N/A", 4, "active", "unknown"),
        ("H100", "In Progress, N/A", 0, None, "unknown"),
        ("H100", "In Progress, N/A", 4, "failed", "bad"),
        ("H100", "In Progress, N/A", 0, "inactive", "bad"),
        ("H100", "Not Started, N/A", 4, "active", "bad"),
        ("H100", "N/A, N/A", 0, "active", "unknown"),
        ("H100", ", ", 0, None, "unknown"),
        # Before Hopper, only systemd knows the state.
        ("A100", "N/A, N/A", 6, "active", "ok"),
        ("A100", "N/A, N/A", 6, "inactive", "bad"),
        ("A100", "N/A, N/A", 6, "failed", "bad"),
        ("A100", "N/A, N/A", 6, "activating", "unknown"),
        ("A100", "N/A, N/A", 6, None, "unknown"),
        ("A100", "N/A, N/A", 0, "inactive", "ok"),
        ("NVL", "N/A, N/A", 0, None, "ok"),
        ("", "N/A, N/A", 0, None, "unknown"),
    ],
)
def test_verdict_on_fabric(
    model: str, state: str, switches: int, service: str | None, expected: str, tmp_path: Path
) -> None:
    word, _comma, status = state.partition(", ")
    name = f"<product_name>{SXM.get(model, '')}</product_name>"
    xml = f"{name}<fabric><state>{word}</state><status>{status}</status></fabric>"
    for number in range(switches):
        device = tmp_path / "sys/bus/pci/devices" / str(number)
        device.mkdir(parents=True)
        (device / "vendor").write_text("0x10de\n")
        (device / "class").write_text("0x068000\n")
    for count, verdict_by_count in ((2, expected), (1, "ok" if model else "unknown")):
        answers = says("nvidia-smi", f"<nvidia_smi_log>{f'<gpu>{xml}</gpu>' * count}</nvidia_smi_log>")
        machine_readings = Readings({**answers, **says("fabric_manager", service or "", 3)}, str(tmp_path))
        found = verdicts.findings(machine_readings, Wanted("health"))
        assert {finding.verdict for finding in found if finding.check == "fabric"} == {verdict_by_count}


def test_load_by_nvbandwidth_is_accepted(root: str) -> None:
    answers = {name: item for name, item in Machine().answers("load").items() if name != "dcgmi"}
    for code, expected in ((0, "ok"), (1, "unknown")):
        answers["load"] = CommandResult(("nvbandwidth",), code, "Running...\nSUM host_to_device_memcpy_ce 440.1\n")
        assert verdict(answers, root, Machine(), "load") == expected


# Expectations and options


@pytest.mark.parametrize(
    ("option", "value"),
    [("min_driver", "new"), ("min_cuda", "12."), ("thresholds", {"clok": 1}), ("thresholds", {"clock": "x"})],
)
def test_unusable_options_are_refused(option: str, value: object) -> None:
    options = {"level": "specs", "expected": {}, "min_driver": "", "min_cuda": "", "thresholds": {}, "timeout": None}
    with pytest.raises(ValueError, match="must be"):
        acceptance.accept_by_options({**options, "tool_timeout": 1.0, "controller_time": None, option: value}, False)


@pytest.mark.parametrize(
    ("version", "least", "is_enough"),
    [("12.4", "12.4.0", True), ("12.4", "12.4.1", False), ("550.54.15", "550", True), ("12", "12.0", True)],
)
def test_version_of_ignores_trailing_zeros(version: str, least: str, is_enough: bool) -> None:
    assert (version_of(version) >= version_of(least)) is is_enough


@pytest.mark.parametrize(("ahead", "expected"), [(0.0, "ok"), (-60.0, "ok"), (61.0, "degraded"), (-1e6, "degraded")])
def test_verdict_on_clock(ahead: float, expected: str, root: str) -> None:
    machine_readings = Readings(Machine().answers("health"), root, ahead)
    found = verdicts.findings(machine_readings, Wanted("health", Machine().offer))
    assert [finding.verdict for finding in found if finding.check == "clock"] == [expected]


def test_offer_without_gpus_skips_gpu_checks(root: str) -> None:
    answers = {**Machine().answers("burnin"), "nvidia-smi": CommandResult((), 127)}
    found = verdicts.findings(Readings(answers, root, None), Wanted("burnin", {"gpu_count": 0}))
    assert {finding.check for finding in found} == {"answers", "gpu_count", "disk_write", "user_data"}
    assert worst_verdict(found) == "ok"


def test_missing_driver_is_bad_only_if_min_driver_is_given(root: str) -> None:
    answers = {"nvidia-smi": CommandResult((), 127)}
    for level, demand, expected in (("specs", "", "unknown"), ("specs", "535", "bad"), ("health", "", "bad")):
        found = verdicts.findings(Readings(answers, root, None), Wanted(level, {}, min_driver=demand))
        assert worst_verdict(found) == expected


@pytest.mark.parametrize(
    ("code", "expected"), [(127, "bad"), (9, "bad"), (18, "bad"), (1, "unknown"), (6, "unknown"), (None, "unknown")]
)
def test_gpus_are_missing_for_certain_only_without_a_driver(root: str, code: int | None, expected: str) -> None:
    machine_readings = Readings({"nvidia-smi": CommandResult((), code)}, root)
    found = verdicts.findings(machine_readings, Wanted("specs", {"gpu_count": 8}))
    assert [finding.verdict for finding in found if finding.check == "gpu_count"] == [expected]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ('{"v1": {"errors": []}}', ("ok", "no error")),
        ('{"v1": {"errors": ["no such package", 1]}}', ("bad", "no such package; 1")),
        ('{"v1": {"errors": 7}}', ("unknown", "cloud-init has left no result")),
        ("{}", ("unknown", "cloud-init has left no result")),
        ("", ("unknown", "cloud-init has left no result")),
    ],
)
def test_errors_of_cloud_init_are_bad(tmp_path: Path, result: str, expected: tuple[str, str]) -> None:
    (tmp_path / "run" / "cloud-init").mkdir(parents=True)
    (tmp_path / "run" / "cloud-init" / "result.json").write_text(result)
    found = verdicts.findings(Readings({}, str(tmp_path)), Wanted("health", {"gpu_count": 0}))
    assert [(finding.verdict, finding.measured) for finding in found if finding.check == "user_data"] == [expected]


def test_xid_of_unlisted_gpu_is_ignored(root: str) -> None:
    """It is probably a neighbour's. If not, nvidia-smi lists too few GPUs, which is bad anyway."""
    machine = Machine(count=7, offered=7, xids=[("0000:eb:00", 79)])
    assert verdict(machine.answers("health"), root, machine, "health") == "ok"


# The page docs/acceptance.md

# The rows of its table: for each check its level, subject and source, and when it is degraded and bad
ROWS = {
    name: cells
    for name, *cells in re.findall(
        r"^\| `(\w+)` \| `(\w+)` \| (.*) \| (.*) \| (.*) \| (.*) \|$",
        (ROOT / "docs" / "acceptance.md").read_text(),
        re.MULTILINE,
    )
}


def test_page_has_default_thresholds() -> None:
    degraded = {name: cells[3] for name, cells in ROWS.items()}
    assert degraded["clock"] == f"over {THRESHOLDS['clock']:g}"
    assert degraded["disk_write"] == f"under {THRESHOLDS['disk_write']:g}"
    assert degraded["temperature"] == f"under {THRESHOLDS['temperature_margin']:g}"


def test_records_reach_every_verdict_of_the_page(root: str) -> None:
    shown: dict[str, set[str]] = {check.name: set() for check in CHECKS}
    for machine, _health, _burnin, _checks in RECORDS.values():
        for finding in findings_of(machine.answers("burnin"), root, machine, "burnin"):
            shown[finding.check].add(finding.verdict)
    rows = {
        name: {word for word, cell in zip(("degraded", "bad"), ROWS[name][3:], strict=True) if cell} for name in shown
    }
    tested_elsewhere = {"vcpu_count", "memory_in_gb", "boot_disk_in_gb", "clock", "user_data"}
    for name, words in rows.items():
        assert shown[name] & {"degraded", "bad"} <= words, name
        assert name in tested_elsewhere or words <= shown[name], name


def test_page_lists_all_checks_and_xids() -> None:
    assert [(name, level, source) for name, (level, _about, source, *_when) in ROWS.items()] == [
        (check.name, check.level, check.source) for check in CHECKS
    ]
    assert all(ROWS[check.name][1].endswith(f", in {check.unit}") for check in CHECKS if check.unit)
    page = (ROOT / "docs" / "acceptance.md").read_text()
    assert all(", ".join(map(str, codes)) in page for _verdict, _words, codes in verdicts.XIDS)


def test_module_documents_its_options_and_results() -> None:
    documented = yaml.safe_load(gpu_acceptance.DOCUMENTATION)["options"]
    documented = {
        name: {key: value for key, value in option.items() if key != "description"}
        for name, option in documented.items()
    }
    assert documented == gpu_acceptance.SPEC
    assert documented["level"]["choices"] == list(LEVELS)
    assert (
        yaml.safe_load(gpu_acceptance.RETURN).keys()
        == acceptance.accept(Wanted("specs"), 1, 1, run=lambda _commands: Machine().answers("specs")).keys()
    )


# Evidence


def test_evidence_is_cut_but_keeps_serial_numbers() -> None:
    noise = "NVRM: \u00e4\u4e16\U0001f600\n" * 100_000
    answers = {**Machine().answers("burnin"), "journalctl": CommandResult(("journalctl",), 0, noise)}
    rows = acceptance.evidence(answers)
    assert len(json.dumps(rows)) <= acceptance.MOST_EVIDENCE
    (smi,) = [row["output"] for row in rows if row["command"] == "nvidia-smi"]
    assert re.findall(r"<serial>(\d+)", smi) == [f"16509230{index:05}" for index in range(8)]
    assert "supported_clocks" not in smi
    assert len(next(row["output"] for row in rows if row["command"] == "journalctl")) > 10_000


@given(st.lists(st.text(max_size=300), max_size=5), st.integers(1000, 3000))
def test_evidence_never_exceeds_its_limit(texts: list[str], most: int) -> None:
    answers = {str(index): CommandResult((str(index),), 0, text) for index, text in enumerate(texts)}
    assert len(json.dumps(acceptance.evidence(answers, most))) <= most
