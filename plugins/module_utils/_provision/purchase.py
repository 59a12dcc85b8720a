# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide the next step of a purchase ("bought once"), and what follows once it has succeeded or failed.

Rules of `next_step`, from which every cell of the table in its test follows:

1. An offer can be sold once. So only the same offer is ever sent again, and only while its status says that it is
   unbought.
2. A purchase that was never answered may still be under way, whatever the status says. It blocks the host until the
   offer fails, or has been gone for `LONGEST_POST`. The same holds for a purchase that was put off (429) if the offer
   is gone since: it was more likely sold to this purchase than withdrawn.
3. A machine is ours if the registry noted the purchase as made, or if the machine has our name and a purchase of ours
   was not answered. Without a registry the name is the identity. If every purchase of ours was refused, a machine of
   our name may belong to another project, or come from a gateway that sent the request twice: a person decides. So
   it is with a new machine of our name that names no offer.
4. A machine of another name belongs to someone else, with two exceptions, since not every deployment of the API keeps
   names. If a purchase of ours was not answered, or was refused with a status other than 404, 409 or 410, such as 429,
   the machine may be ours. After a 404, 409 or 410 it may be ours if this account has it, since a gateway may have
   sent the request twice; then only proof makes it another host's: that host has noted it, or the vendor keeps names.
   If no machine appears before `settle_timeout` ends, another customer was faster.
5. A machine that has certainly ended is no longer billed, regardless of its owner.
6. A refusal counts only for the run that still holds the purchase. A run stops if another run has taken its purchase
   over: that run may have bought the offer, and even have ended its machine.

Pure: knows no Ansible, no HTTP, no clock.
"""

from __future__ import annotations

import enum
import typing as t
from dataclasses import dataclass, replace

from .. import _states
from .._text import QUOTA, is_quota
from .entry import Entry
from .ownership import Kind, Machine, OwnershipClaim, id_of, is_named, machines_among, not_gone

# The owner of an offer's machines, by their names
OURS = "ours"
THEIRS = "theirs"
UNSEEN = "unseen"  # no machine shows a name yet
LIKE_OURS = "like ours"  # a machine has our name, but the list does not say with which offer it was bought

NOT_FOUND = "not_found"  # a phase in addition to those of `_states`: the API does not know the offer
PHASE_OF_ERROR = {"not_found": NOT_FOUND, "expired": _states.EXPIRED}  # by error class of the status request
GONE = (_states.EXPIRED, NOT_FOUND)
_BOUGHT = (_states.GOING_ON, _states.READY, _states.ENDED)
# Refusals about the offer: another customer was faster, or a gateway has sent the same request twice. If the offer is
# sold after any other refusal, this very request has more likely bought it than a stranger.
_ABOUT_THE_OFFER = frozenset({404, 409, 410})
PUT_OFF = 429  # "come back later". A 503 says so as well, but is no refusal (`ApiError.refused`)
ANSWERED_NO = 200  # the "status" of a refusal in an answer that looks like a success
_VAGUE = (PUT_OFF, ANSWERED_NO, *_ABOUT_THE_OFFER)  # refusals that only a look confirms; others are about the request
# Seconds for which the purchase of a dead run may be under way at the API: the lifetime of an offer
LONGEST_POST = 1800.0


class Decision(enum.Enum):
    """The next step of a purchase. All but the first two are ends, named after the outcome."""

    SEND = "send"
    LOOK = "look"  # once more, after a pause
    CREATED = "created"
    EXISTING = "existing"
    REJECTED = "rejected"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


class Reason(enum.Enum):
    """Why a purchase ends without a machine."""

    REFUSED = "refused"  # by the API
    TAKEN = "taken"  # by someone else
    FAILED = "failed"
    EXPIRED = "expired"
    NOT_FOUND = "not_found"
    ENDED = "ended"  # bought by anyone, and all of its machines are gone
    UNREADABLE = "unreadable"  # the offer's status or its machines could not be read
    SILENT = "silent"  # sent but not answered, and the API still calls the offer unbought
    LATELY = "lately"  # sent but not answered, and the offer has not been gone for long enough
    UNPROVEN = "unproven"  # bought, but nothing proves by whom
    CONTRADICTED = "contradicted"  # known to be made, but the API denies it
    OVERTAKEN = "overtaken"  # another run has taken the purchase over since it was sent


@dataclass(frozen=True)
class NextStep:
    """A decision; if it ends the purchase without a machine, with the reason."""

    decision: Decision
    reason: Reason | None = None


@dataclass(frozen=True)
class History:
    """The known purchases of this offer for this host.

    by_name: there is no registry, so the name is the identity.
    named: the purchase asks for a name, so names can be compared.
    made: a purchase of ours succeeded, by the registry or its own answer.
    unanswered: a purchase of ours, sent by this or an earlier run, may still be under way, whatever the API shows.
    sends: number of purchases that this run has sent.
    refused: HTTP status of the newest refusal, in this run or noted by an earlier one; of several refusals the one that
        proves least; None without a refusal.
    busy: the newest answer asks to come back later, and this run may.
    may_send: this run may send a purchase, or send it once more.
    gone_long: the offer has been expired or gone for so long that no purchase can still be under way.
    overtaken: this run has sent a purchase and no longer holds it, or cannot find out whether it does.
    doubted: a purchase was refused, but the account has or had machines of the offer, and nothing proves whose.
    """

    by_name: bool = True
    named: bool = True
    made: bool = False
    unanswered: bool = False
    sends: int = 0
    refused: int | None = None
    busy: bool = False
    may_send: bool = True
    gone_long: bool = False
    overtaken: bool = False
    doubted: bool = False

    @property
    def was_sent(self) -> bool:
        """Whether this or an earlier run has sent a purchase."""
        return bool(self.sends or self.unanswered or self.refused)

    @property
    def may_have_bought(self) -> bool:
        """Whether a purchase of ours was sent or made, whatever its outcome."""
        return self.was_sent or self.made

    @property
    def noted_refusal(self) -> int | None:
        """The HTTP status that the registry notes.

        None while an earlier purchase may be under way, or if another run has taken this one over.
        """
        return None if self.unanswered or self.overtaken else self.refused

    @property
    def may_be_ours(self) -> bool:
        """Whether a purchase of ours may have bought an offer that is sold: no answer denies it."""
        return self.unanswered or (self.refused is not None and self.refused not in _ABOUT_THE_OFFER)

    @property
    def may_be_under_way(self) -> bool:
        """Whether a purchase may be under way, or have bought the offer after a 429, which the API may show later."""
        return self.unanswered or self.refused == PUT_OFF

    def noted(self, entry: Entry) -> History:
        """Return the history of a run that has sent nothing yet, with the purchase that an earlier run noted."""
        refused = entry.refused_status if entry.is_open else None
        return replace(self, made=entry.is_made, unanswered=entry.is_unanswered, refused=refused)


@dataclass(frozen=True)
class OfferLook:
    """An offer and its machines, as one look at the API shows them.

    phase: the offer's, a word of `_states` or `NOT_FOUND`; None if it could not be read.
    owner: `OURS`, `THEIRS`, `UNSEEN` or `LIKE_OURS`, by the names of the machines.
    billed: whether machines may be billed; None if they could not be listed.
    listed: the list, or their own pages, show machines of the offer.
    of_others: the machines are proved to be another host's; see `with_other_owners`.
    """

    phase: str | None
    owner: str = UNSEEN
    billed: bool | None = False
    listed: bool = False
    of_others: bool = False

    @property
    def gone(self) -> bool:
        """Whether all listed machines have ended."""
        return self.listed and self.billed is False


_LOOK = NextStep(Decision.LOOK)


def phase_in_words(status: t.Mapping[str, t.Any]) -> str:
    """Return the status of an offer as a clause of a sentence."""
    if status["phase"] == _states.UNBOUGHT:
        return "the API still calls it unbought"
    return f"the API calls it '{status['procurement_status'] or status['status']}'"


def owner_by_name(machines: t.Iterable[Machine], names: t.Collection[str], possible: object = ()) -> str:
    """Return `OURS` if a machine has one of the requested names, `THEIRS` if all named machines have other names.

    ``possible``: the `possible_machines`; if there are any, `LIKE_OURS` takes the place of `THEIRS`.
    """
    named = [machine for machine in machines if machine["name"]]
    if any(_has_name(named, name) for name in names):
        return OURS
    if possible:
        return LIKE_OURS
    return THEIRS if named and names else UNSEEN


def _has_name(machines: t.Iterable[Machine], name: str) -> bool:
    """Whether a machine has the name, or several have it with a number; a single numbered one is another host's."""
    numbered = [item for item in machines if is_named(item, name, numbered=True)]
    return len(numbered) > 1 or any(is_named(item, name) for item in numbered)


def possible_machines(
    history: History,
    offer_id: str,
    resources: t.Iterable[Kind],
    names: t.Collection[str],
    left_out: t.Collection[str],
) -> list[Kind]:
    """Return the machines that a refused purchase may have bought: they have its name, and name no other offer.

    A machine that has ended is most likely an earlier one of this name. ``left_out``: ids of the offer's own machines,
    and ids that were listed before the purchase, so that it cannot have bought them.
    """
    if history.refused not in _VAGUE:
        return []
    new = [item for item in machines_among(resources) if id_of(item) not in left_out]
    named = [item for item in new if item["offer_id"] in (None, offer_id) and owner_by_name([item], names) == OURS]
    return not_gone(named)


def doubts_refusal(history: History, offer_look: OfferLook) -> bool:
    """Whether the account has machines without our name, and only a refusal says that they are not ours."""
    is_ours = history.named and offer_look.owner == OURS
    return _has_machines(offer_look) and not is_ours and history.refused is not None and not history.may_be_ours


def _has_machines(offer_look: OfferLook) -> bool:
    return offer_look.listed and offer_look.billed is not False


def with_other_owners(
    history: History,
    offer_look: OfferLook,
    of_offer: tuple[str, t.Collection[str]],
    noted: t.Callable[[], t.Iterable[OwnershipClaim]],
    account: t.Callable[[], t.Collection[Machine]],
) -> OfferLook:
    """Return the look with ``of_others`` set if the machines, which only a refusal denies to us, are another host's.

    Proof is that a host holds one of them, or has bought the offer, which is sold once. Or the vendor keeps names, as a
    host's machine shows: then these machines have the names under which they were bought.

    of_offer: the id of the offer, and those of its machines.
    noted: returns the claims in registries; called only if they matter.
    account: returns all machines of the account; called only if they matter.
    """
    if not doubts_refusal(history, offer_look):
        return offer_look
    (offer_id, ids), names = of_offer, dict[str, str]()
    for claim in noted():
        if not claim.resource_ids.isdisjoint(ids) or (claim.bought and claim.offer_id == offer_id):
            return replace(offer_look, of_others=True)
        names.update(dict.fromkeys(claim.resource_ids, claim.name))
    is_comparable = bool(names) and offer_look.owner != LIKE_OURS  # our name proves nothing against us
    return replace(offer_look, of_others=is_comparable and _have_kept_names(account(), ids, names))


def _have_kept_names(machines: t.Collection[Machine], ids: t.Collection[str], names: t.Mapping[str, str]) -> bool:
    """Whether all machines with these ids have names, and vendors that keep names.

    ``names``: of other machines by id, as their hosts asked for them. A vendor keeps names if it lists one of these.
    """
    keep_names = {
        machine["vendor"] for machine in machines if is_named(machine, names.get(id_of(machine), ""), numbered=True)
    }
    of_offer = [machine for machine in machines if id_of(machine) in ids]
    return bool(of_offer) and all(item["name"] and item["vendor"] in keep_names for item in of_offer)


def needs_machine_list(history: History, ids: t.Collection[str]) -> bool:
    """Whether the machines of a bought offer must be listed: no id is known, or the names decide who bought it.

    If neither a name nor a registry says who bought it, or only a refusal does, it matters whether this account has any
    of the machines: the status may show ids to everyone.
    """
    is_account_decisive = history.refused is not None or (history.by_name and not history.was_sent)
    return not ids or ((history.named or is_account_decisive) and not history.made)


def list_must_confirm(history: History, phase: str | None) -> bool:
    """Whether only a list of machines can confirm a refusal: the status, which may lag, says unbought or gone."""
    is_refused = history.refused is not None and not (history.unanswered or history.made)
    return is_refused and phase in (_states.UNBOUGHT, *GONE)


def confirmed_phase(phase: str | None, error: object | None) -> str | None:
    """Return the phase, or None if an ``error`` kept the machines from being listed.

    A list that could not be read completely confirms no refusal.
    """
    return phase if error is None else None


def needs_time_gone(history: History, phase: str | None) -> bool:
    """Whether the next step depends on how long the offer has been gone."""
    return phase in GONE and history.may_be_under_way and not history.overtaken


def after_look(history: History, offer_look: OfferLook) -> History:
    """Return the history, doubted from now on if a look shows machines of a refused offer: a later look may not."""
    is_doubtful = _has_machines(offer_look) and not offer_look.of_others and history.refused is not None
    return replace(history, doubted=True) if is_doubtful else history


def next_step(history: History, offer_look: OfferLook, may_wait: bool) -> NextStep:
    """Return the next step. ``may_wait``: whether there is time for another look."""
    step = _step_of_holder(history, offer_look, may_wait)
    if step.decision is Decision.REJECTED and history.doubted and not offer_look.listed:
        step = _wait_or_unknown(may_wait, Reason.UNPROVEN)
    return unless_overtaken(history, step)


def unless_overtaken(history: History, step: NextStep) -> NextStep:
    """Return the step, or UNKNOWN if the run no longer holds the purchase and would send again or free the host."""
    goes_on = step.decision in (Decision.LOOK, Decision.CREATED, Decision.EXISTING)
    return step if goes_on or not history.overtaken else NextStep(Decision.UNKNOWN, Reason.OVERTAKEN)


def _step_of_holder(history: History, offer_look: OfferLook, may_wait: bool) -> NextStep:
    """The next step of a run that still holds the purchase."""
    if offer_look.phase is None:
        return _unreadable(history, may_wait)
    if offer_look.phase in _BOUGHT or (
        list_must_confirm(history, offer_look.phase) and offer_look.listed and offer_look.billed
    ):
        return _bought(history, offer_look, may_wait)
    if offer_look.phase == _states.FAILED:
        return _failed(history, offer_look, may_wait)
    if history.made:
        return _wait_or_unknown(may_wait, Reason.CONTRADICTED)
    if offer_look.phase == _states.UNBOUGHT:
        return _unbought(history, may_wait)
    return _gone(history, Reason.EXPIRED if offer_look.phase == _states.EXPIRED else Reason.NOT_FOUND, may_wait)


def _wait_or_unknown(may_wait: bool, reason: Reason) -> NextStep:
    """Another look if there is time, else an unknown outcome."""
    return _LOOK if may_wait else NextStep(Decision.UNKNOWN, reason)


def _over(history: History, reason: Reason) -> NextStep:
    """The end of a purchase that brought no machine."""
    return NextStep(Decision.REJECTED if history.was_sent else Decision.NOT_SENT, reason)


def _unreadable(history: History, may_wait: bool) -> NextStep:
    if not history.may_have_bought:
        return NextStep(Decision.NOT_SENT, Reason.UNREADABLE)
    is_clear = history.refused not in (None, *_VAGUE)  # such as a token without any permission
    if is_clear and not (may_wait or history.unanswered or history.made):
        return NextStep(Decision.REJECTED, Reason.REFUSED)
    return _wait_or_unknown(may_wait, Reason.UNREADABLE)


def _bought(history: History, offer_look: OfferLook, may_wait: bool) -> NextStep:
    if not (history.made or _is_ours(history, offer_look)):
        return _step_by_owner(history, offer_look, may_wait)
    return NextStep(Decision.CREATED if history.sends and history.may_be_ours else Decision.EXISTING)


def _failed(history: History, offer_look: OfferLook, may_wait: bool) -> NextStep:
    """The step after a failed offer: as with a running one, the owner of its remaining machines decides."""
    if offer_look.billed is None and history.may_have_bought:
        return _wait_or_unknown(may_wait, Reason.UNREADABLE)
    if not offer_look.billed or history.made or _is_ours(history, offer_look):
        return _over(history, Reason.FAILED)
    return _step_by_owner(history, offer_look, may_wait)


def _is_ours(history: History, offer_look: OfferLook) -> bool:
    """Whether the name proves that the machines are ours: rules 2 and 3."""
    # While an offer is being provisioned, its machine may not be listed yet.
    has_any = bool(offer_look.billed) if history.was_sent else offer_look.listed or offer_look.phase != _states.READY
    is_named_ours = offer_look.owner == OURS if history.named else has_any
    # With neither a registry nor a name, a machine may be anyone's after a refusal.
    is_identity = history.by_name and (history.named or history.refused is None)
    return is_named_ours and (is_identity or history.unanswered or history.refused == ANSWERED_NO)


def _step_by_owner(history: History, offer_look: OfferLook, may_wait: bool) -> NextStep:
    """The next step if machines are not proved to be ours: rules 3 to 5."""
    if offer_look.gone:
        return _over(history, Reason.ENDED)
    owner = offer_look.owner if history.named else UNSEEN
    is_doubtful = doubts_refusal(history, offer_look) and not offer_look.of_others
    is_anonymous = history.by_name and not (history.named or offer_look.of_others)
    is_unknown = owner == UNSEEN and (offer_look.billed is None or is_anonymous)
    if owner == OURS or history.may_be_ours or is_doubtful or is_unknown:
        return _wait_or_unknown(may_wait, Reason.UNPROVEN)
    # If nothing was sent, no machine can be ours; without a registry, an earlier run may have sent a purchase.
    waits = owner == UNSEEN and (history.was_sent or history.by_name)
    return _LOOK if may_wait and waits else _over(history, Reason.TAKEN)


def _unbought(history: History, may_wait: bool) -> NextStep:
    if history.may_send and (history.busy or not history.was_sent):
        return NextStep(Decision.SEND)
    if not history.unanswered:
        return _refused(history, may_wait)
    if history.may_send and history.refused is None and not may_wait:
        return NextStep(Decision.SEND)
    return _wait_or_unknown(may_wait, Reason.SILENT)


def _gone(history: History, reason: Reason, may_wait: bool) -> NextStep:
    if not history.may_be_under_way:
        return _over(history, reason) if history.refused is None else _refused(history, may_wait)
    return _over(history, reason) if history.gone_long else _wait_or_unknown(may_wait, Reason.LATELY)


def _refused(history: History, may_wait: bool) -> NextStep:
    """The step after a refusal if the offer is free, or gone."""
    # After a 409 the status may lag, or the holder of the offer may let go of it; a 429 may have bought it.
    waits = may_wait and history.refused in (409, PUT_OFF)
    return _LOOK if waits else NextStep(Decision.REJECTED, Reason.REFUSED)


# After an attempt the machine is registered or given back, the next offer is tried, or the host stops. To fail over in
# another way, change `what_follows` and the table in its test.

# Error classes of failures that are the offer's own, so that another offer may succeed. A quota may be the account's or
# the vendor's, so after one only offers of other vendors are tried.
OF_THE_OFFER = frozenset({"not_found", "conflict", "expired", QUOTA})
# Outcomes of a purchase that succeeded; empty if it was made before this run
ANSWERED_YES = ("created", "existing", "")
_OPEN = ("unknown", "claimed")  # outcomes after which a purchase may still be under way


def class_of(reason: str | None) -> str:
    """The error class of an offer that was not sold or has failed, from the API's reason."""
    return QUOTA if is_quota(reason) else "conflict"


class Verdict(enum.Enum):
    """What the host does after an attempt."""

    READY = "ready"
    AGAIN = "again"  # nothing is billed, and another offer may be tried
    RELEASE = "release"  # end the machine; then the attempt is judged once more
    STOP = "stop"


@dataclass(frozen=True)
class Attempt:
    """How an attempt at one offer went.

    outcome: the result of procure_offer; empty if the purchase was made before this run.
    phase: the offer's last seen phase; empty if there was no look.
    billed: a resource of the attempt may be billed.
    wanted: the user named this very offer.
    unused: no machine of this purchase was ever registered as ready.
    released: its machines were ended again. release: they may be.
    attempts_left: number of offers that may still be tried.
    unclear: the API names machines of the purchase that cannot be its own, or that it does not show.
    doubled: another purchase has machines of this name. later: this is the later of the two purchases.
    unsound: the machine failed its test.
    overtaken: by the registry, someone has ended the purchase or begun to, or another run has bought for the host.
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
    doubled: bool = False
    later: bool = False
    unsound: bool = False
    overtaken: bool = False

    @property
    def is_left(self) -> bool:
        """Whether a resource of the attempt may still be billed."""
        return self.billed and not self.released


def what_follows(attempt: Attempt) -> Verdict:
    """Return the verdict. While a resource may be billed, no other offer is tried."""
    if attempt.outcome in _OPEN or attempt.unclear:
        return Verdict.STOP
    if _runs(attempt) and not attempt.doubled:
        return Verdict.READY
    if attempt.is_left:
        return Verdict.RELEASE if _gives_back(attempt) else Verdict.STOP
    is_over = attempt.wanted or attempt.overtaken or attempt.doubled
    may_try_another = not is_over and attempt.attempts_left > 0
    return Verdict.AGAIN if may_try_another and _was_the_offers_fault(attempt) else Verdict.STOP


def _runs(attempt: Attempt) -> bool:
    """Whether the host has a usable machine; after a refused purchase it would be someone else's."""
    return attempt.ready and attempt.outcome in ANSWERED_YES and not attempt.released


def _gives_back(attempt: Attempt) -> bool:
    """Whether the machine is ended again: it cannot be used, or is the later of two running machines of one name."""
    # Certainly bought, and seen by the last look. If something is billed, `rejected` means that the machine has failed.
    is_certain = attempt.outcome == "rejected" or (attempt.outcome in ANSWERED_YES and attempt.phase != "")
    return attempt.release and attempt.unused and (attempt.later if _runs(attempt) else is_certain)


def _was_the_offers_fault(attempt: Attempt) -> bool:
    if attempt.outcome in ("rejected", "not_sent"):
        return attempt.error_class in OF_THE_OFFER
    return attempt.unsound or attempt.phase == _states.FAILED


def needs_another(attempt: Attempt) -> bool:
    """Whether nothing is billed, and only another offer or another price can help."""
    return leaves_nothing(attempt) and (_was_the_offers_fault(attempt) or attempt.error_class == "price")


def leaves_nothing(attempt: Attempt) -> bool:
    """Whether the registry may forget the attempt: certainly no resource of it is billed."""
    return not (attempt.outcome in _OPEN or attempt.unclear or attempt.is_left or _runs(attempt))
