"""The exercise ``reviews``: its data, lesson, stub and checks.

Nothing outside ``kit.course`` imports from here.
"""
