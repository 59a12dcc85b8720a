# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetches the results of a run part by part: the module packs a part, the plugin fetches and checks it."""

from __future__ import annotations

import os
import shutil
import time
import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.common.text.converters import to_text
from ansible_collections.compute_index.supply.plugins.module_utils import _spec
from ansible_collections.compute_index.supply.plugins.module_utils._machine import code_files, results
from ansible_collections.compute_index.supply.plugins.module_utils._provision import running
from ansible_collections.compute_index.supply.plugins.module_utils._text import plural
from ansible_collections.compute_index.supply.plugins.plugin_utils._results_home import Home, alone, is_run_over
from ansible_collections.compute_index.supply.plugins.plugin_utils._task import (
    QUIET,
    MachineAction,
    checked_answer,
    ending_child_processes,
    limit_connection_attempts,
    temporary_folder,
)

TRIES = 3  # attempts for each request to the machine
PAUSE = 5.0  # seconds between two attempts
PATIENCE = running.PATIENCE  # seconds for which a machine may be unreachable

Answer = t.TypeVar("Answer")
Variables = t.Optional[dict[str, t.Any]]


class ActionModule(MachineAction):
    """The action plugin; Ansible finds it by the name of this class."""

    _supports_check_mode = False

    def run(self, tmp: str | None = None, task_vars: Variables = None) -> dict[str, t.Any]:
        """Fetch the results. The result is never "unreachable", which would remove the host from the play."""
        super().run(tmp, task_vars)
        _checked, self._options = self.validate_argument_spec(_spec.RUN_RESULTS)
        self._dest = os.path.abspath(str(self._options["dest"]))
        self._variables, self._home = task_vars, t.cast("Home | None", None)
        limit_connection_attempts(self._connection)
        with ending_child_processes(), temporary_folder() as folder:
            try:
                with alone(self._dest, self._wait):
                    self._bring(folder)
            except (AnsibleError, ValueError, OSError) as error:
                fault = f"{to_text(error).rstrip('.')}."
                kept = " What has arrived is kept; run the task again to go on." if self._home is not None else ""
                msg = f"The results are not complete: {fault}{kept}"
                return {**_result(self._home), "failed": True, "complete": False, "fault": fault, "msg": msg}
            return {**_result(self._home), "fault": "", "msg": _report(t.cast(Home, self._home), self._dest)}

    def _bring(self, folder: str) -> None:
        home = self._home = Home(self._dest, self._ask(list=True))
        _check_room(self._dest, home.bytes_left)
        into: str = self._repeated(self._make_tmp_path)
        source, place = f"{into.rstrip('/')}/{results.PART}", os.path.join(folder, "part")
        whole = home.bytes_left
        while part := home.next_part(max(1, self._options["part_size"])):
            answer = self._ask(into=into, wanted=part)
            self._fetch(source, place, answer["sha256"])
            home.receive(place, part, answer["unusable"])
            if self.progress.passed - self.progress.shown_at >= QUIET:  # a part may take only a second
                self.progress.show(f"{_size(whole - home.bytes_left)} of {_size(whole)} of the results are here.")
            self.pause(0)
        home.finish()

    def _wait(self) -> None:
        self.progress.show("Another command is fetching these results; this one waits.")
        self.pause(1)

    def _ask(self, **step: t.Any) -> dict[str, t.Any]:
        arguments = {**self._options, "step": step}
        return self._repeated(
            lambda: checked_answer(self._execute_module(module_args=arguments, task_vars=self._variables))
        )

    def _fetch(self, source: str, place: str, sha256: str) -> None:
        """Fetch a part from the machine to the path ``place``. Raises AnsibleError if it is damaged."""

        def fetch() -> None:
            self._connection.fetch_file(source, place)
            with open(place, "rb") as file:
                if code_files.sha256_of(file) != sha256:
                    raise AnsibleError("A part of the results was damaged on its way. Run the task again.")

        self._repeated(fetch)

    def _repeated(self, request: t.Callable[[], Answer]) -> Answer:
        """Make a request, and repeat it if it fails. Raises the last AnsibleError.

        If the network is down, it waits for `PATIENCE`, since the machine only stays for its results.
        """
        tries, began = 1, time.monotonic()
        while True:
            try:
                return request()
            except AnsibleError as error:
                is_cut = isinstance(error, AnsibleConnectionFailure)
                if is_cut and is_run_over(self._dest):
                    raise
                if time.monotonic() - began >= PATIENCE if is_cut else tries >= TRIES:
                    raise
                if is_cut:
                    silent = "the machine does not answer (its results wait there)."
                    self.progress.show(f"{silent} {running.OR_ENDED}", urgent=True)
            tries += 1
            self.pause(PAUSE)
            if self._connection.transport == "ssh":
                self._connection.reset()  # the old shared connection may be dead


def _check_room(dest: str, wanted: int) -> None:
    """Raise ValueError if the disk of ``dest`` has no room for this number of bytes."""
    free = shutil.disk_usage(dest).free
    if wanted > free:
        raise ValueError(f"The results need {_size(wanted)} more, but the disk of {dest} only has {_size(free)} free.")


def _size(number: int) -> str:
    """A number of bytes for people."""
    amount = float(number)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


_BLANK = {"changed": False, "complete": False, "files": 0, "bytes": 0, "missing": [], "incomplete": []}


def _result(home: Home | None) -> dict[str, t.Any]:
    return {name: getattr(home, name, blank) for name, blank in _BLANK.items()}


def _report(home: Home, dest: str) -> str:
    """A sentence about the files that have arrived."""
    here = f"{plural(home.files, 'file')} and the log are in {dest}"
    if home.complete:
        return f"{here}; nothing is missing."
    more = f", and {len(home.incomplete) - 1} more" if len(home.incomplete) > 1 else ""
    return f"{here}, but they are incomplete: {': '.join(filter(None, home.incomplete[0].values()))}{more}."
