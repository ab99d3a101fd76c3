"""`kensa collect`: the command around the reference collector (agent/collect/collector.py)."""

import argparse
import contextlib
import logging
import sys
from pathlib import Path

from agent.collect.collector import Collector
from agent.collect.ledger import Ledger
from agent.collect.live_table import LiveTable
from agent.collect.parquet import ParquetFolder
from agent.drivers import ConfigError
from agent.log import start_log
from agent.sections import Login, Mqtt, Tls
from agent.stop_signal import stop_on_signal

log = logging.getLogger(__name__)


def collect_command(arguments: list[str]) -> int:
    """`kensa collect`: runs until Ctrl-C."""
    options = _parser().parse_args(arguments)
    tls = Tls(options.ca, options.certificate, options.key) if options.ca else None
    login = Login(options.user, options.password_file) if options.user else None
    if options.password_file and not options.user:
        raise ConfigError("--password-file needs --user")
    config = Mqtt(options.host, options.topic, options.port, tls=tls, login=login)
    start_log("collect")
    stop = stop_on_signal()
    with Ledger(options.out) as ledger, contextlib.ExitStack() as stack:
        onlookers: list[LiveTable | ParquetFolder] = []
        if options.parquet:
            onlookers.append(ParquetFolder(options.parquet, options.out))
        if options.table or sys.stdout.isatty():
            onlookers.append(LiveTable(sys.stdout))
        for onlooker in onlookers:
            stack.callback(onlooker.close)
        Collector(config, options.name, ledger, onlookers).run(stop)
        counts = ledger.counts
        log.info("%d events kept, %d copies left out, %d lost by stations", counts.kept, counts.copies, counts.lost)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kensa collect",
        description="Collects the events of stations into an SQLite file: each once, gaps asked for, arrivals acknowledged.",
        epilog="example: kensa collect --host broker --topic plant/hall-2 --name archive --out events.db",
    )
    parser.add_argument("--host", required=True, help="of the broker")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--topic", required=True, help="what the topics of the stations begin with")
    parser.add_argument("--name", required=True, help="of this collector: `collector:` in the stations' configuration")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the SQLite file")
    parser.add_argument("--parquet", type=Path, metavar="DIR", help="the events as Parquet files too, written once a minute")
    parser.add_argument("--table", action="store_true", help="shows the stations, a line each; on a terminal it does so anyway")
    parser.add_argument("--ca", metavar="PEM", help="TLS: whose signature the broker's certificate must bear")
    parser.add_argument("--certificate", metavar="PEM", help="TLS: by which the broker knows this collector")
    parser.add_argument("--key", metavar="PEM", help="TLS: of the certificate")
    parser.add_argument("--user")
    parser.add_argument("--password-file", metavar="FILE")
    return parser
