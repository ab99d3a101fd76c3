"""Two real processes that fit one model: they share each batch and end with the same weights."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_dataset import save_dataset
from torch import nn

from training.descend import Course, batch_of, descend
from training.processes import joined, rank
from training.progress import progress_on
from training.run import open_run

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}


def learn(out: Path) -> None:
    """Descends on drawn numbers and writes OUT/<rank>.safetensors; the 8 of each batch are shared 4 and 4."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1))
    normalized = nn.BatchNorm1d(5)
    given = torch.randn(16, 5, generator=torch.Generator().manual_seed(1))

    def loss(step: int) -> torch.Tensor:
        batch = given[batch_of(step, len(given), 8, seed=0)]
        normalized(batch)
        return (network(batch) - batch.sum(dim=1, keepdim=True)).square().mean()

    learner = nn.ModuleDict({"network": network, "norm": normalized})
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    with joined():
        (out / f"{rank()}.checkpoints").mkdir()
        descend(Course("sum", learner, optimizer, 40, 0, loss), progress_on(sys.stderr), out / f"{rank()}.checkpoints")
        save_file(learner.state_dict(), out / f"{rank()}.safetensors")


@pytest.mark.slow
def test_two_processes_end_with_the_same_weights_as_each_other_and_about_those_of_one(tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    learn(tmp_path / "alone")

    subprocess.run([*TORCHRUN, str(Path(__file__)), str(tmp_path)], env=ENVIRONMENT, check=True, capture_output=True, timeout=50)

    alone, first, second = (load_file(tmp_path / f"{name}.safetensors") for name in ("alone/0", "0", "1"))
    weights = [key for key in alone if key.startswith("network")]
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert all(torch.allclose(first[key], alone[key], atol=1e-5) for key in weights)  # means of 4 and 4 instead of 8: rounding
    assert torch.allclose(first["norm.running_mean"], alone["norm.running_mean"], atol=1e-6)  # means of means
    assert [path.name for path in tmp_path.glob("?.checkpoints/*")] == ["sum.safetensors"]


@pytest.mark.slow
def test_two_processes_write_one_run(tmp_path: Path) -> None:
    data = save_dataset(tmp_path / "data", n_good=8, n_test=1)
    options = ["--method", "stfpm", "--backbone", "resnet18", "--weights", "random", "--image-size", "64", "--set", "epochs=1"]
    command = [*TORCHRUN, str(ROOT / "kensa.py"), "fit", *options, "--data", str(data), "--out", str(tmp_path / "out" / "run")]

    told = subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, text=True, timeout=58).stdout

    assert told.count("parts to learn from") == 1
    assert open_run(tmp_path / "out" / "run").record.method == "stfpm"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["run"]


if __name__ == "__main__":
    learn(Path(sys.argv[1]))
