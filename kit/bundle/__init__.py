"""`kit bundle`: a folder with everything that a workshop without a network needs.

`targets.py` describes the machines, `wheels.py` collects their wheels, `tree.py` packs the course,
`folder.py` writes the bundle, and `templates/` has what a learner runs. Only `kit.dev` and
`kit.cli` may import this package. It imports no framework.
"""
