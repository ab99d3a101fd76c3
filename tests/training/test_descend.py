"""The gradient loop: cut off and resumed it ends bit by bit the same, and what cannot go on says so."""

import math
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from told import Cut, Told, quiet
from torch import Tensor, nn

from training.checkpoints import DescentError, checkpoints_of
from training.descend import Course, batch_of, descend, steps_of

TESTS = Path(__file__).parents[1]
DATA = torch.randn(10, 3, 8, 8, generator=torch.Generator().manual_seed(0))

OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-2),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=1e-2, momentum=0.9, weight_decay=1e-3),
    "plain": lambda parameters: torch.optim.SGD(parameters, lr=1e-2),
}


def learner(normalized: bool = True) -> nn.Sequential:
    """With all that makes going on hard: chance, running statistics, memory in another order."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        norm, dropout = (nn.BatchNorm2d(4), nn.Dropout(0.5)) if normalized else (nn.Identity(), nn.Identity())
        layers = nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU(), dropout, nn.Conv2d(4, 1, 3))
    return layers.to(memory_format=torch.channels_last)


def course_of(network: nn.Module, kind: str = "adam", steps: int = 9, **changes) -> Course:
    def loss(step: int) -> Tensor:
        batch = DATA[batch_of(step, len(DATA), 4, seed=1)]
        return (network(batch + 0.1 * torch.randn_like(batch)) - 1.0).square().mean()

    made = OPTIMIZERS[kind](list(network.parameters()))
    return Course(
        **{"stage": "student", "learner": network, "optimizer": made, "steps": steps, "seed": 3, "loss": loss} | changes
    )


def the_same(network: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(value, other.state_dict()[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_descent_that_was_cut_off_ends_bit_by_bit_as_one_that_was_not(optimizer: str, tmp_path: Path) -> None:
    whole, cut, resumed = learner(), learner(), learner()
    falling = {"rate": lambda share: 1.0 - share}
    descend(course_of(whole, optimizer, **falling), quiet())
    with pytest.raises(KeyboardInterrupt):
        descend(course_of(cut, optimizer, **falling), Cut(4), tmp_path)

    descend(course_of(resumed, optimizer, **falling), quiet(), tmp_path)

    assert the_same(resumed, whole)
    assert not the_same(cut, whole)


def test_ctrl_c_within_a_step_waits_for_its_end(tmp_path: Path) -> None:
    network, whole = learner(), learner()
    course, full = course_of(network), course_of(whole)
    descend(full, quiet())

    def interrupted(step: int) -> Tensor:
        [signal.raise_signal(signal.SIGINT) for _ in range(int(step == 2))]
        return course.loss(step)

    with pytest.raises(KeyboardInterrupt):
        descend(course_of(network, loss=interrupted), quiet(), tmp_path)
    resumed = learner()
    descend(course_of(resumed), quiet(), tmp_path)

    assert the_same(resumed, whole)


def test_all_chance_comes_from_the_seed_and_none_from_outside() -> None:
    one, other, third = learner(), learner(), learner()

    torch.manual_seed(5)
    descend(course_of(one), quiet())
    untouched = torch.rand(1)
    torch.manual_seed(6)
    descend(course_of(other), quiet())
    descend(course_of(third, seed=4), quiet())

    torch.manual_seed(5)
    assert torch.equal(untouched, torch.rand(1))
    assert the_same(one, other)
    assert not the_same(one, third)


def test_the_rate_is_a_factor_of_the_optimizers_own_which_is_given_back() -> None:
    network, rates = learner(), []
    course = course_of(network, steps=4, rate=lambda share: 1.0 - share)
    course.optimizer.register_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))

    descend(course, quiet())

    assert rates == pytest.approx([1e-2, 0.75e-2, 0.5e-2, 0.25e-2])
    assert course.optimizer.param_groups[0]["lr"] == 1e-2


def test_the_loss_is_told_and_the_learner_left_in_eval_mode() -> None:
    network, told = learner(), Told()

    descend(course_of(network, steps=30), told)

    losses = [float(figures.removeprefix("loss ")) for figures in told.figures]
    assert len(losses) == 30
    assert losses[-1] < losses[0]
    assert not network.training


def test_a_loss_that_is_no_number_ends_the_descent_with_its_place(tmp_path: Path) -> None:
    network = learner()
    broken = course_of(network, loss=lambda step: network(DATA).sum() * (math.nan if step == 2 else 1.0))

    with pytest.raises(DescentError, match="student, step 3 of 9: the loss is nan"):
        descend(broken, quiet(), tmp_path)

    assert all(value.isfinite().all() for value in network.state_dict().values())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"steps": 2}, "after 4 steps, expected at most 2"),
        ({"learner": nn.Linear(2, 2)}, "of another network or optimizer"),
        ({"optimizer": torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)}, "of another network or optimizer"),
    ],
    ids=["shorter", "network", "optimizer"],
)
def test_a_checkpoint_of_another_descent_is_refused(tmp_path: Path, changes: dict, named: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        descend(course_of(learner()), Cut(4), tmp_path)

    with pytest.raises(DescentError, match=named):
        descend(course_of(learner(), **changes), quiet(), tmp_path)


@pytest.mark.parametrize("kept", [0, 20, 400], ids=["empty", "header-cut", "tensors-cut"])
def test_a_checkpoint_that_is_not_whole_is_refused(tmp_path: Path, kept: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        descend(course_of(learner()), Cut(4), tmp_path)
    file = tmp_path / "student.safetensors"
    file.write_bytes(file.read_bytes()[:kept])

    with pytest.raises(DescentError, match=r"student\.safetensors: cannot be read .*remove it and begin again"):
        descend(course_of(learner()), quiet(), tmp_path)


def test_a_checkpoint_that_cannot_be_written_is_named_and_leaves_nothing_half(tmp_path: Path) -> None:
    (tmp_path / "student.safetensors").mkdir()

    with pytest.raises(DescentError, match=r"student\.safetensors: cannot be written"):
        descend(course_of(learner()), quiet(), tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["student.safetensors"]


def test_the_checkpoints_folder_goes_with_a_fit_that_is_done_or_has_none(tmp_path: Path) -> None:
    with checkpoints_of(tmp_path / "run", b"recipe", resume=False) as folder:
        (folder / "student.safetensors").touch()
    with pytest.raises(KeyboardInterrupt), checkpoints_of(tmp_path / "run", b"recipe", resume=False):
        raise KeyboardInterrupt

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("decides", "resume", "named"),
    [(b"recipe", False, "go on with --resume, or remove it"), (b"another", True, "of other photographs or other options")],
    ids=["not-asked", "another"],
)
def test_the_checkpoints_of_a_fit_that_was_cut_off_are_in_nobodys_way_unseen(
    tmp_path: Path, decides: bytes, resume: bool, named: str
) -> None:
    def cut_off() -> None:
        with checkpoints_of(tmp_path / "run", b"recipe", resume=False) as folder:
            descend(course_of(learner()), Cut(4), folder)

    with pytest.raises(KeyboardInterrupt):
        cut_off()

    with pytest.raises(DescentError, match=named), checkpoints_of(tmp_path / "run", decides, resume):
        pass

    assert (tmp_path / "run.checkpoint" / "student.safetensors").exists()


def test_what_was_killed_before_its_first_checkpoint_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "run.checkpoint").mkdir()
    (tmp_path / "run.checkpoint" / "decides.sha256").write_text("of other options")

    with checkpoints_of(tmp_path / "run", b"recipe", resume=False) as folder:
        assert folder.is_dir()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("resume", [False, True], ids=["anew", "resumed"])
def test_a_second_fit_of_the_same_run_is_refused_while_the_first_is_at_work(tmp_path: Path, resume: bool) -> None:
    with checkpoints_of(tmp_path / "run", b"recipe", resume=False) as folder:
        (folder / "student.safetensors").touch()

        with (
            pytest.raises(DescentError, match="another process is at work in it; wait for its end"),
            checkpoints_of(tmp_path / "run", b"recipe", resume),
        ):
            pass

        assert (folder / "student.safetensors").exists()


def test_an_epoch_takes_each_part_once_and_the_next_in_another_order() -> None:
    epochs = [[k for step in range(3) for k in batch_of(3 * epoch + step, 10, 4, seed=0)] for epoch in range(2)]

    assert steps_of(2, 10, 4) == 6
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 2
    assert epochs[0] != epochs[1]
