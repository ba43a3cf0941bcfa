"""The front door as a parser of what strangers send: pipelining, malformed heads, smuggling."""

import json
import socket

import pytest

from modelyard.gateway.paths import Kind, parse_target


def talk(gateway, *pieces: bytes) -> bytes:
    """Send all, then read until the other side closes."""
    with gateway.connect() as client:
        for piece in pieces:
            client.sendall(piece)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
        return answer


CLOSE = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
GET = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"


def test_pipelined_requests_are_answered_in_order(gateway):
    answer = talk(gateway, b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n" + GET * 20 + CLOSE)
    assert answer.count(b"HTTP/1.1 200 ") == 22
    assert answer.index(b'"modelyard"') < answer.index(b'"live"')


def test_a_request_in_single_bytes_is_understood(gateway):
    assert talk(gateway, *[CLOSE[i : i + 1] for i in range(len(CLOSE))]).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "text",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET /v2 HTTP/1.1\nHost: x\n\n",
        b"GET /v2 HTTP/3.7\r\nHost: x\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
        b"GET /v2\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT evil:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        b"POST /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: +4\r\n\r\nabcd",
        b"POST /v2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
def test_what_is_no_sound_request_gets_one_problem_and_the_door(gateway, text):
    answer = talk(gateway, text, b"")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in head
    assert json.loads(body)["status"] == 400
    assert answer.count(b"HTTP/1.1") == 1


def test_a_body_in_a_coding_that_is_not_understood_is_not_guessed_at(gateway):
    text = b"POST /v2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
    answer = talk(gateway, text)
    assert answer.startswith(b"HTTP/1.1 501 ")
    assert answer.count(b"HTTP/1.1") == 1


def test_a_trailer_cannot_give_a_second_length(gateway):
    start = b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert talk(gateway, start + b"0\r\nContent-Length: 100\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_a_broken_chunk_ends_the_connection_not_the_gateway(gateway, auth):
    answer = talk(
        gateway,
        b"POST /proxied HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"5\r\nhelloXX5\r\n" + GET,
    )
    assert answer.count(b"HTTP/1.1") <= 1
    assert b'"live"' not in answer
    assert talk(gateway, CLOSE).startswith(b"HTTP/1.1 200 ")


def test_requests_before_a_broken_one_are_answered_first(gateway):
    answer = talk(gateway, GET + b"BROKEN\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b" 500 " not in answer


def test_an_upgrade_that_is_not_offered_is_ignored(gateway):
    answer = talk(gateway, b"GET /v2 HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_http_1_0_is_answered_and_closed(gateway):
    assert talk(gateway, b"GET /v2 HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_an_idle_half_request_does_not_hold_up_others(gateway):
    with gateway.connect() as idle:
        idle.sendall(b"POST /v2/models/x/infer HTTP/1.1\r\nHost")
        assert talk(gateway, CLOSE).startswith(b"HTTP/1.1 200 ")
        idle.shutdown(socket.SHUT_WR)
        assert idle.recv(100) == b""


@pytest.mark.parametrize(
    ("raw", "kind", "namespace", "name", "version", "rest"),
    [
        ("/v2", Kind.SERVER, "", "", None, ""),
        ("/v2/models/m", Kind.MODEL_METADATA, "default", "m", None, "/v2/models/m"),
        ("/v2/models/m/", Kind.MODEL_METADATA, "default", "m", None, "/v2/models/m/"),
        ("/v2/models/m/versions/2/ready", Kind.MODEL_READY, "default", "m", "2", "/v2/models/m/versions/2/ready"),
        ("/namespaces/n/v2/models/m/infer", Kind.MODEL_INFER, "n", "m", None, "/v2/models/m/infer"),
        ("/proxy/n/m/a%2Fb/c", Kind.PROXY, "n", "m", None, "/a%2Fb/c"),
        ("/proxy/n/m", Kind.PROXY, "n", "m", None, "/"),
        ("/proxy/n", Kind.UNKNOWN, "", "", None, ""),
        ("/v2/models", Kind.UNKNOWN, "", "", None, ""),
        ("/metrics", Kind.METRICS, "", "", None, ""),
        ("/api/v1/models", Kind.CONTROL, "", "", None, ""),
        ("/", Kind.CONTROL, "", "", None, ""),
        ("*", Kind.UNKNOWN, "", "", None, ""),
        ("/internal/metrics", Kind.HIDDEN, "", "", None, ""),
        ("/%69nternal/metrics", Kind.HIDDEN, "", "", None, ""),
        ("//internal", Kind.HIDDEN, "", "", None, ""),
        ("/./internal/x", Kind.HIDDEN, "", "", None, ""),
        ("/api/%2e%2e/internal/x", Kind.HIDDEN, "", "", None, ""),
        ("/internal%2Fmetrics", Kind.HIDDEN, "", "", None, ""),
    ],
)
def test_paths_are_taken_apart(raw, kind, namespace, name, version, rest):
    assert parse_target(raw.encode()) == (kind, namespace, name, version, rest)
