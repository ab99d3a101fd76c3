"""A model that finds bright spots and needs no training, for tests of what is said about models."""

import numpy as np

from agent.calibration import calibrate
from agent.model import Model
from agent.preprocess import InputContract

CONTRACT = InputContract(64, 64, 60, 200, 60, 200, 0.5, 2.0)


class Quiet:
    """Progress that nobody reads."""

    def tell(self, figures):
        del figures

    def track(self, items, stage):
        del stage
        return iter(items)


class Brightest:
    """A runtime: a part is as strange as its brightest pixel."""

    executed_precision = "f32"

    def infer(self, image):
        anomaly_map = image[::8, ::8].max(axis=2).astype(np.float32)
        return float(anomaly_map.max()), anomaly_map


def bright_model(runtime) -> Model:
    """Its threshold is 160 of 255 grey levels."""
    return Model(CONTRACT, runtime, calibrate(np.linspace(100, 160, 61)))
