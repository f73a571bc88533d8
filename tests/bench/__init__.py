"""Measure what users wait and pay for, beside the peers: `nox -s bench`.

    check        did every event arrive, once and in order?
    child        one part of a measurement, in a process of its own
    processes    starts these, hears them, tells them to go on, and cuts off what takes too long
    peers        the other libraries, in an environment of their own
    model        what a workload is: cases, contenders, goals
    rounds       runs workloads: contenders in turn, for several rounds
    machine      what it ran on
    report       tables, for a terminal and for the documentation
    drawing      plots, from the JSON that a run has written
    workloads/   one module each; what a peer does stands beside what we do
    soak         for long, and with faults: `nox -s soak`

What runs in a peer's environment (`check`, `child`, and the parts in `workloads`) imports nothing
but the standard library until it is called.
"""
