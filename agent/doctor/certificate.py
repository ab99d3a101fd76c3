"""Until when the certificates of a station hold, and whether they can be shown at all: looked at before a connection fails."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from agent.doctor.finding import Finding, fail, ok, warn
from agent.sections import Mqtt, Web

_SOON = timedelta(days=30)
_LAST_SHARE = 4  # of its lifetime: one that lives for a day is not always about to end
_RENEW = "put a renewed one in its place: it is read anew, nothing need be restarted"
_OF_ANOTHER_TIME = {9: "is not valid yet", 10: "has expired"}  # X.509 verify codes
_ROUNDS = 8  # of a handshake between two ends in this process, which takes three


@dataclass(frozen=True, slots=True)
class Validity:
    """Of a certificate, by its own words."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Shown:
    """A certificate with its key, PEM files, by which we say who we are. whose: for people. to_server: or to a client."""

    whose: str
    file: str
    key: str
    to_server: bool


def check_certificates(mqtt: Mqtt, web: Web | None, now: datetime) -> dict[str, Finding]:
    """Of each file that a line names, by the name of its alarm."""
    found = {}
    if mqtt.tls is not None:
        found["certificate-authority"] = _authorities(mqtt.tls.ca, now)
        if mqtt.tls.certificate is not None and mqtt.tls.key is not None:
            own = Shown("the certificate for the broker", mqtt.tls.certificate, mqtt.tls.key, to_server=True)
            found["certificate-station"] = check_shown(own, now)
    if web is not None and web.tls is not None:
        page = Shown("the page's certificate", web.tls.certificate, web.tls.key, to_server=False)
        found["certificate-page"] = check_shown(page, now)
    return found


def check_shown(shown: Shown, now: datetime) -> Finding:
    """As whoever it is shown to would see it, who trusts it."""
    named = f"{shown.whose} ({shown.file})"
    try:
        seen = _handshake(shown)
    except ssl.SSLCertVerificationError as e:
        if (when := _OF_ANOTHER_TIME.get(e.verify_code)) is None:
            return fail("certificate", f"{named}: {e.verify_message}", "have it made anew, for this purpose")
        return fail("certificate", f"{named} {when}, or this machine's clock ({now:%Y-%m-%d %H:%M} UTC) is wrong", _RENEW)
    except (OSError, ValueError) as e:  # of which ssl.SSLError is one
        return fail("certificate", f"{named} cannot be used with its key ({shown.key}): {e}", "give both files, in PEM form")
    return check_validity(named, seen, now, _RENEW)


def check_validity(whose: str, validity: Validity, now: datetime, remedy: str) -> Finding:
    """Warns when little is left: 30 days, or a quarter of its lifetime if that is less."""
    left = validity.until - now
    found = f"{whose} holds until {validity.until:%Y-%m-%d %H:%M} UTC"
    if left < timedelta(0):
        return fail(
            "certificate", f"{found}: it has expired, or this machine's clock ({now:%Y-%m-%d %H:%M} UTC) is wrong", remedy
        )
    if left < min(_SOON, (validity.until - validity.since) / _LAST_SHARE):
        return warn("certificate", f"{found}, {_for_people(left)} more", remedy)
    return ok("certificate", found)


def validity_of(seen: Mapping[str, Any]) -> Validity:
    """seen: what `ssl` says of a certificate that it has verified."""
    return Validity(_moment(seen["notBefore"]), _moment(seen["notAfter"]))


def _authorities(file: str, now: datetime) -> Finding:
    """Of several the one that ends last: which one signed cannot be known without the broker."""
    whose = f"what the broker's certificate is verified by ({file})"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(file)
        held = [validity_of(one) for one in context.get_ca_certs()]
    except (OSError, ValueError) as e:
        return fail("certificate", f"{whose} cannot be used: {e}", "give a file of certificates in PEM form as `mqtt.tls.ca`")
    if not held:  # one that signed itself and is no authority
        return ok("certificate", f"{whose} is no authority: its end is seen when the broker is connected")
    return check_validity(whose, max(held, key=lambda one: one.until), now, _RENEW)


def _handshake(shown: Shown) -> Validity:
    """With an end in this process that trusts this very certificate. Raises OSError, ValueError."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    for context in (server, client):
        context.load_cert_chain(shown.file, shown.key, password="")  # nobody is asked for one
    looking = server if shown.to_server else client
    looking.load_verify_locations(shown.file)
    looking.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    looking.verify_mode = ssl.CERT_REQUIRED
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = {client: client.wrap_bio(back, there), server: server.wrap_bio(there, back, server_side=True)}
    for _ in range(_ROUNDS):
        for end in ends.values():
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    seen = ends[looking].getpeercert()
    assert seen is not None  # else the handshake would have failed
    return validity_of(seen)


def _moment(written: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(written), timezone.utc)


def _for_people(left: timedelta) -> str:
    """
    >>> _for_people(timedelta(days=9, hours=5)), _for_people(timedelta(hours=5, minutes=9))
    ('9 days', '5 hours')
    """
    return f"{left.days} days" if left.days >= 2 else f"{left // timedelta(hours=1)} hours"
