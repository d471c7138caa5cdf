"""A preprocessor that several threads use."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import keras
import pytest

from kit.course.shared import small_models as small
from kit.models.preprocessor import preprocess_one_at_a_time
from kit.parts.implementation import find_parts


class TestPreprocessing:
    def test_threads_take_turns(self) -> None:
        """Each call takes so long that two would overlap."""
        inside, most, lock = [0], [0], threading.Lock()

        def preprocess_samples(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            time.sleep(0.02)
            with lock:
                inside[0] -= 1
            return x, y, sample_weight

        model = SimpleNamespace(preprocessor=SimpleNamespace(built=True), preprocess_samples=preprocess_samples)
        for expected in (4, 1):
            most[0] = 0
            with ThreadPoolExecutor(4) as threads:
                found = threads.map(lambda number: model.preprocess_samples(number, y=2, sample_weight=3), range(8))
            assert list(found) == [(number, 2, 3) for number in range(8)]
            assert most[0] == expected
            preprocess_one_at_a_time(model)

    def test_fit_uses_one_thread_at_a_time(self, mesh_1x8: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        parts = find_parts("reference")
        keras.config.disable_interactive_logging()
        inside, most, calls = [0], [0], [0]
        model = small.small_model(4)
        preprocess = model.preprocessor.__call__

        def counting(*arguments: Any, **options: Any) -> Any:
            inside[0] += 1
            calls[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.02)
            try:
                return preprocess(*arguments, **options)
            finally:
                inside[0] -= 1

        monkeypatch.setattr(
            type(model.preprocessor), "__call__", lambda self, *given, **options: counting(*given, **options)
        )
        parts.training.compile_for_finetuning(model, 1e-3, 0.01)
        parts.training.finetune(model, [small.texts(2)] * 8)
        assert calls[0] >= 8
        assert most[0] == 1
