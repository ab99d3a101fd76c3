"""`kensa web`: the page of a line, in a process of its own so that nothing of it can hold up a verdict."""

import argparse
import logging
from pathlib import Path

import msgspec

from agent.drivers import ConfigError
from agent.give_way import give_way
from agent.last_good import load_or_last_good, remember
from agent.log import start_log
from agent.only_one import only_one
from agent.owner import become_owner
from agent.sections import Web

log = logging.getLogger(__name__)

_MOST_CONNECTIONS = 100
_LEAVE_WITHIN_S = 2


def web_command(arguments: list[str]) -> int:
    """Serves the page of a line, until it is told to stop."""
    parser = argparse.ArgumentParser(prog="kensa web", description=web_command.__doc__, epilog="example: kensa web line.yaml")
    parser.add_argument("line", type=Path, help="the line's YAML file")
    line = load_or_last_good(parser.parse_args(arguments).line, "web")
    become_owner(line.state)
    try:
        import uvicorn

        from agent.web.app import Page, app_of
        from agent.web.certificate import ShownCertificate
        from agent.web.patience import ImpatientProtocol
    except ModuleNotFoundError as e:
        raise ConfigError(f"the page needs the package {e.name}: pip install starlette uvicorn prometheus-client") from e
    start_log("web")
    web = line.web or Web()
    give_way()
    with only_one(line.state, "web"):
        try:
            page = Page(line.state, web.tls is not None, line.outbox)
        except (OSError, msgspec.DecodeError) as e:
            found = f"{line.state / 'web'}: the accounts cannot be read ({e})"
            raise ConfigError(f"{found}; put accounts.json back, or remove it to make the first account anew") from e
        shown = ShownCertificate(web.tls) if web.tls else None
        config = uvicorn.Config(
            app_of(page, shown.follow_forever if shown else None),
            host=web.host,
            port=web.port,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            http=ImpatientProtocol,
            ws="none",
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_LEAVE_WITHIN_S,
            ssl_certfile=web.tls.certificate if web.tls else None,
            ssl_keyfile=web.tls.key if web.tls else None,
        )
        try:
            config.load()
        except OSError as e:
            files = f"{web.tls.certificate}, {web.tls.key}" if web.tls else ""
            raise ConfigError(f"{line.file}: web.tls: {files}: expected a certificate and its key, in PEM form: {e}") from e
        if shown is not None:
            shown.context = config.ssl
        remember(line, "web")
        address = f"{'https' if web.tls else 'http'}://{web.host}:{web.port}"
        log.info("page at %s", address)
        if page.accounts.is_first_run:
            log.warning("no account yet: open %s/login and give the token that stands in %s", address, page.accounts.token_file)
        if not web.is_local and web.tls is None:
            log.warning("the page is open to the network without tls: passwords can be overheard there")
        uvicorn.Server(config).run()
    return 0
