"""The two HTTP APIs that the controller calls. Only these modules, ``server`` and ``health`` touch the network."""
