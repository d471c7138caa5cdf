"""What can be observed of a model, a layout and a run. Nothing here judges."""
