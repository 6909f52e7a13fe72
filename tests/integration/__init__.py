"""Parts of the system as real processes."""
