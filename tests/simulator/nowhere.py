# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines without a login, which start at once."""

from __future__ import annotations

from pathlib import Path

from .instances import NO_PROGRAMS, Programs
from .market import Address


class Nowhere:
    """Machines that are only addresses."""

    async def start(
        self, resource_id: str, ssh_public_key: str, cloud_init: str | None, programs: Programs = NO_PROGRAMS
    ) -> Address:
        return Address("192.0.2.1", 22)

    async def stop(self, resource_id: str) -> None:
        """There is nothing to end."""

    async def close(self) -> None:
        """There is nothing to end."""

    def folder(self, resource_id: str) -> Path:
        raise NotImplementedError
