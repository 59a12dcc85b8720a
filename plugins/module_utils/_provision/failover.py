# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows an attempt: the machine is registered, the next offer is tried, it is given back, or the host stops.

This is the rule to change for another way of failing over: one function, a table in its test.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from .. import _states
from .._text import QUOTA, is_quota

# Failures that are the offer's: another one may fare better. All others would be the next offer's, too. A quota may be
# the account's or the vendor's, so after one only the offers of other vendors are tried.
OF_THE_OFFER = frozenset({"not_found", "conflict", "expired", QUOTA})
# Outcomes of a purchase that was answered with yes; empty where it was made before this run.
BOUGHT = ("created", "existing", "")


def class_of(reason: str | None) -> str:
    """The error class of an offer that was not sold or has failed, by the API's reason."""
    return QUOTA if is_quota(reason) else "conflict"


class Verdict(enum.Enum):
    """What becomes of the host."""

    READY = "ready"
    AGAIN = "again"  # nothing is left of this attempt, and another offer may be tried
    RELEASE = "release"  # end what was bought; then the attempt is judged once more
    STOP = "stop"


@dataclass(frozen=True)
class Attempt:
    """How an attempt at one offer has gone.

    ``outcome``: what procure_offer answered; empty if the host had its purchase before. ``phase``: the offer's, as last
    seen; empty if nobody looked. ``billed``: something of it is or may be billed. ``wanted``: the user named this very
    offer. ``unused``: this purchase never had a machine that was registered as ready. ``attempts_left``: offers that
    may still be tried. ``unclear``: the API names machines as bought by it that cannot be, or that it does not show, or
    another purchase has machines of this name, too. ``overtaken``: by the registry, somebody has ended it meanwhile, or
    has begun to, or another run has bought for the host.
    """

    outcome: str
    error_class: str = ""
    phase: str = ""
    ready: bool = False
    billed: bool = False
    wanted: bool = False
    unused: bool = True
    released: bool = False
    release: bool = False
    attempts_left: int = 0
    unclear: bool = False
    unsound: bool = False  # its machine did not pass its test
    overtaken: bool = False

    @property
    def is_left(self) -> bool:
        """Whether something of it is or may be billed, and was not ended again."""
        return self.billed and not self.released


def what_follows(attempt: Attempt) -> Verdict:
    """The verdict. Whatever may be billed is never replaced by another offer."""
    if attempt.outcome in ("unknown", "claimed") or attempt.unclear:
        return Verdict.STOP
    if _runs(attempt):
        return Verdict.READY
    if attempt.is_left:
        return Verdict.RELEASE if _gives_back(attempt) else Verdict.STOP
    may_try_another = not (attempt.wanted or attempt.overtaken) and attempt.attempts_left > 0
    return Verdict.AGAIN if may_try_another and _was_the_offers_fault(attempt) else Verdict.STOP


def _runs(attempt: Attempt) -> bool:
    """Whether the machine is the host's and can be used; one of a refused purchase would be somebody else's."""
    return attempt.ready and attempt.outcome in BOUGHT and not attempt.released


def _gives_back(attempt: Attempt) -> bool:
    """Whether what was bought ends again."""
    # Bought for certain, and the last look showed it: one that was refused shows no failed machine.
    is_certain = attempt.outcome == "rejected" or (attempt.outcome in BOUGHT and attempt.phase != "")
    return attempt.release and attempt.unused and is_certain


def _was_the_offers_fault(attempt: Attempt) -> bool:
    if attempt.outcome in ("rejected", "not_sent"):
        return attempt.error_class in OF_THE_OFFER
    return attempt.unsound or attempt.phase == _states.FAILED


def needs_another(attempt: Attempt) -> bool:
    """Whether nothing is left of the attempt, and only another offer or another price can do."""
    gone = _was_the_offers_fault(attempt) or attempt.error_class == "price"
    return gone and leaves_nothing(attempt)


def leaves_nothing(attempt: Attempt) -> bool:
    """Whether the registry may forget the attempt: certainly nothing of it is billed."""
    if attempt.outcome in ("unknown", "claimed") or attempt.unclear or _runs(attempt):
        return False
    return not attempt.is_left
