"""The contract of a method, for every file in training/methods."""

import msgspec
import numpy as np
import pytest
from small_dataset import plate, save

from agent.drivers import driver, names
from training.backbone import load_backbone
from training.data import good_parts, input_contract
from training.methods import Method, Parts


@pytest.mark.parametrize("name", names("training.methods"))
def test_a_method_is_a_frozen_config_that_builds_it_from_a_backbone_and_a_seed(name: str) -> None:
    config = driver("training.methods", name).Config()

    assert isinstance(config.build(load_backbone("resnet18", "random", 0)[0], seed=0), Method)
    with pytest.raises(AttributeError):
        config.anything = 1
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"unknown": 1}, type(config))


def test_parts_come_normalized_and_in_the_order_asked_for(tmp_path) -> None:
    [save(tmp_path / f"{k}.png", plate(k, 64, 64)) for k in range(4)]
    photographs = good_parts(tmp_path, seed=0).train

    parts = Parts(photographs, input_contract(photographs, size=64), lambda images: images.float())

    expected = [plate(int(p.path.stem), 64, 64) for p in photographs]
    assert len(parts) == 2
    assert np.array_equal(parts.batch([1, 0]).numpy(), np.stack(expected[::-1]).astype(np.float32))
