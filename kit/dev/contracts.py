"""The reference against the contract of the parts, for mypy. Nothing runs this."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kit.parts import protocols
    from kit.reference import checkpoint, generation, layout, loading, lora, mesh, reviews, training

    MESH: protocols.MeshPart = mesh
    LAYOUT: protocols.LayoutPart = layout
    LOADING: protocols.LoadingPart = loading
    REVIEWS: protocols.ReviewsPart = reviews
    LORA: protocols.LoraPart = lora
    TRAINING: protocols.TrainingPart = training
    GENERATION: protocols.GenerationPart = generation
    CHECKPOINT: protocols.CheckpointPart = checkpoint
