"""The TPU compiler on a machine without a TPU: what a sharded training step will need, before a TPU is booked."""
