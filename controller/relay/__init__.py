"""Tells the Control Plane what became of Executions and executor containers, and goes on until it has taken it.

What is left to tell stands in the API server (condition ``Reported``, the pools' ``status.containers``);
here is only the queue of it. Nothing of the pipeline ever waits for a call that is made from here.

``relay`` puts the rest together: ``backlog``, ``circuit`` and ``courier`` say when a call is made,
``channel`` makes it, ``results``, ``lifecycle``, ``farewells`` and ``heartbeats`` know what is said.
"""
