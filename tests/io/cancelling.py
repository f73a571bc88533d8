"""Cancel a call at each of its awaits: what the kit does, as a decorator of tests."""

import functools
import inspect

from anyio import fail_after

from resumable_io import testing
from resumable_io.testing import Cut

__all__ = ["Cut", "at_each_await"]

PATIENCE = 3600
"""Seconds of virtual time after which a test counts as hanging."""


def at_each_await(*, at_least: int):
    """Run an async test for each await of the call that it cuts: `async def test(cut)`.

    `at_least` is how many there are: with fewer the test would not test anything.
    """

    def decorate(test):
        @functools.wraps(test)
        async def at_each(**kwargs):
            async def play(cut: Cut):
                with fail_after(PATIENCE):
                    await test(cut=cut, **kwargs)

            cancelled = await testing.at_each_await(play)
            assert cancelled >= at_least, f"it was cancelled at {cancelled} awaits only"

        parameters = inspect.signature(test).parameters.values()
        at_each.__signature__ = inspect.Signature(
            [each for each in parameters if each.name != "cut"]
        )
        return at_each

    return decorate
