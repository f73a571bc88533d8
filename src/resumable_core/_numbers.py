"""Check the times and counts that callers hand in."""

from __future__ import annotations

from typing import Final

from ._errors import InvalidInput

MAX_SECONDS: Final = 100 * 366 * 24 * 3600.0
"""The longest time that can be asked for: a hundred years, which every store's clock can count."""


def check_seconds(name: str, value: object, *, zero: bool = False, hint: str = "") -> None:
    """Raise `InvalidInput` unless `value` is a number of seconds above 0, a hundred years at most.

    `zero` says that it may be 0, too; `hint` is added to what was expected.
    """
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not (0 < value <= MAX_SECONDS or (zero and value == 0))
    ):
        least = "from 0 on" if zero else "above 0"
        raise InvalidInput(
            f"{name} is a finite number of seconds {least}, a hundred years at most{hint}; "
            f"got {value!r:.80}"
        )


def check_count(name: str, value: object) -> None:
    """Raise `InvalidInput` unless `value` is a whole number, 1 at least: an `int`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidInput(f"{name} is a whole number, 1 at least; got {value!r:.80}")
