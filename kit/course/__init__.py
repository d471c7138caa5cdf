"""The course: one folder per exercise, the catalogue of them, lessons, workspaces and grading.

Imports the engine ``judge``, ``checks`` and what comes before them; ``report``, ``dev`` and ``cli``
import this package. Only an exercise's ``checks.py`` and its helpers may import jax and keras.
"""
