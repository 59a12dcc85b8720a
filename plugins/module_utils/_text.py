# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures as people read them. This module util is private to the collection."""

from __future__ import annotations


def amount(price: float) -> str:
    """A sum of USD: at least cents, more digits only where there are any."""
    cents, digits = f"{price:.6f}"[:-4], f"{price:.6f}"[-4:]
    return cents + digits.rstrip("0")


def usd(price: float | None) -> str:
    """A price in a sentence."""
    return "an unknown price" if price is None else f"USD {amount(price)} per hour"
