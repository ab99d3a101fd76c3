"""The device's code runs where only the device's packages are."""

import json
import pkgutil

import pytest
from kensa_process import python

import agent

WITH_AN_EXTRA = ("agent.web.",)  # the page's process; it is not part of the plain device install
FOUND = (module.name for module in pkgutil.walk_packages(agent.__path__, "agent."))
MODULES = sorted(name for name in FOUND if not name.startswith(WITH_AN_EXTRA))
WORKSTATION = ["torch", "torchvision", "timm", "onnx", "sklearn", "scipy", "rich", "training", "export"]

IMPORTS = """
import importlib, json, sys, time
took_s = []
for name in sys.argv[1:]:
    before_s = time.process_time()
    importlib.import_module(name)
    took_s.append(time.process_time() - before_s)
print(json.dumps({"took_s": took_s, "loaded": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


def imported(*names: str) -> dict:
    ended = python("-c", IMPORTS, *names)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_every_module_of_the_agent_imports_without_the_workstations_packages() -> None:
    loaded = set(imported(*MODULES, "kensa")["loaded"])

    assert "agent" in loaded
    assert loaded.isdisjoint(WORKSTATION)


@pytest.mark.parametrize("module", ["agent.loop", "agent.ejector_process"])
def test_no_runtime_is_loaded_before_a_line_asks_for_it(module: str) -> None:
    loaded = set(imported(module)["loaded"])

    assert loaded.isdisjoint({"onnxruntime", "openvino"})


def test_the_loop_costs_a_few_times_what_its_array_and_image_packages_cost_alone() -> None:
    apart = imported("numpy", "cv2", "agent.loop")["took_s"]

    assert sum(apart) < 10 * sum(apart[:2])  # measured 3.0; the budget is 1 s where the packages take 0.1 s, see tests/bench.py
