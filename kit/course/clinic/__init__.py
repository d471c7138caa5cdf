"""The exercise ``clinic``: its data, lesson, stub, checks. Only ``kit.course`` imports it."""
