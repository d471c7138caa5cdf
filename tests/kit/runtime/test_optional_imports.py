"""Keras without pandas, scikit-learn and matplotlib until they are used."""

import subprocess
import sys

import pytest

PREPARE = "from kit.runtime.platform import prepare_environment\nprepare_environment('cpu', 1)\n"
LOADED = "[name for name in ('pandas', 'sklearn', 'matplotlib', 'IPython') if name in sys.modules]"


def run(code: str, prepare: str = PREPARE) -> str:
    """What a new Python prints; warnings are errors."""
    finished = subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", "import sys\n" + prepare + code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def test_keras_imports_none_of_them() -> None:
    assert run(f"import keras, keras_hub, keras.wrappers, keras.visualization\nprint({LOADED})") == "[]"


def test_keras_alone_imports_them() -> None:
    """The reason for the module: if this fails, it is superfluous."""
    assert run(f"import keras\nprint({LOADED})", "import os; os.environ['KERAS_BACKEND'] = 'jax'\n") != "[]"


@pytest.mark.parametrize("order", ["import keras, pandas", "import pandas, keras"])
def test_fit_takes_a_data_frame(order: str) -> None:
    """Series and DataFrame give the same loss as arrays, with a validation split."""
    code = f"""
{order}
import numpy as np

def loss(x, y):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model.fit(x, y, batch_size=4, epochs=2, validation_split=0.25, verbose=0).history["val_loss"]

x = np.arange(32, dtype="float32").reshape(16, 2) / 32
y = x.sum(axis=1)
assert loss(pandas.DataFrame(x, columns=["a", "b"]), pandas.Series(y)) == loss(x, y)
from keras.src.trainers.data_adapters import array_slicing
assert array_slicing.can_slice_array(pandas.Series(y)) and not isinstance(y, array_slicing.pandas.Series)
"""
    run(code)


def test_wrappers_are_of_scikit_learn() -> None:
    code = """
import keras
assert "sklearn" not in sys.modules
import numpy as np
from keras.wrappers import SKLearnClassifier
import sklearn.base

def build(X, y):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(inputs))
    model.compile("sgd", "categorical_crossentropy")
    return model

classifier = SKLearnClassifier(build, fit_kwargs={"epochs": 1, "verbose": 0})
assert isinstance(classifier, sklearn.base.BaseEstimator)
x = np.random.default_rng(0).normal(size=(16, 2))
assert sklearn.base.clone(classifier).fit(x, x[:, 0] > 0).predict(x).shape[0] == 16
"""
    run(code)


def test_names_of_a_module_that_is_executed_on_use() -> None:
    code = """
import keras
assert not hasattr(keras.visualization, "__warningregistry__") and "matplotlib" not in sys.modules
assert not hasattr(keras.visualization, "plot_nothing")
assert "plot_image_gallery" in dir(keras.visualization) and "matplotlib" in sys.modules
from keras.visualization import *
from keras.src.visualization import draw_bounding_boxes
plot_image_gallery
"""
    run(code)


def test_threads_see_a_complete_module() -> None:
    code = """
import keras, threading
found = []
def use():
    found.append(keras.visualization.plot_image_gallery)
threads = [threading.Thread(target=use) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(found) == 8 and len(set(found)) == 1
"""
    run(code)


def test_the_import_of_another_thread_is_not_disturbed() -> None:
    """Only the thread that executes Keras' module finds no pandas."""
    code = """
import threading
from kit.runtime.optional_imports import _AbsentModules
from types import ModuleType

entered, imported = threading.Event(), threading.Event()
def execute(module):
    entered.set()
    assert imported.wait(60)
    try:
        import colorsys
    except ImportError:
        module.absent = True
def other():
    import colorsys
def other_thread():
    entered.wait()
    other()
    del sys.modules["colorsys"]
    imported.set()
threading.Thread(target=other_thread).start()
module = ModuleType("module")
_AbsentModules().execute_without("colorsys", module, execute)
assert module.absent
import colorsys
"""
    run(code)


def test_a_host_suite_has_keras_unchanged() -> None:
    """The plugin prepares devices for another project, and changes no import."""
    prepare = "from kit.runtime.platform import prepare_environment\nprepare_environment('cpu', 8, tensorflow=True)\n"
    assert "'pandas', 'sklearn', 'matplotlib'" in run(f"import keras\nprint({LOADED})", prepare)
