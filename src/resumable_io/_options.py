"""Check the options that responses and endpoints share, before anything is started with them."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from resumable_core import InvalidInput, check_seconds

# RFC 9110, sections 5.6.2 and 5.5.
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def check_options(options: Mapping[str, Any], known: Collection[str]) -> None:
    """Raise `TypeError` for an option that is not `known`, and `InvalidInput` for one that is none.

    Looks at `heartbeat`, `send_timeout` and `headers`.
    """
    for name in options.keys() - known:
        raise TypeError(f"no option {name!r}: expected {', '.join(sorted(known))}")
    if (heartbeat := options.get("heartbeat", 15.0)) != math.inf:
        check_seconds("heartbeat", heartbeat, hint=", or math.inf for no heartbeats")
    check_seconds("send_timeout", options.get("send_timeout", 30.0))
    headers: Mapping[str, str] = options.get("headers") or {}
    for name, value in headers.items():
        if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
            raise InvalidInput(
                f"a header is a token and Latin-1 without control characters, got "
                f"{name!r:.80}: {value!r:.80}"
            )
