"""A verification and teaching kit for distributed fine-tuning of Gemma with Keras. Importing it imports no framework."""

__version__ = "0.1.0"
