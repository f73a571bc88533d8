"""Simulate worlds that nobody has seen, for as long as asked: `nox -s fuzz -- --minutes 60`.

Prints how far it has come, and of what it has found the seed and the shortest script. Ends with 1
when it has found something.
"""

import argparse
import os
import random
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from time import monotonic

from resumable_core.testing.simulation import ChannelPlay, LawBroken, Play, simulate

AT_ONCE = 500


def simulate_some(first: int) -> tuple[Counter[str], list[str]]:
    """Simulate some worlds in a process of their own."""
    seen, found = Counter(), []
    for seed in range(first, first + AT_ONCE):
        for world in (Play, ChannelPlay):
            try:
                seen += simulate(seed, world)
            except LawBroken as broken:
                found.append(str(broken))
    return seen, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (10)")
    parser.add_argument("--first", type=int, help="the first seed (a random one)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (one per core)")
    options = parser.parse_args()

    first = random.randrange(2**31) if options.first is None else options.first
    print(f"from seed {first}, for {options.minutes:g} minutes", flush=True)
    seen, failures, until = Counter(), 0, monotonic() + 60 * options.minutes
    with ProcessPoolExecutor(options.jobs) as processes:
        for turn in count():
            start = first + turn * options.jobs * AT_ONCE
            starts = range(start, start + options.jobs * AT_ONCE, AT_ONCE)
            for some, found in processes.map(simulate_some, starts):
                seen += some
                failures += len(found)
                print(*found, sep="\n\n", end="\n\n" if found else "")
            print(f"up to seed {starts[-1] + AT_ONCE - 1}: {failures} found", flush=True)
            if monotonic() >= until:
                break
    print(*(f"{times:10,}  {what}" for what, times in seen.most_common()), sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
