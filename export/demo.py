"""The whole of Kensa on one machine: parts drawn, a model trained and exported, a line run, its events counted."""

import argparse
import os
import shutil
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from agent.bundle import Bundle, open_bundle
from agent.decide import Policy, decide
from agent.drivers import section
from agent.inspection import Outcome
from agent.model import open_model
from agent.preprocess import read_image, to_8_bit
from export.contact_sheet import Inspected, contact_sheet
from export.demo_command import MARKER
from export.demo_line import Belt, Seen, run_line
from export.export_command import describe
from export.pack import export
from training.data import unseen_parts
from training.evaluate import evaluate, open_trained
from training.findings import table
from training.fit import fit
from training.pretrained import EMBEDDED, RANDOM, WeightsError, load_backbone
from training.progress import progress_on
from training.recipe import Recipe
from training.rendered_parts import DEFECTS, draw, write_dataset, write_png
from training.run import open_run

_TEST, _TEST_DEFECTS = 20, 4
_DEFECT_SHARE = 0.25


def demo(options: argparse.Namespace) -> int:
    """0 when every triggered part has one verdict and one event. options: those of export/demo_command.py."""
    console = Console(highlight=False, soft_wrap=True)
    backbone = options.backbone or ("resnet18" if options.weights else EMBEDDED)
    weights = _weights(backbone, options.weights, console)
    folder = _fresh_folder(options.out)
    console.print("The parts are [bold]drawn[/bold]: no camera, no photograph of a real part is involved.")
    truth = _draw(folder, options.train, options.parts, options.seed, console)
    bundle = _train_and_export(folder, backbone, weights, options.seed, console)
    belt = Belt(folder, options.parts, options.rate, options.page)
    seen, account = run_line(belt, options.headless, console)
    _write_contact_sheet(folder, bundle, truth)
    console.print(f"contact sheet: {folder / 'contact_sheet.png'} (photograph, heat map, score)")
    return _report(seen, account, truth, console)


def _fresh_folder(out: Path) -> Path:
    """The demo's own folder, emptied."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / MARKER).touch()
    return out.resolve()


def _weights(backbone: str, given: str | None, console: Console) -> str | None:
    """The weights given, else the backbone's own, else random ones; says which it takes where they are not trained."""
    if given is not None:
        return given
    os.environ["HF_HUB_OFFLINE"] = "1"  # the demo must not depend on a network, not even on waiting for one
    try:
        load_backbone(backbone, None, seed=0)
    except WeightsError:
        console.print(
            f"[bold yellow]No trained weights of {backbone} in reach: the demo goes on with a random backbone.[/bold yellow] "
            "It shows the whole line, but finds fewer defects than a trained one; give weights with --weights FILE."
        )
        return RANDOM
    return None


def _draw(folder: Path, train: int, parts: int, seed: int, console: Console) -> list[str | None]:
    """Photographs to train and test on, and the parts of the line; returns the defect of each part of the line."""
    start_s = time.monotonic()
    write_dataset(folder / "data", seed, train, _TEST, _TEST_DEFECTS)
    random = np.random.default_rng([seed, 1])
    truth = [str(random.choice(DEFECTS)) if random.random() < _DEFECT_SHARE else None for _ in range(parts)]
    for k, defect in enumerate(truth):
        part = draw(np.random.default_rng([seed, 2, k]), defect)
        write_png(folder / "belt" / f"{k:05d}.png", part.image[..., ::-1])
    n_drawn = train + _TEST + _TEST_DEFECTS * len(DEFECTS) + parts
    console.print(f"{n_drawn} parts drawn in {time.monotonic() - start_s:.1f} s; defects: {', '.join(DEFECTS)}")
    return truth


def _train_and_export(folder: Path, backbone: str, weights: str | None, seed: int, console: Console) -> Bundle:
    data, run, bundle = folder / "data", folder / "run", folder / "bundle"
    fit(
        Recipe("patchcore", str(data), str(run), backbone, weights, seed=seed, settings={"bank": 2000, "pool": 32_768}),
        progress_on(sys.stderr),
    )
    console.print(describe(export(open_run(run), bundle, "drawn part")))
    with ExitStack() as stack:
        trained = open_trained(bundle, None, stack)
        found = evaluate(trained.model, unseen_parts(data), progress_on(sys.stderr), usual=trained.usual)
        console.print("test set, through the bundle:\n" + table(found))
    return open_bundle(bundle)


def _write_contact_sheet(folder: Path, bundle: Bundle, truth: list[str | None]) -> None:
    """Two good parts and two of each defect, as many as went over the belt."""
    wanted = [k for kind in (None, *DEFECTS) for k in [i for i, defect in enumerate(truth) if defect == kind][:2]]
    artifact = bundle.artifact_for(["openvino"])
    policy, inspected = Policy(artifact.calibration.threshold), []
    with open_model(bundle, artifact, section("agent.runtimes", {"type": "openvino"})) as model:
        for k in wanted:
            image = to_8_bit(read_image(folder / "belt" / f"{k:05d}.png"), model.contract.white_level)
            prediction = model.predict(image)
            passed = decide(prediction, policy).outcome is Outcome.PASS
            title = f"part {k + 1}: {truth[k] or 'good'}"
            inspected.append(Inspected(image, prediction, title, passed, truth[k] is not None))
    contact_sheet(inspected, bundle.manifest.input, folder / "contact_sheet.png")


def _report(seen: Seen, account: dict[str, int], truth: list[str | None], console: Console) -> int:
    """Prints the account and whether everything adds up; 0 only then."""
    events = seen.all()
    triggers, passed, rejected = (account.get(key, 0) for key in ("triggers", "pass", "reject"))
    causes = {key.removeprefix("reject_"): n for key, n in sorted(account.items()) if key.startswith("reject_")}
    told = ", ".join(f"{cause} {n}" for cause, n in causes.items()) or "none"
    console.print(f"\naccount at the gate: {triggers} triggers = {passed} pass + {rejected} reject ({told})")
    console.print(f"independent subscriber: {len(events)} events, {seen.copies} copies, seq {_gaps(events)}")
    outcome_of = {event["data"]["part"]["n"]: event["data"]["outcome"] for event in events}
    by_kind: dict[str, Counter[str]] = {}
    for k, defect in enumerate(truth):
        by_kind.setdefault(defect or "good", Counter())[outcome_of.get(k + 1, "no event")] += 1
    for kind, counts in sorted(by_kind.items(), key=lambda item: (item[0] != "good", item[0])):
        n, rejects = sum(counts.values()), counts["reject"]
        console.print(f"  {kind:14s} {n:4d} parts, {rejects:4d} rejected")
    adds_up = triggers == passed + rejected == len(truth) == len(events) and not account.get("unconfirmed")
    console.print("[bold green]everything adds up[/]" if adds_up else "[bold red]the account does not add up[/]: see line.log")
    return 0 if adds_up else 1


def _gaps(events: list[dict[str, Any]]) -> str:
    numbers = [int(event["seq"]) for event in events]
    missing = set(range(1, max(numbers, default=0) + 1)) - set(numbers)
    return f"1 to {max(numbers, default=0)} with {len(missing)} missing"
