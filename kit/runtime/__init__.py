"""What must happen before jax is imported, and what this machine has."""
