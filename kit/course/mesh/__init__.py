"""The exercise ``mesh``: its data, lesson, stub, checks. Only ``kit.course`` imports it."""
