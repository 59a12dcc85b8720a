# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host in the registry that several controllers share, for this run.

This module util is private to the collection.
"""

from __future__ import annotations

import getpass
import os
import platform
import uuid

from .. import _http
from .._registry import _postgresql
from .._registry._postgresql import Ceilings, Database
from .._registry._protocol import RegistryError
from .._registry._shared import SharedHost


def shared_registry(
    url: str, project: str, host: str, api_url: str, total: float | None, account_total: float | None
) -> SharedHost:
    """The memory of the host, with the ceilings of the project and of the account (USD per hour). Raises RegistryError.

    An account is named after the API that bills it, since a token may be replaced.
    """
    if not host:
        raise RegistryError("registry_url needs the name of the host: set host or resource_name.")
    run = str(uuid.uuid4())
    database = Database(
        url,
        {**_who(), "run": run},
        hold=_postgresql.HOLD,
        patience=_postgresql.PATIENCE,
        facts_patience=_postgresql.FACTS_PATIENCE,
    )
    account = _http.check_base_url(api_url)
    return SharedHost(database, project, host, account, run=run, ceilings=Ceilings(total, account_total))


def _who() -> dict[str, str]:
    """What tells a person which run this is."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        user = str(os.getuid())
    who = {"host": platform.node(), "user": user}
    # AWX sets both for its jobs.
    if os.environ.get("AWX_HOST") and os.environ.get("JOB_ID"):
        who["job"] = os.environ["JOB_ID"]
    return who
