"""The exercise ``precision``: its data, lesson, stub, checks. Only ``kit.course`` imports it."""
