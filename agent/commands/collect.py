"""`kensa collect`: the command around the reference collector (agent/collect/collector.py)."""

import argparse
import contextlib
import logging
import sys
from pathlib import Path

from agent.collect.certificate_log import CertificateLog
from agent.collect.collector import Collector
from agent.collect.ledger import Ledger
from agent.collect.live_table import LiveTable
from agent.collect.onlooker import Onlooker
from agent.collect.parquet import ParquetFolder
from agent.collect.shortened import Shortened
from agent.drivers import ConfigError, SectionError, convert
from agent.log import start_log
from agent.sections import Mqtt
from agent.stop_signal import stop_on_signal

_MOST_DAYS = 36_500

log = logging.getLogger(__name__)


def collect_command(arguments: list[str]) -> int:
    """`kensa collect`: runs until Ctrl-C."""
    options = _parser().parse_args(arguments)
    config = _config(options)
    start_log("collect")
    stop = stop_on_signal()
    with Ledger(options.out) as ledger, contextlib.ExitStack() as stack:
        onlookers: list[Onlooker] = [CertificateLog(config)]
        if options.parquet:
            files = ParquetFolder(options.parquet, options.out)
            stack.callback(files.close)
            onlookers += [files, Shortened(ledger, files, options.keep_days)] if options.keep_days else [files]
        if options.table or sys.stdout.isatty():
            table = LiveTable(sys.stdout)
            stack.callback(table.close)
            onlookers.append(table)
        Collector(config, ledger, onlookers).run(stop)
        counts = ledger.counts
        log.info("%d events kept, %d copies left out, %d lost by stations", counts.kept, counts.copies, counts.lost)
    return 0


def _config(options: argparse.Namespace) -> Mqtt:
    """Raises ConfigError, which names the option."""
    if (options.certificate or options.key) and not options.ca:
        raise ConfigError("--certificate and --key need --ca: without it nothing is encrypted")
    if options.password_file and not options.user:
        raise ConfigError("--password-file needs --user")
    if options.keep_days is not None and not (options.parquet and 1 <= options.keep_days <= _MOST_DAYS):
        raise ConfigError(f"--keep-days needs --parquet (what is in no file would be gone), and 1 to {_MOST_DAYS} days")
    said = {"host": options.host, "port": options.port, "topic": options.topic, "collector": options.name}
    if options.ca:
        said["tls"] = {"ca": options.ca, "certificate": options.certificate, "key": options.key}
    if options.user:
        said["login"] = {"user": options.user, "password_file": options.password_file}
    try:
        config: Mqtt = convert(said, Mqtt)
    except SectionError as e:
        where = str(e.path[0]) if e.path else "host"
        option = {"collector": "name", "tls": "certificate", "login": "password-file"}.get(where, where)
        raise ConfigError(f"--{option} {getattr(options, option.replace('-', '_'))}: {e}") from e
    return config


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
    parser.add_argument("--parquet", type=Path, metavar="DIR", help="the events as Parquet files too, written once an hour")
    days = "what is older than the newest event by more, and in a Parquet file, is taken out of the SQLite file"
    parser.add_argument("--keep-days", type=int, metavar="N", help=days)
    parser.add_argument("--table", action="store_true", help="shows the stations, a line each; on a terminal it does so anyway")
    parser.add_argument("--ca", metavar="PEM", help="TLS: whose signature the broker's certificate must bear")
    parser.add_argument("--certificate", metavar="PEM", help="TLS: by which the broker knows this collector")
    parser.add_argument("--key", metavar="PEM", help="TLS: of the certificate")
    parser.add_argument("--user")
    parser.add_argument("--password-file", metavar="FILE")
    return parser
