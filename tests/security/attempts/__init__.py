"""Named attacks, each from inside a sandbox through the public API; ``test_attempts`` makes every one of them.

``model`` says what an attempt is, ``world`` what it is after, ``weakened`` what it can be proved without. To write one,
add it to its area's module and run ``python -m tests.security.attempts MODULE [NAME…] [--level reduced] [--proof]``.
"""
