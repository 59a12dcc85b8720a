# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tasks of a play have asked of the API and were answered, in a file, for who looks at a purchase from beside.

The playbook ``probe`` gives a play its environment variable and reads the file afterwards. No part of what a task
does depends on it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import typing as t

from .client import without_user_data
from .http import Answer, Observer

LOG = "COMPUTE_INDEX_PROBE_LOG"  # the environment variable: the file


def recording_observer(file: str, redact: t.Callable[[str], str]) -> Observer:
    """Who appends each exchange to the file, as a line. What cannot be written is left out: it is only told of."""

    def observe(method: str, path: str, query: t.Mapping[str, str] | None, at: float, answer: Answer | None) -> None:
        last = answer or Answer(0, False, None)
        line = {
            **{"method": method, "path": path, "query": dict(query or {}), "at": at, "seconds": time.time() - at},
            **{"status": last.status or None, "is_json": last.is_json, "data": without_user_data(last.data)},
            **{"ahead": last.ahead, "retry_after": last.retry_after},
        }
        with contextlib.suppress(OSError, ValueError, RecursionError):
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                # One write, since several tasks and threads do it at once.
                os.write(handle, f"{redact(json.dumps(line))}\n".encode())
            finally:
                os.close(handle)

    return observe


def recorded_exchanges(file: str) -> list[dict[str, t.Any]]:
    """What was written, in its order; nothing where there is no file. A line that is cut off is passed over."""
    result = []
    with contextlib.suppress(OSError), open(file, encoding="utf-8") as log:
        for line in log:
            with contextlib.suppress(ValueError):
                result.append(json.loads(line))
    return result
