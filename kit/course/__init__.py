"""The course: its exercises in their order, their lessons and hints, and the stubs that a learner starts from."""
