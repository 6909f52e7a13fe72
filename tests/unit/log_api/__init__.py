"""Parts of the log API, by themselves."""
