"""Programs in each language that use its standard library, for ``test_standard_library``."""
