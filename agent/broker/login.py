"""By what broker and station know each other: certificates and a password, read anew for each connection."""

import ssl

from agent.broker.error import BrokerLostError
from agent.clock import utc_now
from agent.sections import Login, Tls

_CLOCK_OR_CERTIFICATE = {9: "not valid yet", 10: "expired"}  # X.509 verify codes


class _TlsSocket(ssl.SSLSocket):
    """Closed when there is no agreement: paho forgets it."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Read anew for each connection, so that exchanged files are taken up. Raises BrokerLostError."""
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        context.sslsocket_class = _TlsSocket
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as e:
        files = ", ".join(file for file in (tls.ca, tls.certificate, tls.key) if file)
        raise BrokerLostError(f"TLS: one of {files} cannot be used: {e}") from e
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def password_of(login: Login) -> str:
    """Read anew for each connection. Raises BrokerLostError."""
    file = login.file
    try:
        return file.read_text().removesuffix("\n")
    except (OSError, UnicodeDecodeError) as e:
        raise BrokerLostError(f"the password file {file} cannot be read: {e}") from e


def certificate_trouble(error: ssl.SSLCertVerificationError) -> str:
    """A certificate can be wrong, or the clock it is held against."""
    if (when := _CLOCK_OR_CERTIFICATE.get(error.verify_code)) is None:
        return f"TLS: the broker's certificate is not accepted: {error.verify_message}"
    return f"TLS: the broker's certificate is {when}, or this machine's clock ({utc_now()}) is wrong"
