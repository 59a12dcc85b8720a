# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file of all requests that a play's tasks have sent to the API, and of their answers.

The playbook ``probe`` sets the environment variable for a play, and reads the file afterwards. Tasks do not depend on
it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
import typing as t

from .client import without_user_data
from .http import Answer, Observer

LOG = "COMPUTE_INDEX_PROBE_LOG"  # the environment variable: the file


def recording_observer(file: str, redact: t.Callable[[str], str]) -> Observer:
    """An observer that appends each exchange to the file, as a line. An exchange that cannot be written is left out."""
    private = functools.partial(os.open, mode=0o600)

    def observe(method: str, path: str, query: t.Mapping[str, str] | None, at: float, answer: Answer | None) -> None:
        last = answer or Answer(0, False, None)
        line = {
            **{"method": method, "path": path, "query": dict(query or {}), "at": at, "seconds": time.time() - at},
            **{"status": last.status or None, "is_json": last.is_json, "data": without_user_data(last.data)},
            **{"ahead": last.ahead, "retry_after": last.retry_after},
        }
        # Without a buffer, so that it is a single write: several tasks and threads write at once.
        with contextlib.suppress(OSError, ValueError, RecursionError), open(file, "ab", 0, opener=private) as log:
            log.write(f"{redact(json.dumps(line))}\n".encode())

    return observe


def recorded_exchanges(file: str) -> list[dict[str, t.Any]]:
    """The recorded exchanges in their order; none without a file. Lines that are cut off are skipped."""
    result = []
    with contextlib.suppress(OSError), open(file, encoding="utf-8") as log:
        for line in log:
            with contextlib.suppress(ValueError):
                result.append(json.loads(line))
    return result
