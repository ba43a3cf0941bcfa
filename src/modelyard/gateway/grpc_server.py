"""The port on which gRPC is served: what of connections and calls there may be. Needs grpcio."""

from __future__ import annotations

from typing import Final, NamedTuple

import grpc
import grpc.aio

from modelyard.gateway.doorway import HANDSHAKE_TIMEOUT
from modelyard.gateway.grpc import InferenceService
from modelyard.gateway.tls import Certificate

# Calls at once; more are refused before anything of them is read.
_MAX_CALLS: Final = 4096
# Connections at once, with those at their handshake; each may have many calls.
_MAX_CONNECTIONS: Final = 4096
# Milliseconds for which a connection may be without a call; clients make a new one by themselves.
_IDLE_MS: Final = 600_000


class CannotListen(Exception):
    """The port is not to be had: most often as another program has it."""


class Listening(NamedTuple):
    """A server that serves, and its port."""

    server: grpc.aio.Server
    port: int


async def listen(
    service: InferenceService, host: str, port: int, max_message: int, certificate: Certificate | None = None
) -> Listening:
    """Serve on ``port``, or on a free one for 0, with ``certificate`` over TLS; a message may have so many bytes.

    Raises:
        CannotListen: another program has it.
    """
    service.room.allow(max_message)
    server = grpc.aio.server(
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", max_message),
            ("grpc.max_send_message_length", -1),
            ("grpc.server_handshake_timeout_ms", int(HANDSHAKE_TIMEOUT * 1000)),
            ("grpc.max_allowed_incoming_connections", _MAX_CONNECTIONS),
            ("grpc.max_connection_idle_ms", _IDLE_MS),
        ],
        maximum_concurrent_rpcs=_MAX_CALLS,
    )
    server.add_generic_rpc_handlers((service,))
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if certificate is None:
            bound = server.add_insecure_port(address)
        else:
            bound = server.add_secure_port(address, _credentials(certificate))
    except RuntimeError:
        # Why is in grpcio's own words in the log.
        raise CannotListen from None
    await server.start()
    return Listening(server, bound)


def _credentials(certificate: Certificate) -> grpc.ServerCredentials:
    """Those of ``certificate``, asked for anew by each connection: it may have been replaced."""

    def shown() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([certificate.pair])

    return grpc.dynamic_ssl_server_credentials(shown(), shown)
