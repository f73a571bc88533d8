"""What the errors that Redis answers with mean to whoever asked."""

from __future__ import annotations

import re
from typing import Final

from resumable_core import BackendError, BackendFull, BackendUnavailable

FOREIGN: Final = (
    "somebody else has written there: delete it, and give each application a prefix of its own"
)

_PASSING: Final = re.compile(
    r"\b(BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOREPLICAS|READONLY|TRYAGAIN)\b"
)
"""It refuses for the moment: another script runs, its disk is full, it has become a replica …"""

_FORBIDDEN: Final = re.compile(r"\bno permissions\b|\bNOPERM\b|user executing the script can't")

_SCRIPT: Final = re.compile(
    r"(ERR )?(Error running script \(call to \w+\): )?@user_script: ?\d+: -?"  # before Redis 7
    r"|,? ?script: \w+, on @user_script: ?\d+\.?"
)


class RefusesForNow(BackendUnavailable):
    """Say that Redis answers, and what it says: that it will do so later."""

    def __init__(self, text: str) -> None:
        super().__init__(f"Redis refuses for the moment: {text}")


def said(error: Exception) -> str:
    """Return what Redis has said, without where in our scripts; some errors say only their name."""
    return _SCRIPT.sub("", str(error)) or type(error).__name__


def refusal(error: Exception) -> BackendError:
    """Return an error that Redis has answered a command with as one of ours."""
    text = said(error)
    if "used memory > 'maxmemory'" in text:  # and has changed nothing
        return BackendFull(f"Redis: {text}")
    if _PASSING.search(text):
        return RefusesForNow(text)
    if "WRONGTYPE" in text or "wrong kind of value" in text:
        return BackendError(f"foreign data, of another type: {FOREIGN}")
    if _FORBIDDEN.search(text):
        return BackendError(
            f"Redis does not allow it: {text}. "
            "The documentation lists what the user of an application has to be allowed"
        )
    return BackendError(f"Redis: {text}")
