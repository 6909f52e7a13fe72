"""Fuzzers of everything that reads what somebody else wrote: hypothesis, so many examples in ``make test``.

``make fuzz`` takes more of them, and others each time (``profile``).
"""
