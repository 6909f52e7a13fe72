"""The running executor against its own OpenAPI document (the seed's T013-T016, T099)."""
