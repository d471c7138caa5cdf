"""The exercise ``training``: its data, lesson, stub and checks.

Nothing outside ``kit.course`` imports from here.
"""
