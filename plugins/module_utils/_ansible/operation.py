# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module is: a plain function ``(params, check_mode) -> result`` that knows no Ansible, and its options.

`on_api` gives the API's client to those that ask it.
"""

from __future__ import annotations

import contextlib
import copy
import os
import typing as t
from dataclasses import dataclass, field

from .._wording import COLUMNS, wrapped

if t.TYPE_CHECKING:
    from .._api.client import ApiError

Params = t.Mapping[str, t.Any]
Result = dict[str, t.Any]
Checked = t.TypeVar("Checked")

# A parameter beside the options: the operation runs in a module's process, which does not see the end of Ansible.
AS_MODULE = "_as_module"

_MARK = "[WARNING]: "  # what Ansible puts before a warning


class Failure(Exception):
    """A failure as the user sees it; ``facts`` are further fields of the result, above all ids that may be billing."""

    def __init__(self, msg: str, error_class: str, /, **facts: t.Any) -> None:
        super().__init__(msg)
        self.result: Result = {
            "changed": False,
            "status_code": None,
            **facts,
            "failed": True,
            "msg": msg,
            "error_class": error_class,
        }

    @classmethod
    def of(cls, error: ApiError, advice: str = "", **facts: t.Any) -> Failure:
        """The failure of an API error, with what it means for money or what to do next."""
        return cls(
            f"{error}{' ' + advice if advice else ''}",
            error.error_class,
            **{"status_code": error.status_code, "retry_after": error.retry_after, **facts},
        )


def given(option: str, value: t.Any, check: t.Callable[[t.Any], Checked], error_class: str = "invalid") -> Checked:
    """The checked value of an option. Raises Failure that names the option."""
    try:
        return check(value)
    except ValueError as error:
        stop = "" if str(error).endswith("?") else "."
        raise Failure(f"{option} {error}{stop} Nothing was sent.", error_class) from None


@contextlib.contextmanager
def refusing(
    errors: type[ValueError], advice: str = "", /, *, error_class: str = "", **facts: t.Any
) -> t.Iterator[None]:
    """Raise the Failure of such an error, with what it means for money or what to do next.

    Its class is ``error_class``, else the one that the error has, as that of a registry, else ``invalid``.
    """
    try:
        yield
    except errors as error:
        named = error_class or getattr(error, "error_class", "invalid")
        raise Failure(f"{error}{' ' + advice if advice else ''}", named, **facts) from None


def folded(warning: str) -> str:
    """A warning in lines of a screen, as Ansible shows it. From 2.19 on Ansible breaks no line of it."""
    return "\n".join(wrapped(f"{_MARK}{warning}", COLUMNS, "    ")).removeprefix(_MARK)


@dataclass(frozen=True)
class Operation:
    """What a module is: its options in Ansible's terms, and the function that does the work.

    ``blank`` holds the fields that a result has even if the function never ran: an ``until`` that misses one of them
    hides the error. ``rules`` are AnsibleModule's own (``mutually_exclusive`` and the like). ``doubt`` is what a fault
    of ours leaves open, for those that change something at the API.
    """

    function: t.Callable[[Params, bool], Result]
    argument_spec: dict[str, dict[str, t.Any]]
    blank: Result = field(default_factory=dict)
    rules: dict[str, t.Any] = field(default_factory=dict)
    doubt: str = ""

    def perform(self, params: Params, check_mode: bool) -> Result:
        """The result for ``params``; a failure is a result with ``failed``."""
        try:
            return self.function(params, check_mode)
        except Failure as failure:
            return self._complete(failure.result)
        except Exception as error:  # Ansible would print the options of an uncaught one, secrets too
            # No word of the error's text, which may hold anything, and no claim about what was done.
            bug = f"This is a bug of the collection: {type(error).__name__} in {self.function.__name__}."
            return self._in_doubt(bug, params)

    def refused(self, msg: str) -> Result:
        """The result of options that are none."""
        return self._complete(Failure(msg, "invalid").result)

    def cut_off(self) -> Result:
        """The result of a process that has ended without one."""
        return self._in_doubt(f"The process that performed {self.function.__name__} has ended without a result.", {})

    def _complete(self, failure: Result) -> Result:
        return {**copy.deepcopy(self.blank), **failure}

    def _in_doubt(self, msg: str, params: Params) -> Result:
        """The result where it is not known what was done."""
        if not self.doubt:
            return self._complete(Failure(msg, "protocol").result)
        facts = {name: params[name] for name in self.blank if name in params}
        if "outcome" in self.blank:
            facts["outcome"] = "unknown"
        return self._complete(Failure(f"{msg} {self.doubt}", "unknown_outcome", **{**facts, "changed": True}).result)


def is_job() -> bool:
    """Whether AWX runs this."""
    return all(os.environ.get(name) for name in ("AWX_HOST", "JOB_ID"))
