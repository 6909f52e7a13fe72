"""The log API behind a real API server that aggregates; executors tell what a test has them tell."""
