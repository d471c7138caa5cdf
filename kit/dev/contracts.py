"""Assigns the reference to its contracts, so that mypy finds wrong signatures. Never runs."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kit.course.clinic.exercise import ClinicExercise
    from kit.course.multihost.exercise import MultihostExercise
    from kit.course.planning.exercise import PlanningExercise
    from kit.course.precision.exercise import PrecisionExercise
    from kit.parts.protocols import (
        CheckpointPart,
        GenerationPart,
        LayoutPart,
        LoadingPart,
        LoraPart,
        MeshPart,
        ReviewsPart,
        TrainingPart,
    )
    from kit.reference import (
        checkpoint,
        clinic,
        generation,
        layout,
        loading,
        lora,
        mesh,
        multihost,
        planning,
        precision,
        reviews,
        training,
    )

    MESH: MeshPart = mesh
    LAYOUT: LayoutPart = layout
    LOADING: LoadingPart = loading
    REVIEWS: ReviewsPart = reviews
    LORA: LoraPart = lora
    TRAINING: TrainingPart = training
    GENERATION: GenerationPart = generation
    CHECKPOINT: CheckpointPart = checkpoint
    PLANNING: PlanningExercise = planning
    CLINIC: ClinicExercise = clinic
    PRECISION: PrecisionExercise = precision
    MULTIHOST: MultihostExercise = multihost
