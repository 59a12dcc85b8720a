# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Golden records: what each command of a test did, to compare with the same tests of changed code.

Tests that run with ``SUPPLY_GOLDEN=FOLDER`` write a file for each test there. With ``PYTHONPATH=tests``:

- ``python -m golden mark OLD AGAIN ...`` notes in OLD the differences between recordings of the same code as unstable.
- ``python -m golden compare OLD NEW`` prints the differences, facts first, and fails if one is stable, other than how
  often a machine is looked at while it boots. ``--facts`` leaves out requests and counters.

A recording contains no random values, so recordings of the same behaviour are equal: the simulator's offers are called
``OFFER1`` and so on in the order of the list, the machines of the first ``OFFER1.1`` and so on, in place of their ids,
generated names and ports. Other ids are called ``ID1`` and so on, in the order in which they appear in the test.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from project import Project, Run
    from simulator import Resource
    from simulator.wire import Request

FOLDER = os.environ.get("SUPPLY_GOLDEN")
ROOT = Path(__file__).resolve().parents[1]
MARKS = "unstable.json"
#: Facts decide about money and safety. Ways may differ.
FACTS = ("command", "returncode", "purchases", "billed", "registry", "failures", "errors", "changed")
WAYS = ("requests", "looks", "order", "counters")
KINDS = ("equal", "facts differ", "ways differ", "looks differ", "unstable")
LOOK = re.compile(r"GET /offers/[^/ ]+/status")
#: Characters of a line about a difference.
WIDTH = 200

Json = dict[str, Any]

UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
#: Ids, generated names of machines and ports. Ids unknown to the recording stay as they are.
KNOWN = re.compile(rf"(?<![0-9a-fA-F]){UUID}|\b[a-z]+-[0-9a-f]{{8}}\b(?!-[0-9a-f]{{4}}-)|\b\d{{5}}\b")
#: Other random values, which need no number.
RANDOM = (
    (re.compile(r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----", re.DOTALL), "KEY"),
    (re.compile(r"\bAAAA[0-9A-Za-z+/]{40,}={0,2}"), "KEY"),
    (re.compile(r"\bSHA256:[0-9A-Za-z+/]{43}"), "SHA256:KEY"),
    (re.compile(r"\|1\|[0-9A-Za-z+/=]+\|[0-9A-Za-z+/=]+"), "HASH"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"), "TIME"),
    (re.compile(r"/tmp(?:/supply-\w+)+"), "SOCKETS"),
    (re.compile(r"\bansible-(?:tmp|local)-[\w.-]+"), "ansible-TEMPORARY"),
    (re.compile(r"\b0x[0-9a-f]{6,}"), "0xADDRESS"),
)


class Names:
    """Replaces the values that differ from recording to recording."""

    def __init__(self) -> None:
        self.fixed: dict[str, str] = {
            str(ROOT): "ROOT",
            sys.prefix: "ENVIRONMENT",
            str(Path(sys.prefix).resolve()): "ENVIRONMENT",
        }
        self.known: dict[str, str] = {}
        self.offers = self.others = 0

    def learn(self, project: Project) -> None:
        """Learn the ids of the present offers and machines."""
        simulator = project.simulator
        self.fixed[simulator.url] = "URL"
        for offer_id, offer in list(simulator.offers.items()):
            if offer_id not in self.known:
                self.offers += 1
                self.known[offer_id] = f"OFFER{self.offers}"
            name = self.known[offer_id]
            for place, resource in enumerate(offer.purchase.resources if offer.purchase else (), start=1):
                self.learn_machine(resource, f"{name}.{place}")

    def learn_machine(self, resource: Resource, name: str) -> None:
        """Learn the ids of a machine of the simulator."""
        self.known[resource.resource_id] = name
        if generated := re.match(r"[a-z]+-[0-9a-f]{8}\b", resource.name):
            self.known[generated[0]] = f"NAME-{name}"
        # The simulator lets the system choose its ports, unless nothing answers there.
        if resource.address and resource.address.port > 30000:
            self.known[str(resource.address.port)] = f"PORT-{name}"

    def known_or_new(self, found: re.Match[str]) -> str:
        """The name for an id, for the generated name of a machine, or for its port."""
        text = found[0]
        if text.lower() in self.known:
            return self.known[text.lower()]
        if not re.fullmatch(UUID, text):
            return text
        self.others += 1
        return self.known.setdefault(text.lower(), f"ID{self.others}")

    def text(self, text: str) -> str:
        """The text with its random values replaced."""
        for found in sorted(self.fixed, key=len, reverse=True):
            text = text.replace(found, self.fixed[found])
        for pattern, name in RANDOM:
            text = pattern.sub(name, text)
        # Any other address is another simulator's.
        return re.sub(r"\b127\.0\.0\.1:\d{5}\b", "127.0.0.1:PORT", KNOWN.sub(self.known_or_new, text))

    def value(self, value: Any) -> Any:
        """The JSON value with its random values replaced."""
        if isinstance(value, dict):
            return {self.text(str(key)): self.value(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(each) for each in value]
        if isinstance(value, int) and not isinstance(value, bool):
            return self.known.get(str(value), value)
        if value is None or isinstance(value, (bool, float)):
            return value
        return self.text(str(value))


class Recorder:
    """Records the commands of a project."""

    #: The records of each test that this process has run. A test may have several projects.
    tests: dict[str, list[Json]] = {}
    lock = Lock()

    def __init__(self, folder: Path, project: Project) -> None:
        self.folder = folder
        self.project = project
        self.place = project.folder  # a test may move its project to a subfolder
        self.names = Names()
        self.names.fixed |= {str(self.place): "FOLDER", project.public_key.split()[1]: "KEY"}
        self.purchases = self.requests = 0

    def note(self, words: tuple[str, ...], run: Run) -> None:
        """Record a command that has ended, and what has happened at the simulator since the command before it."""
        test = os.environ.get("PYTEST_CURRENT_TEST", "unknown").rpartition(" (")[0]
        with self.lock:
            runs = self.tests.setdefault(test, [])
            runs.append(self.record(words, run))
            self.folder.mkdir(parents=True, exist_ok=True)
            name = test.partition("[")[0].rpartition("/")[2] + "".join(test.partition("[")[1:])
            file = self.folder / f"{re.sub(r'[^][.A-Za-z0-9_-]+', '_', name.replace('.py::', '.'))}.json"
            file.write_text(json.dumps({"test": test, "runs": runs}, indent=1, ensure_ascii=False) + "\n")

    def record(self, words: tuple[str, ...], run: Run) -> Json:
        """The record of a command."""
        names, simulator = self.names, self.project.simulator
        names.learn(self.project)
        bought, asked = simulator.purchases[self.purchases :], simulator.requests[self.requests :]
        self.purchases += len(bought)
        self.requests += len(asked)
        requests = [(self.whose(each), self.line(each)) for each in asked]
        return {
            "command": " ".join([Path(words[0]).name, *map(names.text, words[1:])]),
            "returncode": run.returncode,
            "failures": names.value(failures(run)),
            "errors": names.value(errors(run)),
            "changed": sorted(names.text(host) for host, counters in recap(run).items() if counters["changed"]),
            "purchases": {
                names.text(each.offer_id): names.value({**each.request, "resource_ids": each.resource_ids})
                for each in bought
            },
            "billed": sorted(map(names.text, simulator.billed)),
            "registry": names.value(registry(self.place)),
            "counters": names.value(recap(run)),
            "requests": [line for _whose, line in requests],
            "requests_by_offer": {
                whose: [line for other, line in requests if other == whose]
                for whose in sorted({whose for whose, _line in requests})
            },
        }

    def whose(self, request: Request) -> str:
        """The offer that a request is about."""
        known = self.names.text(f"{request.path} {request.query} {request.body if is_purchase(request) else ''}")
        found = re.search(r"\b(?:OFFER|ID)\d+", known)
        return found[0] if found else ""

    def line(self, request: Request) -> str:
        """A request on one line, with its body; of a purchase, the offer, the name and the keys of the body."""
        words = [request.method, request.path + (f"?{request.query}" if request.query else "")]
        try:
            body = yaml.safe_load(request.body) if request.body else None
        except yaml.YAMLError:
            body = request.body
        if is_purchase(request) and isinstance(body, dict):
            words += [str(body.get("offer_id")), f"for {body.get('resource_name')}:", " ".join(sorted(body))]
        elif body is not None:
            words.append(json.dumps(body, sort_keys=True, default=str))
        return self.names.text(" ".join(words))


def recorder(project: Project) -> Recorder | None:
    """The recorder of a project's commands; None without ``SUPPLY_GOLDEN``."""
    return Recorder(Path(FOLDER).absolute(), project) if FOLDER else None


def is_purchase(request: Request) -> bool:
    """Whether a request buys."""
    return (request.method, request.path) == ("POST", "/procure_offer")


def recap(run: Run) -> dict[str, dict[str, int]]:
    """All counters of each host, by the last recap that names it."""
    found = re.findall(r"^(\S+) +: (ok=\d+ .*)$", run.output, re.MULTILINE)
    return {host: {name: int(n) for name, n in re.findall(r"(\w+)=(\d+)", counters)} for host, counters in found}


def failures(run: Run) -> dict[str, str]:
    """The message of each host's last failed task, including rescued ones."""
    said = {}
    for found in re.finditer(r"^fatal: \[(.+?)(?: -> .*?)?\]: (\S+) => ?(.*)$", run.output, re.MULTILINE):
        host, how, rest = found.groups()
        try:
            # With -vvv the result continues on the next lines.
            result, _end = json.JSONDecoder().raw_decode(run.output, found.start(3))
            rest = result["msg"]
        except (ValueError, KeyError, TypeError):
            pass
        said[host] = f"{how} {' '.join(str(rest).split())}"
    return said


def errors(run: Run) -> list[str]:
    """The errors of a failed command that name no host."""
    if run.returncode == 0 or failures(run):
        return []
    return sorted(set(re.findall(r"^\[?ERROR[]!].*", run.output, re.MULTILINE)))


def registry(place: Path) -> Json:
    """The content and mode of each file in the registry's folders, wherever they are."""
    entries = (file for file in place.rglob("compute_index_supply.yml"))
    folders = {*(file.parent for file in entries), *(each for each in place.rglob("host_vars/*") if each.is_dir())}
    files = sorted(file for folder in folders for file in folder.iterdir() if file.is_file())
    # Tests write own.yml themselves.
    return {str(file.relative_to(place)): content(file) for file in files if file.name != "own.yml"}


def content(file: Path) -> Json:
    """A file's mode, and its variables or its lines."""
    text = file.read_text(errors="replace")
    try:
        held = yaml.safe_load(text) if file.suffix == ".yml" else sorted(text.splitlines())
    except yaml.YAMLError:
        held = sorted(text.splitlines())
    return {"mode": oct(stat.S_IMODE(file.stat().st_mode)), "holds": held}


# Comparing


@dataclass(frozen=True)
class Difference:
    """One difference between two records of a command."""

    run: int
    command: str
    aspect: str
    text: str


def compared(run: Json, aspect: str) -> Any:
    """The value to compare for an aspect. How often hosts wait, and in which order they run, varies."""
    requests = run["requests"]
    if aspect == "requests":
        return Counter(line for line in requests if not LOOK.match(line))
    if aspect == "looks":
        return Counter(line for line in requests if LOOK.match(line))
    if aspect == "order":
        return {
            whose: " > ".join(line for line, _same in groupby(lines))
            for whose, lines in run["requests_by_offer"].items()
            if whose
        }
    if aspect in ("billed", "changed"):
        return Counter(run[aspect])
    return run[aspect]


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each single value of a structure, with its path."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from leaves(each, f"{path} {key}")
    elif isinstance(value, list) and value:
        for number, each in enumerate(value):
            yield from leaves(each, f"{path} {number}")
    elif path or not isinstance(value, (dict, list)):
        yield path.strip(), value


def short(old: Any, new: Any) -> str:
    """Two values; of long texts, the part around the first difference."""
    texts = ["nothing" if each is None else each if isinstance(each, str) else json.dumps(each) for each in (old, new)]
    same = next((n for n, (one, other) in enumerate(zip(*texts, strict=False)) if one != other), min(map(len, texts)))
    begin = same - 30 if max(map(len, texts)) > WIDTH // 2 and same > 40 else 0
    cut = [f"{'...' if begin else ''}{text[begin : begin + WIDTH // 2]}".replace("\n", "\\n") for text in texts]
    return " -> ".join(cut)


def differences(old: list[Json], new: list[Json]) -> list[Difference]:
    """The differences between two recordings of a test, facts first."""
    found = []
    if len(old) != len(new):
        found.append(Difference(0, "", "runs", short(len(old), len(new))))
    for aspect in (*FACTS, *WAYS):
        for number, (before, after) in enumerate(zip(old, new, strict=False), start=1):
            was, now = (dict(leaves(compared(run, aspect))) for run in (before, after))
            for path in [*was, *(path for path in now if path not in was)]:
                if was.get(path) != now.get(path):
                    text = f"{path}: {short(was.get(path), now.get(path))}"
                    found.append(Difference(number, before["command"], aspect, text.removeprefix(": ")))
    return found


def read(folder: Path) -> dict[str, list[Json]]:
    """The runs of each test of a recording."""
    files = sorted(file for file in folder.glob("*.json") if file.name != MARKS)
    return {file.stem: json.loads(file.read_text())["runs"] for file in files}


def marks(*folders: Path) -> dict[str, set[tuple[int, str]]]:
    """The aspects that are known to be unstable, with the number of the command, by test."""
    found: dict[str, set[tuple[int, str]]] = {}
    for folder in folders:
        if (folder / MARKS).exists():
            for test, places in json.loads((folder / MARKS).read_text()).items():
                found.setdefault(test, set()).update((run, aspect) for run, aspect in places)
    return found


def mark(old: Path, others: Iterable[Path]) -> None:
    """Add the differences between recordings of the same code to the noted ones."""
    unstable, before = marks(old), read(old)
    for other in others:
        for test, runs in read(other).items():
            for each in differences(before.get(test, runs), runs):
                unstable.setdefault(test, set()).add((each.run, each.aspect))
    (old / MARKS).write_text(json.dumps({test: sorted(unstable[test]) for test in sorted(unstable)}, indent=1) + "\n")
    for test in sorted(unstable):
        print(f"unstable: {test}: {', '.join(sorted({aspect for _run, aspect in unstable[test]}))}")
    print(f"{len(unstable)} of {len(before)} tests are unstable in some way.")


def kind_of(aspects: set[str]) -> str:
    """The kind of a test's difference. How often a machine is looked at depends on the computer's load."""
    if not aspects:
        return "equal"
    if aspects - set(WAYS):
        return "facts differ"
    return "ways differ" if aspects - {"looks"} else "looks differ"


def compare(old: Path, new: Path, facts_only: bool, most: int) -> int:
    """Print the differences. Returns 1 if a fact or a way differs that is not known to be unstable."""
    before, after, unstable = read(old), read(new), marks(old, new)
    wanted = {"runs", *FACTS} if facts_only else {"runs", *FACTS, *WAYS}
    count: Counter[str] = Counter()
    for test in sorted(before.keys() & after.keys()):
        found = [each for each in differences(before[test], after[test]) if each.aspect in wanted]
        # If the number of commands varies, everything may vary.
        known = [each for each in found if {(each.run, each.aspect), (0, "runs")} & unstable.get(test, set())]
        stable = [each for each in found if each not in known]
        kind = kind_of({each.aspect for each in stable}) if stable or not found else "unstable"
        count[kind] += 1
        if found:
            print(f"{test}: {kind}{' (and unstable)' if stable and known else ''}")
        for each in stable[:most]:
            place = f"run {each.run} ({each.command[:60]}): " if each.run else ""
            print(f"  {place}{each.aspect}: {each.text}")
        if len(stable) > most:
            print(f"  and {len(stable) - most} more: {dict(Counter(each.aspect for each in stable[most:]))}")
        if known:
            print(f"  known to be unstable: {dict(Counter(each.aspect for each in known))}")
    for name, only in (("OLD", before.keys() - after.keys()), ("NEW", after.keys() - before.keys())):
        if only:
            print(f"only in {name}: {len(only)} tests: {', '.join(sorted(only)[:most])}")
    print(f"{sum(count.values())} tests compared: {', '.join(f'{count[kind]} {kind}' for kind in KINDS)}.")
    return int(bool(count["facts differ"] or count["ways differ"]))


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m golden", description="Compares what tests did.")
    commands = parser.add_subparsers(dest="command", required=True)
    marking = commands.add_parser("mark", help="note what differs between recordings of the same code")
    marking.add_argument("old", type=Path)
    marking.add_argument("others", type=Path, nargs="+")
    comparing = commands.add_parser("compare", help="print what differs")
    comparing.add_argument("old", type=Path)
    comparing.add_argument("new", type=Path)
    comparing.add_argument("--facts", action="store_true", help="leave out requests and counters")
    comparing.add_argument("--most", type=int, default=12, help="lines of a test (default: 12)")
    options = parser.parse_args()
    if options.command == "mark":
        mark(options.old, options.others)
        return 0
    return compare(options.old, options.new, options.facts, options.most)


if __name__ == "__main__":
    sys.exit(main())
