"""What the controller, the executor and a Control Plane say to each other.

Pure data: pydantic models, bounds and names. Both sides import this package,
it imports neither, and nothing in it does I/O.
"""
