# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims of purchases from several processes, for tests of the shared registry. It imports little, to start fast."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from ansible_collections.compute_index.supply.plugins.module_utils._registry._postgresql import (
    Ceilings,
    Database,
    Purchase,
)

from limits import HANGS
from samples import OFFER_ID

NO_CEILING = Ceilings()


def holder(name: str) -> dict[str, str]:
    return {"host": "bastion", "user": "alice", "job": "7", "run": name}


def purchase(host: str = "gpu-1", offer: str = OFFER_ID, **fields: Any) -> Purchase:
    values: dict[str, Any] = {
        "claim": str(uuid.uuid4()),
        "project": "default",
        "account": "account",
        "price_per_hour": 2.0,
    }
    return Purchase(**{**values, "host": host, "offer": offer, **fields})


Attempt = Callable[[Database, int], object]


def claim_with_same(same: str, database: Database, number: int) -> None:
    """Claim a purchase. ``same``: what all processes share: the host's ``name``, the ``offer``, or ``both``."""
    host = f"gpu-{number}" if same == "offer" else "gpu-1"
    database.claim(purchase(host, OFFER_ID if same != "name" else str(uuid.uuid4())), NO_CEILING)


def claim_below_ceiling(project: str, database: Database, number: int) -> None:
    """Claim a purchase under a ceiling of the project or of the account, which allows only five of them."""
    wanted = purchase(f"gpu-{number}", str(uuid.uuid4()), project=project, account=project, price_per_hour=1.1)
    database.claim(
        wanted, Ceilings(max_total_price_per_hour=5.5) if number % 2 else Ceilings(max_account_price_per_hour=5.5)
    )


def run_attempt(url: str, attempt: Attempt, number: int, start: Any, answers: Any) -> None:
    """Run one attempt in a process of its own; put ``ok`` or the error into ``answers``."""
    database = Database(url, holder(str(number)))
    start.wait(HANGS)
    try:
        attempt(database, number)
        answers.put("ok")
    except BaseException as error:
        answers.put(f"{type(error).__name__}: {error}")
