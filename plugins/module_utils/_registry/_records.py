# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of runs: a file next to each run's results. It outlives the machine and the registry entry."""

from __future__ import annotations

import contextlib
import json
import os
import typing as t

from .._provision.run_record import check_record
from ._files import as_registry_error, reason_of, write_durably
from ._protocol import RegistryError

RECORD = "run.json"


class RecordFolder:
    """The folder of a run's results, an absolute path."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._unwritable = f"The results cannot be kept in {path} (run_results_dir)"

    def read(self) -> dict[str, t.Any]:
        """The record of the run, empty if there is none. Raises RegistryError."""
        file = os.path.join(self.path, RECORD)
        try:
            with open(file, encoding="utf-8") as opened:
                return check_record(json.load(opened))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise RegistryError(
                f"{file}, the record of this run, cannot be read ({reason_of(error)})."
                " Correct it, move it away, or choose another run_name."  # so that nothing runs twice
            ) from None

    def write(self, record: t.Mapping[str, t.Any]) -> None:
        """Write how far the run has come, durably. Raises RegistryError."""
        with as_registry_error(self._unwritable):
            os.makedirs(self.path, exist_ok=True)
            # Neither a repository nor the next run takes results for code.
            write_durably(os.path.join(self.path, ".gitignore"), "*\n")
            write_durably(os.path.join(self.path, RECORD), f"{json.dumps(record, indent=2)}\n")

    def set_aside(self) -> None:
        """Move the results of an earlier, finished run to a folder such as ``train.1``. Raises RegistryError."""
        number = 1
        while os.path.lexists(f"{self.path}.{number}"):
            number += 1
        with as_registry_error(self._unwritable), contextlib.suppress(FileNotFoundError):
            os.rename(self.path, f"{self.path}.{number}")


def records_in(folder: str) -> tuple[list[dict[str, t.Any]], list[str]]:
    """The records of all runs with results in a folder, and a sentence for each one that cannot be read."""
    found, unreadable = [], []
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = sorted(os.listdir(folder))
    for name in names:
        try:
            found.append({"folder": name, **RecordFolder(os.path.join(folder, name)).read()})
        except RegistryError as error:
            unreadable.append(str(error))
    return [record for record in found if "phase" in record], unreadable
