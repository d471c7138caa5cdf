"""The contract of the parts that a run is made of, and the loading of an implementation.

``protocols`` has a Protocol for each part, with shapes and units. ``implementation`` finds and
imports the parts that ``--impl`` names. ``open_tasks`` reads a module's source for tasks that are
still open. Nothing here imports a framework. Imports ``runtime``, ``data``, ``models`` and what
stands below them; not the reference, the checks or the course.
"""
