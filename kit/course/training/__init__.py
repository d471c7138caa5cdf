"""The exercise ``training``: its data, lesson, stub, checks. Only ``kit.course`` imports it."""
