# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The test sessions, each with its own environment; the Makefile calls this.

`make test` runs the sessions with the tag ``first``, `make rest` those with the tag ``rest``. No test is in both. The
sessions of each run in parallel: while one waits for machines to boot, or installs, another one computes.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
BUILD = ROOT / ".build"
RUNNING = BUILD / "running"
SKIPPED = BUILD / "skipped"
COLLECTION = Path("ansible_collections", "compute_index", "supply")
# The tested versions of ansible-core, oldest first, and the Pythons that each runs on, preferred first.
CORES = {
    "2.16": ("3.11", "3.12", "3.10"),
    "2.17": ("3.11", "3.12", "3.10"),
    "2.18": ("3.11", "3.12", "3.13"),
    "2.19": ("3.11", "3.12", "3.13"),
    "2.20": ("3.12", "3.13", "3.14"),
    "2.21": ("3.13", "3.12", "3.14"),
}
# A version that exists only as a pre-release. CI reports its failures, but does not fail.
COMING = {"2.22": ("3.13", "3.14")}
ALL_CORES = {**CORES, **COMING}
# The versions on which ansible-test sanity runs.
SANITY_CORES = ("2.16", "2.18", "2.19", "2.20", "2.21", *COMING)
# The versions in AWX's execution environments, and the newest.
AWX_CORES = ("2.16", "2.18", "2.21")

# Container images often set this, which suits a single process. Here thousands of processes read the same files.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# The file in which tests note what they skip.
os.environ["SUPPLY_SKIPPED"] = str(SKIPPED)

nox.needs_version = ">=2026.8.10"
nox.options.default_venv_backend = "virtualenv"  # unlike venv it works with a Python without ensurepip
nox.options.envdir = str(BUILD / "nox")
nox.options.reuse_venv = "yes"
nox.options.tags = ["first", "rest"]


def find_python(version: str) -> str | None:
    """Return a Python of this version that runs, since one on PATH may be a pyenv shim that does not.

    The system's Python comes first: one built by pyenv needs a quarter more time.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = ["/usr/local/bin", "/opt/homebrew/bin", *pyenv.glob(f"versions/{version}.*/bin")]
    name = f"python{version}"
    for candidate in (f"/usr/bin/{name}", shutil.which(name), *(f"{folder}/{name}" for folder in folders)):
        if candidate and os.access(candidate, os.X_OK):
            command = [candidate, "-c", "import sys; print('%d.%d %s' % (*sys.version_info[:2], sys.executable))"]
            answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
            if answer[:1] == [version]:
                return answer[1]
    return None


FOUND = {version: find_python(version) for version in ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")}
PYTHONS = {version: path for version, path in FOUND.items() if path}
CORE_PYTHONS = {
    core: next((PYTHONS[version] for version in versions if version in PYTHONS), None)
    for core, versions in ALL_CORES.items()
}
NEWEST_CORE = next((core for core in reversed(CORES) if CORE_PYTHONS[core]), list(CORES)[-1])
# `make test` and `make rest` use the oldest and the newest version, which differ most; `make nightly` those in between;
# `make unit` and so on all of them.
IN_TEST = (next(iter(CORES)), NEWEST_CORE)
# The part that runs: first, rest, or empty for whole sessions.
PART = os.environ.get("SUPPLY_TEST_PART", "")
# The complete set-up of AWX that runs on the oldest version; another one runs on the newest.
ANOTHER_SET_UP = "tests/awx/test_setup.py::test_organizations_are_apart"
# The plays marked ``first`` run on the newest version; this file of them also runs on the oldest.
FIRST_ON_OLDEST = "tests/integration/test_idempotence.py"
# The unit tests of `make rest` only: random worlds, whose rules also have tables, and the simulator's, whose faults
# also break plays.
WORLDS = ("test_*_worlds.py", "test_stateful.py")
OF_SIMULATOR = "tests/unit/simulator"
# The unit tests that run on the oldest version: those that import ansible-core or run its commands. Tests of
# module_utils, of programs for machines and of the repository's files give the same result on each version, except for
# the registry's files, which Ansible also reads.
OF_CORE = ("tests/unit/plugins", "tests/unit/test_compiled.py", "tests/unit/test_launcher.py")
SAME_ON_ALL = (
    "--ignore=tests/unit/plugins/module_utils/provision",
    "--ignore-glob=*/module_utils/test_*.py",
    "--ignore-glob=*/module_utils/registry/test_[!f]*.py",
    "--ignore=tests/unit/plugins/test_supply_keep.py",
)


def tell_what_runs() -> None:
    """Name the running sessions each minute, since nox shows the output of parallel sessions only when they end."""
    begin = time.monotonic()
    while True:
        time.sleep(60)
        names = sorted(file.name for file in RUNNING.glob("*"))
        print(f"After {(time.monotonic() - begin) / 60:.0f} min: {', '.join(names)} ...", flush=True)


def tell_what_was_skipped() -> None:
    """End the output with everything that was skipped, and what it needs."""
    with contextlib.suppress(FileNotFoundError):
        for line in sorted(set(SKIPPED.read_text().splitlines())):
            print(f"SKIPPED {line}", flush=True)


if "--parallel-worker" not in sys.argv:
    SKIPPED.unlink(missing_ok=True)
    atexit.register(tell_what_was_skipped)
    # On a terminal, nox shows the running sessions.
    if "--parallel" in sys.argv and not sys.stdout.isatty():
        shutil.rmtree(RUNNING, ignore_errors=True)
        threading.Thread(target=tell_what_runs, daemon=True).start()


def note_skipped(line: str) -> None:
    """Note a skipped part with its reason, as tests/skipped.py does for tests."""
    BUILD.mkdir(exist_ok=True)
    with SKIPPED.open("a") as file:
        file.write(f"{line}\n")


def tell_what_it_took(name: str) -> None:
    """Print the processor time of a session's programs, which determines the duration of the tests."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{name} took {used.ru_utime + used.ru_stime:.0f} s of a processor.", flush=True)


def install(session: nox.Session, *requirements: str) -> None:
    """Install the requirements, unless they are installed here and have not changed."""
    if session.parallel:  # then this is a separate process
        RUNNING.mkdir(parents=True, exist_ok=True)
        (RUNNING / session.name).touch()
        atexit.register((RUNNING / session.name).unlink)
        atexit.register(tell_what_it_took, session.name)
    lists = sorted(ROOT.glob("tests/**/requirements*.txt"))
    contents = [file.read_text() for file in (ROOT / "requirements.txt", *lists)]
    digest = hashlib.sha256(repr((requirements, contents)).encode()).hexdigest()
    stamp = Path(session.virtualenv.location, "requirements.sha256")
    if not stamp.exists() or stamp.read_text() != digest:
        arguments = [part for name in requirements for part in (("-r", name) if name.endswith(".txt") else (name,))]
        # Most files are never imported, so they need not be compiled now.
        session.install("--disable-pip-version-check", "--no-compile", *arguments)
        stamp.write_text(digest)


def environment() -> dict[str, str | None]:
    """Return variables with which Ansible and Python find this checkout as a collection."""
    link = BUILD / "dev" / COLLECTION
    link.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        link.symlink_to(os.path.relpath(ROOT, link.parent))
    return {
        "ANSIBLE_COLLECTIONS_PATH": str(BUILD / "dev"),
        "PYTHONPATH": os.pathsep.join(map(str, (BUILD / "dev", ROOT / "tests", ROOT / "tests" / "compiled"))),
        "PYTEST_PLUGINS": "skipped,temporary",
        # Tests must never spend real money.
        "COMPUTE_INDEX_API_TOKEN": None,
        "COMPUTE_INDEX_API_URL": None,
    }


def copy_checkout(name: str) -> Path:
    """Copy only the files that git would commit, for tarballs, and into a real folder, which ansible-test needs."""
    target = BUILD / name / COLLECTION
    shutil.rmtree(target, ignore_errors=True)
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for file in subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.split("\0"):
        if file and os.path.lexists(ROOT / file):
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, target / file, follow_symlinks=False)
    return target


def make_home(session: nox.Session) -> str:
    """Return a home folder for the session, for tools that keep environments, caches and logs there."""
    home = BUILD / "home" / session.name
    for name in (".cache/pip", ".config/git", ".config/pip", ".gitconfig", ".netrc", ".pip"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        if (Path.home() / name).exists() and not (home / name).exists():
            (home / name).symlink_to(Path.home() / name)
    return str(home)


def ansible_core(session: nox.Session, core: str) -> str:
    """Return the requirement of this version of ansible-core, or skip the session if no Python can run it."""
    if not CORE_PYTHONS[core]:
        kind, found = session.name.removesuffix(f"-{core}"), ", ".join(PYTHONS) or "none"
        versions = sorted(ALL_CORES[core], key=lambda version: int(version.partition(".")[2]))
        needed = f"Python {versions[0]} to {versions[-1]}"
        why = f"{kind} on ansible-core {core}: needs {needed}, found {found}"
        note_skipped(why)
        session.skip(f"SKIPPED {why}")
    return f"ansible-core~={core}.0{'rc1' if core in COMING else ''}"


def tags_of(core: str, kind: str, first: Sequence[str] = (), rest: Sequence[str] = IN_TEST) -> list[str]:
    """Return the tags of a session on this version: its kind, and the parts of the tests that run it.

    A pre-release has no tags, so its sessions run only by name.
    """
    nightly = kind in ("unit", "integration") and core not in IN_TEST
    parts = {"first": core in first, "rest": core in rest, "nightly": nightly}
    return [] if core in COMING else [kind, *(part for part, takes_it in parts.items() if takes_it)]


# The longest of the parallel sessions comes first, so that the others fill the gaps.


@nox.session(python=CORE_PYTHONS[NEWEST_CORE] or False, tags=["rest"], allow_parallel=True)
def e2e(session: nox.Session) -> None:
    """Run real playbooks against real machines, which root can boot on Debian."""
    core = ansible_core(session, NEWEST_CORE)
    install(session, core, "tests/requirements.txt", "tests/integration/requirements.txt")
    # Most of the time, these tests wait for boots and connections.
    spread = ["--numprocesses=2", "--dist=load", "--maxschedchunk=1"]
    # Ten machines at once are a measurement, which needs an idle computer. Another test boots four.
    others = ["--deselect", "tests/e2e/test_machines.py::test_ten_machines_at_once"] if PART else []
    command = ["pytest", *spread, "--durations=4", "tests/e2e", *others]
    session.run(*command, *session.posargs, env=environment())


def add_integration(core: str) -> None:
    """Add the session of the plays on this version of ansible-core."""

    # Without a Python the session only says why it is skipped, and needs no environment.
    python = CORE_PYTHONS[core] or False
    newest = core == NEWEST_CORE

    @nox.session(
        name=f"integration-{core}",
        python=python,
        tags=tags_of(core, "integration", first=IN_TEST),
        allow_parallel=True,
    )
    def integration(session: nox.Session) -> None:
        """Run real playbooks against the simulated API."""
        install(session, ansible_core(session, core), "tests/requirements.txt", "tests/integration/requirements.txt")
        # Plays spend a part of their time waiting, so there may be more of them than processors. They start one by one,
        # and the long ones come first, so that they do not end last. The oldest version has few, next to the newest.
        processes = 1 if session.parallel and not newest else (os.cpu_count() or 1) + 2
        spread = [f"--numprocesses={processes}", "--dist=load", "--maxschedchunk=1"]
        command = ["pytest", *spread, "--durations=8", *plays_of(core), *session.posargs]
        # On the versions in between, roles run modules as modules; on the others, in Ansible's own process. The tests
        # of modules do both on each version.
        way = {"COMPUTE_INDEX_IN_PROCESS": None if core in IN_TEST else "0"}
        # The number of runs that are killed at random; `make nightly` has ever new ones.
        rounds = {"SUPPLY_TEST_ROUNDS": "2" if newest else "1"} if PART else {}
        session.run(*command, env={**environment(), **way, **rounds})


def plays_of(core: str) -> list[str]:
    """Return the arguments of pytest for the plays in this part of the tests on this version."""
    # The attacks come first: they have their own stand-in for the API, and import nothing from their conftest.
    folders = ["tests/attacks", "tests/integration"]
    if core == NEWEST_CORE:
        return [*folders, *{"first": ["-m", "first"], "rest": ["-m", "not first"]}.get(PART, [])]
    # On other versions only plays run whose result may differ there.
    others = {"first": [FIRST_ON_OLDEST], "rest": [*folders, "-m", "core", f"--ignore={FIRST_ON_OLDEST}"]}
    return others.get(PART, [*folders, "-m", "core"])


for core in reversed(ALL_CORES):
    add_integration(core)


def add_awx(core: str) -> None:
    """Add the session of AWX's jobs on this version of ansible-core."""

    python = CORE_PYTHONS[core] or False

    @nox.session(name=f"awx-{core}", python=python, tags=tags_of(core, "awx"), allow_parallel=True)
    def awx(session: nox.Session) -> None:
        """Run AWX's jobs by its engine ansible-runner, against the simulated API."""
        install(session, ansible_core(session, core), "tests/requirements.txt", "tests/awx/requirements.txt")
        # Expensive tests, and those that do not depend on ansible-core, run on the newest version only. Each version
        # sets AWX up once.
        others = ["--deselect", ANOTHER_SET_UP] if PART and CORE_PYTHONS[IN_TEST[0]] else []
        marks = others if core == NEWEST_CORE else ["-m", "core"]
        command = ["pytest", "--numprocesses=2", "--dist=worksteal", "--durations=5", "tests/awx", *marks]
        session.run(*command, *session.posargs, env={**environment(), "AWX_COLLECTIONS": str(BUILD / "awx")})
        if core == NEWEST_CORE:  # in this environment the tests of AWX can be collected
            session.run("python", "tests/tools/count_guarantees.py", "--check", env=environment())


for core in reversed(AWX_CORES):
    add_awx(core)


def add_sanity(core: str) -> None:
    """Add the session that runs this version's ansible-test sanity."""

    python, tags = CORE_PYTHONS[core] or False, tags_of(core, "sanity", first=(NEWEST_CORE,))

    @nox.session(name=f"sanity-{core}", python=python, tags=tags, allow_parallel=True)
    def sanity(session: nox.Session) -> None:
        """Run all sanity tests of ansible-test, on every Python found."""
        install(session, ansible_core(session, core))
        home = make_home(session)
        session.run("python", "tests/tools/get_pip.py", home)
        session.chdir(copy_checkout(session.name))
        session.run("git", "init", "--quiet", external=True)  # the repository around it ignores this folder
        # ansible-test takes a pyenv shim for a Python even if none is behind it.
        rest = [folder for folder in os.environ["PATH"].split(os.pathsep) if Path(folder).name != "shims"]
        pythons = [str(Path(python).parent) for python in PYTHONS.values()]
        env = {"HOME": home, "PATH": os.pathsep.join([*session.bin_paths, *pythons, *rest])}
        if not shutil.which("shellcheck", path=env["PATH"]):
            note_skipped("the sanity test shellcheck: needs shellcheck: apt-get install shellcheck")
        for version in FOUND.keys() - PYTHONS.keys():
            note_skipped(f"the sanity tests import and compile on Python {version}: needs python{version}")
        for words in sanity_of(core):
            session.run("ansible-test", "sanity", "--local", *words, *session.posargs, env=env)


def python_of(core: str) -> str | None:
    """Return the version of Python on which the tests of this version of ansible-core run; None if there is none."""
    return next((version for version in ALL_CORES[core] if version in PYTHONS), None)


def sanity_of(core: str) -> list[list[str]]:
    """Return the options of each run of ansible-test in this part of the tests on this version."""
    own = python_of(core)
    assert own
    # Tests of style run on the newest version only, after lint, since they install their own tools.
    names = ("changelog", "pep8", "pylint", "yamllint")
    no_style = [word for name in names for word in ("--skip-test", name)]
    style = [word for name in names for word in ("--test", name)]
    if not PART:
        return [[]]
    if core != NEWEST_CORE:
        return [[*no_style, "--python", own]]
    if PART == "first":
        # The test imports each file separately. Here module_utils is only imported by its users; `make rest` imports
        # each of its files.
        words, smaller = ["--exclude", "tests/", "--python", own], ["--exclude", "plugins/module_utils/"]
        return [[*no_style, "--skip-test", "import", *words], ["--test", "import", *smaller, *words]]
    # pylint takes longer than the others. Only `make sanity` runs it on the tests, which ruff and mypy also check.
    style += ["--exclude", "tests/", "--python", own]
    tests = ["--skip-test", "pylint", "--python", own, "tests/"]
    # The oldest ansible-core imports each file on its own Python, and this session on the others, if there are any.
    taken = python_of(IN_TEST[0])
    others = [each for each in PYTHONS if each not in (own, taken)] or [own] * (taken in (own, None))
    return [style, tests, *(["--test", "import", "--test", "compile", "--python", other] for other in others)]


for core in reversed(SANITY_CORES):
    add_sanity(core)


def add_unit(core: str) -> None:
    """Add the session of the unit tests on this version of ansible-core."""

    python, newest = CORE_PYTHONS[core] or False, core == NEWEST_CORE

    @nox.session(
        name=f"unit-{core}", python=python, tags=tags_of(core, "unit", first=(NEWEST_CORE,)), allow_parallel=True
    )
    def unit(session: nox.Session) -> None:
        """Run the unit tests."""
        install(session, ansible_core(session, core), "tests/requirements.txt", "tests/unit/requirements.txt")
        # Next to other sessions it has two processes, since a third one would only repeat the collection, and no report
        # of coverage.
        spread = ["--numprocesses=2" if session.parallel else "--numprocesses=auto"]
        is_whole = newest and not session.parallel and not session.posargs
        coverage = ["--cov", "--cov-report=term"] if is_whole else []
        # Collecting all tests takes longer than running a few, so named files are collected alone.
        named = any(Path(word.partition("::")[0]).exists() for word in session.posargs)
        tests = () if named else units_of(core)
        session.run("pytest", *spread, *coverage, *tests, *session.posargs, env=environment())
        # In this environment the unit tests can be counted. A unit test checks the names of tests in CONTRIBUTING.md.
        if newest and PART != "first" and not session.posargs:
            session.run("python", "tests/tools/count_guarantees.py", "--check", env=environment())


def units_of(core: str) -> list[str]:
    """Return the arguments of pytest for the unit tests in this part of the tests on this version."""
    files = [file for name in WORLDS for file in sorted((ROOT / "tests" / "unit").rglob(name))]
    alone = [OF_SIMULATOR, *(str(file.relative_to(ROOT)) for file in files)]
    if core == NEWEST_CORE:
        others = ["tests/unit", *(f"--ignore={name}" for name in alone)]
        return {"first": others, "rest": alone}.get(PART, ["tests/unit"])
    return [*OF_CORE, *SAME_ON_ALL] if PART else ["tests/unit"]


for core in reversed(ALL_CORES):
    add_unit(core)


@nox.session(python=CORE_PYTHONS[NEWEST_CORE], tags=["first"], allow_parallel=True)
def lint(session: nox.Session) -> None:
    """Check style, types, documentation and changelog. With -- --fix, repair the style instead."""
    install(session, "tests/requirements-lint.txt")
    checks = [
        "ruff check .",
        "ruff format --check .",
        "mypy",
        "mypy tests/attacks",
        "yamllint --strict .",
        "python tests/tools/prepared.py ansible-lint --offline --profile production",
        "antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs=all"
        " --disallow-unknown-collection-refs .",
        "antsibull-changelog lint",
    ]
    failed = []
    for command in ["ruff check --fix .", "ruff format ."] if "--fix" in session.posargs else checks:
        try:
            session.run(*command.split(), env={**environment(), "HOME": make_home(session)})
        except nox.command.CommandFailed:
            failed.append(command)
    if failed:
        session.error(f"these found something: {'; '.join(failed)}")


@nox.session(python=CORE_PYTHONS[NEWEST_CORE] or False)
def nightly(session: nox.Session) -> None:
    """Run random worlds, properties and controllers for an hour, or for -- MINUTES. A failure names its seed."""
    core, lists = ansible_core(session, NEWEST_CORE), ("integration/requirements.txt", "unit/requirements.txt")
    install(session, core, "tests/requirements.txt", *(f"tests/{name}" for name in lists))
    (minutes,) = session.posargs or ("60",)
    end, worlds = time.monotonic() + 60 * float(minutes), 2 * (os.cpu_count() or 1)
    seed = int(os.environ.get("SUPPLY_TEST_SEED") or time.time())
    while time.monotonic() < end:
        seeds = {"SUPPLY_TEST_SEED": str(seed), "SUPPLY_TEST_WORLDS": str(worlds), "SUPPLY_TEST_ROUNDS": str(worlds)}
        # A purchase takes twice as long as in `make test-all`.
        env = {**environment(), **seeds, "SUPPLY_TEST_POST": "2"}
        spread = ["--numprocesses=auto", "--dist=worksteal"]
        session.run("pytest", *spread, "tests/attacks/test_random.py", env=env)
        session.run("pytest", *spread, "tests/integration/test_at_once.py", "-k", "six_machines", env=env)
        # The other sessions try the same examples each time.
        drawn = ["-m", "hypothesis", f"--hypothesis-seed={seed}"]
        session.run("pytest", *spread, *drawn, "tests/unit", env={**env, "SUPPLY_TEST_PROFILE": "nightly"})
        seed += worlds


@nox.session(python=CORE_PYTHONS[NEWEST_CORE] or False, tags=["rest"], allow_parallel=True)
def docs(session: nox.Session) -> None:
    """Build the documentation site in .build/docs/html: the Markdown of the repository, and the generated reference.

    Then check its links, and open pages in a browser, if there is one; -- FOLDER keeps pictures of them.
    """
    install(session, ansible_core(session, NEWEST_CORE), "tests/requirements-docs.txt")
    source = copy_checkout("docs")
    env = {**environment(), "ANSIBLE_COLLECTIONS_PATH": str(BUILD / "docs"), "HOME": make_home(session)}
    reference = ["--use-current", "--squash-hierarchy", "--fail-on-error", "--dest-dir", str(source / "reference")]
    (source / "reference").mkdir(mode=0o755)
    session.run("antsibull-docs", "collection", *reference, "compute_index.supply", env=env)
    shutil.rmtree(BUILD / "docs" / "html", ignore_errors=True)
    options = ["--fresh-env", "--fail-on-warning", "--keep-going", "--quiet", "--conf-dir", str(source / "docs/site")]
    folders = ["--doctree-dir", str(BUILD / "docs" / "doctrees"), str(source), str(BUILD / "docs" / "html")]
    session.run("sphinx-build", *options, *folders, env=env)
    # The pages as Markdown, next to the HTML pages, and llms.txt
    session.run("sphinx-build", "--builder", "markdown", *options[1:], *folders, env=env)
    session.run("python", "docs/site/check_links.py", str(BUILD / "docs" / "html"))
    session.run("python", "docs/site/check_pages.py", str(BUILD / "docs" / "html"), *session.posargs)


def build_tarball(session: nox.Session, galaxy: str, folder: str = "dist") -> Path:
    """Build the tarball in a folder of .build with this ansible-galaxy, and return its path."""
    shutil.rmtree(BUILD / folder, ignore_errors=True)
    options = ["--output-path", str(BUILD / folder), str(copy_checkout("tarball"))]
    session.run(galaxy, "collection", "build", *options, external=True)
    return next((BUILD / folder).glob("*.tar.gz"))


def run_benchmark(session: nox.Session, core: str, *arguments: str) -> None:
    """Run the benchmark on this version of ansible-core."""
    install(session, ansible_core(session, core), "tests/requirements.txt", "tests/benchmark/requirements.txt")
    session.run("python", "-m", "benchmark", *arguments, env=environment())


@nox.session(python=CORE_PYTHONS[NEWEST_CORE] or False)
def benchmark(session: nox.Session) -> None:
    """Measure the cost of tasks, plays and inventories, compared with others."""
    run_benchmark(session, NEWEST_CORE, *session.posargs)


@nox.session(name=f"benchmark-{IN_TEST[0]}", python=CORE_PYTHONS[IN_TEST[0]] or False)
def benchmark_oldest(session: nox.Session) -> None:
    """Run the benchmark on the oldest version, for the cost of a host in a large fleet there."""
    run_benchmark(session, IN_TEST[0], *session.posargs)


@nox.session(name="benchmark-small", python=CORE_PYTHONS[NEWEST_CORE] or False, tags=["nightly"], allow_parallel=True)
def benchmark_small(session: nox.Session) -> None:
    """Check that the benchmark runs. Its figures mean nothing."""
    run_benchmark(session, NEWEST_CORE, "--small")


@nox.session(python=False)
def build(session: nox.Session) -> None:
    """Build the tarball in .build/dist, with the ansible-core installed next to nox."""
    build_tarball(session, str(Path(sys.executable).with_name("ansible-galaxy")))


@nox.session(python=CORE_PYTHONS[NEWEST_CORE] or False, tags=["rest"], allow_parallel=True)
def release(session: nox.Session) -> None:
    """Build the tarball, install it into an empty place, run the demo from there, and Galaxy's checks of uploads."""
    install(session, ansible_core(session, NEWEST_CORE), "tests/requirements.txt", "tests/requirements-release.txt")
    place = BUILD / "release"
    shutil.rmtree(place, ignore_errors=True)
    # Only the installed collection can be found, and no file of the user's home.
    env = {**environment(), "ANSIBLE_COLLECTIONS_PATH": str(place), "PYTHONPATH": str(ROOT / "tests")}
    home = make_home(session)
    env |= {"HOME": home, "ANSIBLE_HOME": f"{home}/.ansible"}
    tarball = build_tarball(session, "ansible-galaxy")
    session.run("ansible-galaxy", "collection", "install", "--offline", "-p", str(place), str(tarball), env=env)
    session.run("ansible-galaxy", "collection", "verify", "--offline", "compute_index.supply", env=env)
    session.run("python", "tests/demo/demo.py", env=env)
    session.run("pytest", "tests/release", env={**env, "SUPPLY_TARBALL": str(tarball)})
    # Its ansible-lint takes as long as everything else here, and checks less than the session lint.
    check_upload(session, tarball, {**env, "GALAXY_IMPORTER_RUN_ANSIBLE_LINT": str(not PART).lower()})
    # In the user's own home, which has the keys of gpg.
    session.run("python", str(ROOT / "tests" / "tools" / "provenance.py"), str(tarball))


def check_upload(session: nox.Session, tarball: Path, env: dict[str, str | None]) -> None:
    """Run Galaxy's checks of uploads, which leave a file where they run, and fail at whatever they complain of."""
    env |= {"GALAXY_IMPORTER_CHECK_REQUIRED_TAGS": "true", "GALAXY_IMPORTER_REQUIRE_V1_OR_GREATER": "true"}
    session.chdir(session.create_tmp())
    output = session.run("python", "-m", "galaxy_importer.main", str(tarball), env=env, silent=True, log=False)
    print(output)
    # ansible-lint takes the template in the name of an imported playbook for a file's name. Ansible does not. And on a
    # busy machine it takes more than the 180 seconds that Galaxy gives; the session lint runs it without a limit.
    harmless = re.compile(r"Failed to find parts/\{\{ .* playbook\.$|Timeout on call to ansible-lint$")
    complaints = [line for line in output.splitlines() if line.startswith(("WARNING", "ERROR"))]
    if complaints := [line for line in complaints if not harmless.search(line)]:
        session.error(f"galaxy-importer complains: {complaints}")


@nox.session(python=CORE_PYTHONS["2.18"] or False)
def certification(session: nox.Session) -> None:
    """Run the checks of uploads in the versions that Red Hat's certification of partners has pinned."""
    install(session, ansible_core(session, "2.18"), "tests/requirements-certification.txt")
    home = make_home(session)
    # What the session release has signed stays where it is.
    tarball = build_tarball(session, "ansible-galaxy", "certification")
    check_upload(session, tarball, {**environment(), "HOME": home, "ANSIBLE_HOME": f"{home}/.ansible"})
