"""A Control Plane to look at: it takes what an executor reports, shows it, and does nothing else.

For people who try the executor without Kubernetes (``docker-compose.yml``, ``docs/quickstart.md``), and for tests of
the executor against something that is not the controller. It knows ``contracts`` and nothing else of this project.
"""
