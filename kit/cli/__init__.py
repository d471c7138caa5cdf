"""The commands.

Each module of a command is imported when it is called, so that `kit --help` is quick.
"""
