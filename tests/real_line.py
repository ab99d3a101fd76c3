"""A belt in real time around the two real processes, with what breaks beside it by chance; what happened against what was told.

`make soak-line` runs it at length, by time and by encoder; short runs are tests/line/test_real_line.py. The truth is the belt's,
which part the flap has taken off, and what an independent PLC saw; never what Kensa says of itself.
"""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

TESTS = Path(__file__).parent
sys.path[:0] = [str(TESTS.parent), str(TESTS), str(TESTS / "agent")]  # ours first: tests/agent is no package

from broker import mosquitto  # noqa: E402 - a script, too
from libmodbus import plc  # noqa: E402
from real_truth import compare, compare_events, wait_for_delivery  # noqa: E402
from real_world import LEDGER, Plan, World, collecting, faults  # noqa: E402

from agent.simulation.line import Findings  # noqa: E402


def run_line(plan: Plan, folder: Path) -> Findings:
    """Parts through the real processes, with faults by chance; what happened against what was told."""
    random, findings = Random(plan.seed + 1), Findings()
    to_make = faults(plan)
    random.shuffle(to_make)
    moments = sorted(random.uniform(0.05, 0.9) * plan.parts for _ in to_make)
    with ExitStack() as around:
        broker, coupler = around.enter_context(mosquitto(folder, persistence=True)), around.enter_context(plc())
        around.enter_context(collecting(broker, folder))
        with ExitStack() as parts:
            world = World(plan, folder, broker, coupler, parts)
            while not world.belt.is_done.wait(0.1):
                world.help()
                if moments and len(world.belt.parts) >= moments[0] and world.is_up():
                    moments.pop(0)
                    world.make(to_make.pop())
            wait_for_delivery(world.state / "outbox.db", findings)
        compare(plan, world, coupler, findings)
        compare_events(world.state / "outbox.db", folder / LEDGER, findings)
    if moments:
        findings.violations.append(f"{len(moments)} of the faults were never made")
    return findings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=20, help="of each process")
    parser.add_argument("--others", type=int, default=8, help="of each other kind of fault")
    parser.add_argument("--encoder", action="store_true", help="the belt changes its speed, stands and runs back")
    options = parser.parse_args()
    sys.setswitchinterval(0.0005)  # the world's threads must not wait for each other
    with TemporaryDirectory(prefix="k") as folder:
        findings = run_line(Plan(options.parts, options.seed, options.kills, options.others, options.encoder), Path(folder))
    print(f"seed {options.seed}, {'by encoder' if options.encoder else 'by time'}")
    print("\n".join(f"{count:10d}  {what}" for what, count in sorted(findings.counts.items())))
    print(f"{len(findings.violations):10d}  violations", *findings.violations[:20], sep="\n")
    return 1 if findings.violations else 0


if __name__ == "__main__":
    sys.exit(main())
