"""The folder that a device is installed from, as far as it is made without a network; provisioning from it: test_provision.py."""

from pathlib import Path

import pytest

from deploy.device import ProvisionError
from deploy.wheelhouse import make_wheelhouse, pinned


def test_what_a_kind_of_device_needs_goes_by_that_device_and_not_by_this_machine() -> None:
    of_a_pc, of_a_jetson = pinned("3.11", "x86_64"), pinned("3.10", "aarch64")

    assert [one.split("==")[0] for one in of_a_pc if one not in of_a_jetson] == [
        "numpy", "onnxruntime", "openvino", "starlette", "openvino-telemetry",
    ]  # fmt: skip
    assert "numpy==2.2.6" in of_a_jetson
    assert "exceptiongroup==1.3.1" in of_a_jetson


def test_a_folder_that_is_there_is_not_added_to(tmp_path: Path) -> None:
    (tmp_path / "kensa-0.0.1-py3-none-any.whl").touch()

    with pytest.raises(ProvisionError, match="is there already: remove it, or give another"):
        make_wheelhouse(tmp_path, "3.11", "x86_64")

    assert len(list(tmp_path.iterdir())) == 1
