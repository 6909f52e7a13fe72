"""The executor as a process of its own, with real bubblewrap and real HTTP."""
