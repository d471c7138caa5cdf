"""The exercise ``loading``: its data, lesson, stub, checks. Only ``kit.course`` imports it."""
