"""Inference and models, faults M1 to M14 of the list: what breaks on the way from an image to a score."""

import dataclasses
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from broken_models import HANGS_AT, Accelerator, write_hanging_bundle
from broker import Broker
from gate_end import GateEnd, gate_end
from line_file import write_line as write_line_file
from running_line import running, write_line
from small_bundle import photograph, write_bundle, write_photographs

from agent.bundle import BundleError, open_bundle
from agent.config import load_line
from agent.drivers import section
from agent.inspection import Cause, Fault, Outcome, Part, Prediction, Verdict
from agent.loop import inspect_forever
from agent.model import Here
from agent.runtimes import InferenceError
from agent.serving.local_calibration import LocalTable, artifact_sha256, keep
from agent.serving.model_watch import ModelWatch
from agent.station import Station

GOOD = photograph(np.random.default_rng(1))


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for a Unix socket in it."""
    path = Path(tempfile.mkdtemp(prefix="k"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed bundle with artefacts for both runtimes; none may change it."""
    path = tmp_path_factory.mktemp("bundles") / "small"
    write_bundle(path, openvino_too=True)
    return path


def test_m7_inference_that_hangs_is_ended_its_parts_are_rejected_and_the_line_goes_on(folder: Path, broker: Broker) -> None:
    write_hanging_bundle(folder / "bundle")
    write_photographs(folder / "parts", 130)
    cv2.imwrite(str(folder / "parts" / "0040.png"), np.full((64, 64, 3), HANGS_AT, dtype=np.uint8))
    file = write_line(folder, broker, folder / "bundle", folder / "parts", count=125, period_ms=60, delay_ms=1500)

    with running(file, broker) as (line, subscriber):
        subscriber.wait_for(125, timeout_s=40)
        line.stop()

    parts = {e["data"]["part"]["n"]: (e["data"]["outcome"], e["data"]["cause"]) for e in subscriber.by_id.values()}
    assert sorted(parts) == list(range(1, 126))
    assert parts[41] in {("reject", "late"), ("reject", "missed")}
    assert set(Counter(parts.values())) <= {("pass", "score"), ("reject", "late"), ("reject", "missed")}
    assert ("pass", "score") in {ended for n, ended in parts.items() if n > 41}
    assert any(entry["message"].startswith("kensa inspect ended with status -14") for entry in line.log)
    assert any("the process before this one hung" in entry["message"] and "infer" in entry["message"] for entry in line.log)


def test_m8_an_inference_that_fails_once_is_tried_again_and_nobody_notices(small_bundle: Path) -> None:
    accelerator = Accelerator()
    with ModelWatch(small_bundle, "onnxruntime", accelerator) as models:
        accelerator.failures = 1

        reading = models.now.model.read(GOOD)

        assert isinstance(reading, Prediction)
        assert models.recover(now_s=0.0) is None
        assert accelerator.sessions == 1


def test_m8_a_lost_session_costs_one_part_and_is_opened_anew(small_bundle: Path) -> None:
    accelerator = Accelerator()
    with ModelWatch(small_bundle, "onnxruntime", accelerator) as models:
        accelerator.lost = {1}
        with pytest.raises(InferenceError, match="device lost"):
            models.now.model.read(GOOD)

        reopened = models.recover(now_s=0.0)

        assert reopened is models.now
        assert isinstance(reopened.model.read(GOOD), Prediction)
        assert list(models.ladder.news) == ["the runtime failed and was opened anew: device lost"]
        assert models.ladder.trouble == ""


def test_m8_a_lost_accelerator_is_replaced_by_the_cpu_where_that_is_allowed_and_its_own_threshold_holds(
    small_bundle: Path, tmp_path: Path
) -> None:
    keep_table(small_bundle, tmp_path, place="npu", threshold=0.5)
    accelerator = Accelerator(place="npu", cpu_instead=True)
    with ModelWatch(small_bundle, "onnxruntime", accelerator, Here(tmp_path)) as models:
        before = models.now.judge.threshold
        accelerator.gone = True
        with pytest.raises(InferenceError):
            models.now.model.read(GOOD)

        reopened = models.recover(now_s=0.0)

        assert reopened is not None
        assert before == 0.5
        assert reopened.judge.threshold == open_bundle(small_bundle).manifest.artifacts[0].calibration.threshold
        assert reopened.model.runtime.executed_on == "cpu"
        assert models.ladder.trouble.startswith("on the CPU instead of the accelerator: device lost")


def test_m8_an_accelerator_that_comes_back_and_computes_something_else_is_replaced_by_the_cpu(small_bundle: Path) -> None:
    accelerator = Accelerator(cpu_instead=True, wrong={2})
    with ModelWatch(small_bundle, "onnxruntime", accelerator) as models:
        assert lose_and_recover(models, accelerator, now_s=0.0) == "cpu"

        assert "a new session: " in models.ladder.trouble
        assert "golden_0.png: onnx-f32 gives raw score" in models.ladder.trouble


def test_m8_an_accelerator_that_computes_something_else_at_the_start_is_replaced_by_the_cpu(small_bundle: Path) -> None:
    with ModelWatch(small_bundle, "onnxruntime", Accelerator(cpu_instead=True, wrong={1})) as models:
        assert models.now.model.runtime.executed_on == "cpu"
        assert models.ladder.trouble.startswith("on the CPU instead of the accelerator: ")


def test_m8_without_leave_for_the_cpu_it_ends_the_process_as_one_that_is_worth_starting_again(small_bundle: Path) -> None:
    accelerator = Accelerator(wrong={2})
    with (
        ModelWatch(small_bundle, "onnxruntime", accelerator) as models,
        pytest.raises(InferenceError, match=r"no runtime is left, .*: device lost; a new session: .*golden_0\.png"),
    ):
        lose_and_recover(models, accelerator, now_s=0.0)


def test_m8_a_lost_accelerator_without_leave_for_the_cpu_ends_the_process(small_bundle: Path) -> None:
    accelerator = Accelerator()
    with ModelWatch(small_bundle, "onnxruntime", accelerator) as models:
        accelerator.gone = True
        with pytest.raises(InferenceError):
            models.now.model.read(GOOD)

        with pytest.raises(InferenceError, match="no runtime is left, parts are rejected: device lost"):
            models.recover(now_s=0.0)


def test_m8_an_accelerator_that_fails_again_and_again_is_given_up(small_bundle: Path) -> None:
    accelerator = Accelerator(cpu_instead=True)
    with ModelWatch(small_bundle, "onnxruntime", accelerator) as models:
        places = [lose_and_recover(models, accelerator, now_s) for now_s in (0.0, 100.0, 200.0, 300.0)]

        assert places == [2, 3, 4, "cpu"]
        assert "3 new sessions within 10 minutes did not help" in models.ladder.trouble


def test_m8_an_accelerator_that_fails_once_in_a_while_is_kept(small_bundle: Path) -> None:
    accelerator = Accelerator(cpu_instead=True)
    with ModelWatch(small_bundle, "onnxruntime", accelerator) as models:
        places = [lose_and_recover(models, accelerator, now_s) for now_s in (0.0, 1000.0, 2000.0, 3000.0)]

        assert places == [2, 3, 4, 5]


def test_m8_in_a_station_each_part_has_its_verdict_and_the_state_tells_of_the_loss(folder: Path, small_bundle: Path) -> None:
    accelerator = Accelerator(cpu_instead=True)
    line = dataclasses.replace(load_line(write_line_file(folder, small_bundle)), runtime=accelerator)
    with gate_end(line.socket) as gate, Station(line) as station:
        gate.wait_for_attach()
        stop = threading.Event()
        loop = threading.Thread(target=inspect_forever, args=(station, stop))
        loop.start()
        verdicts = [judged(gate, 1)]
        accelerator.gone = True
        verdicts += [judged(gate, 2), judged(gate, 3)]
        stop.set()
        loop.join(20)
        trouble = station._trouble()
        gate.drop()

    assert [(v.outcome, v.cause) for v in verdicts] == [
        (Outcome.PASS, Cause.SCORE),
        (Outcome.REJECT, Cause.FAULT),
        (Outcome.REJECT, Cause.SCORE),  # the third photograph shows a defect, and the CPU sees it
    ]
    assert "on the CPU instead of the accelerator" in trouble


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")], ids=str)
def test_m9_a_score_that_is_no_number_is_a_fault(small_bundle: Path, value: float) -> None:
    with ModelWatch(small_bundle, "onnxruntime", Accelerator()) as models:
        model = dataclasses.replace(models.now.model, runtime=Gives(value))

        reading = model.read(GOOD)

    assert isinstance(reading, Fault)
    assert "not finite" in reading.reason


@pytest.mark.parametrize("provider", ["cuda", "tensorrt", "openvino"])
def test_m10_a_provider_that_this_onnxruntime_does_not_have_is_an_error_that_names_those_it_has(
    small_bundle: Path, provider: str
) -> None:
    config = section("agent.runtimes", {"type": "onnxruntime", "provider": provider})

    with (
        pytest.raises(InferenceError, match=f"with provider {provider}: this build has .*CPUExecutionProvider"),
        config.open(small_bundle / "artifacts" / "model.onnx"),
    ):
        pass


@pytest.mark.parametrize("device", ["AUTO:GPU,CPU", "AUTO:NPU,CPU"])
def test_m10_a_device_that_openvino_silently_replaces_by_the_cpu_is_an_error(small_bundle: Path, device: str) -> None:
    config = section("agent.runtimes", {"type": "openvino", "device": device})

    with pytest.raises(InferenceError, match=device), config.open(small_bundle / "artifacts" / "model.xml"):
        pass


def test_m10_a_station_that_may_takes_the_cpu_and_its_state_says_so(small_bundle: Path) -> None:
    config = section("agent.runtimes", {"type": "onnxruntime", "provider": "cuda", "cpu_instead": True})

    with ModelWatch(small_bundle, "onnxruntime", config) as models:
        assert models.now.model.runtime.executed_on == "cpu"
        assert "on the CPU instead of the accelerator" in models.ladder.trouble
        assert "provider cuda" in models.ladder.trouble


def test_m10_a_place_without_a_table_is_refused(small_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"onnx-f32 was calibrated on a CPU and computes on 'npu' here.*run kensa calibrate"):
        ModelWatch(small_bundle, "onnxruntime", Accelerator(place="npu"), Here(tmp_path))


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_m12_memory_stays_flat_over_ten_thousand_inferences(small_bundle: Path, runtime: str) -> None:
    program = f"""
import gc
from pathlib import Path
import numpy as np
from agent.bundle import open_bundle
from agent.drivers import section
from agent.model import open_model

def resident_kb():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4

bundle = open_bundle(Path("{small_bundle}"))
images = np.random.default_rng(0).integers(0, 255, (10, 96, 128, 3), dtype=np.uint8)
runtime = section("agent.runtimes", {{"type": "{runtime}", "threads": 1}})
with open_model(bundle, bundle.artifact_for(["{runtime}"]), runtime) as model:
    for k in range(1000):
        model.read(images[k % 10])
    before = resident_kb()
    for k in range(10_000):
        model.read(images[k % 10])
    print(resident_kb() - before)
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    grown_kb = int(finished.stdout)
    assert grown_kb < 2048  # 0.2 kB for each; a leaked map (256 B) or input (12 kB) would be 2.5 MB or 120 MB


class Gives:
    """A runtime whose arithmetic has broken down."""

    executed_precision = "f32"
    executed_on = "cpu"

    def __init__(self, raw: float) -> None:
        self._raw = raw

    def infer(self, image: np.ndarray) -> tuple[float, np.ndarray]:
        return self._raw, np.zeros((8, 8), dtype=np.float32)


def lose_and_recover(models: ModelWatch, accelerator: Accelerator, now_s: float) -> int | str:
    """The number of the session that judges afterwards, or `cpu`."""
    accelerator.lost.add(accelerator.sessions)
    with pytest.raises(InferenceError):
        models.now.model.read(GOOD)
    models.recover(now_s)
    return getattr(models.now.model.runtime, "number", "cpu")


def judged(gate: GateEnd, n: int) -> Verdict:
    """The verdict on part n."""
    gate.trigger(Part("boot", n), until_gate_ms=60_000)
    return gate.verdict_on(Part("boot", n))


def keep_table(bundle_folder: Path, state: Path, place: str, threshold: float) -> None:
    """What `kensa calibrate` would have left for the first artefact at this place."""
    bundle = open_bundle(bundle_folder)
    artifact = bundle.manifest.artifacts[0]
    moved = msgspec.structs.replace(artifact.calibration, threshold=threshold)
    keep(
        state,
        LocalTable(artifact_sha256(bundle, artifact), place, "f32", moved, artifact.golden_raw, "0" * 64, "2026-11-21T09:30:00Z"),
    )
