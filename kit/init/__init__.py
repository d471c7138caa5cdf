"""`kit init`: a folder with the course for one learner, made by an installed kit without a clone.

`files.py` says what is delivered, from the stubs and from `templates/`; `manifest.py` records it,
`folder.py` writes and updates a folder, and `steps.py` says what to type next. Only `kit.bundle`,
`kit.dev` and `kit.cli` may import this package. It imports no framework.
"""
