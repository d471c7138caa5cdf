"""The exercise ``precision``: its data, lesson, stub and checks.

Nothing outside ``kit.course`` imports from here.
"""
