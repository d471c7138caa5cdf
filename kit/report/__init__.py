"""Pages and pictures: the report of a run, the report of a class, the picture of a plan.

Imports ``run``, ``course``, ``tpu`` and what stands below them. Only ``cli`` imports this package.
"""
