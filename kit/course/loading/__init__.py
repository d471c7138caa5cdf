"""The exercise ``loading``: its data, lesson, stub and checks.

Nothing outside ``kit.course`` imports from here.
"""
