"""A tenant's URL never leads to link-local, metadata or multicast addresses, whatever way it is written."""

from __future__ import annotations

import http.server
import shutil
import ssl
import subprocess
import threading

import httpx
import pytest
from tests.unit.trainer.prompted_model import GOLD, measure, serve

from retune_stores.errors import InputError
from retune_trainer.baseline import outbound


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.170.23",
        "100.100.100.200",
        "168.63.129.16",
        "0.0.0.0",
        "0.1.2.3",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "ff02::1",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "::ffff:169.254.169.254",
        "::ffff:100.100.100.200",
        "::169.254.169.254",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "2001:0:a9fe:a9fe::1",
        "2001:0:102:304::5601:5601",
    ],
)
def test_an_address_that_is_never_contacted(address):
    assert outbound.forbidden(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "10.0.0.7",
        "172.16.3.4",
        "192.168.1.1",
        "100.64.0.1",
        "fd12::7",
        "8.8.8.8",
        "2606:4700::1111",
        "::ffff:10.0.0.7",
        "64:ff9b::808:808",
    ],
)
def test_services_of_the_cluster_and_the_internet_are_allowed(address):
    assert not outbound.forbidden(address)


def resolving_to(*addresses):
    async def resolve(host, port):
        return addresses

    return resolve


def refused(url, tmp_path, **more):
    with pytest.raises(InputError) as caught:
        measure(url, tmp_path, **more)
    assert (caught.value.reason, caught.value.field) == ("EndpointInvalid", "spec.gates.baseline.endpoint.url")
    assert "which is never contacted" in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.43518",
        "169.254.43518",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[fd00:ec2::254]",
        "metadata.google.internal",
        "METADATA.google.internal.",
        "168.63.129.16",
        "0.0.0.0",
        "0",
    ],
)
def test_no_spelling_of_a_metadata_address_is_contacted(tmp_path, host):
    refused(f"http://{host}/v1", tmp_path)


@pytest.mark.parametrize("address", ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "100.100.100.200"])
def test_a_name_that_leads_there_is_refused(tmp_path, address):
    message = refused("https://models.example.org/v1", tmp_path, resolve=resolving_to(address))
    assert f"models.example.org leads to {address}" in message


def test_one_bad_address_among_good_ones_is_enough(tmp_path):
    with serve(lambda request: request.reply_right()) as model:
        url = f"http://models.example.org:{model.port}/v1"
        refused(url, tmp_path, resolve=resolving_to("127.0.0.1", "169.254.169.254"))
    assert model.requests == []


def test_a_name_that_changes_its_address_is_checked_at_each_connection(tmp_path):
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])

    async def rebinding(host, port):
        return next(answers)

    def close(request):
        request.answer(503, b"", Connection="close")
        request.hang_up()

    with serve(close) as model:
        # The first connection is answered and closed; the second try has to connect, and so to look up, again.
        url = f"http://models.example.org:{model.port}/v1"
        refused(url, tmp_path, gold=GOLD[:1], resolve=rebinding)
    assert len(model.requests) == 1


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(tmp_path):
    lookups = []

    async def resolve(host, port):
        lookups.append(host)
        return ["127.0.0.1"]

    with serve(lambda request: request.reply_right()) as model:
        # The name exists nowhere: only what `resolve` said can have been connected to.
        found = measure(f"http://models.invalid:{model.port}/v1", tmp_path, resolve=resolve)
    assert found.numbers["n"] == 10
    assert set(lookups) == {"models.invalid"}
    assert model.requests[0].headers["Host"] == f"models.invalid:{model.port}"


def test_the_next_address_is_tried_when_one_does_not_answer(tmp_path):
    with serve(lambda request: request.reply_right()) as model:
        url = f"http://models.invalid:{model.port}/v1"
        # Nothing listens on the second address of loopback.
        assert measure(url, tmp_path, resolve=resolving_to("127.0.0.2", "127.0.0.1")).numbers["n"] == 10


async def test_a_redirect_that_is_followed_passes_the_same_checks():
    target = "http://169.254.169.254/latest/meta-data"
    with serve(lambda request: request.answer(307, b"", Location=target)) as model:
        async with outbound.client(timeout=5) as client:
            with pytest.raises(outbound.ForbiddenAddressError):
                await client.post(model.url, json={}, follow_redirects=True)


async def test_a_socket_of_the_pod_is_no_address():
    with pytest.raises(outbound.ForbiddenAddressError):
        await outbound.CheckedBackend().connect_unix_socket("/run/some.sock")


@pytest.fixture
def https(tmp_path):
    """A server with a certificate for gateway.test alone, and the context that trusts it."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=gateway.test", "-addext", "subjectAltName=DNS:gateway.test", "-days", "2"]
    subprocess.run([*command, *names, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    # The handshake is made in the request's own thread; a client that refuses it is no error of the server's.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server.server_address[1], ssl.create_default_context(cafile=str(certificate))
    server.shutdown()
    server.server_close()


async def test_tls_goes_on_verifying_the_hosts_name(https):
    port, trusting = https
    async with outbound.client(timeout=5, resolve=resolving_to("127.0.0.1"), tls=trusting) as client:
        assert (await client.get(f"https://gateway.test:{port}")).status_code == 204
        with pytest.raises(httpx.ConnectError, match=r"other\.test"):
            await client.get(f"https://other.test:{port}")


async def test_a_certificate_nobody_vouches_for_is_refused(https):
    async with outbound.client(timeout=5, resolve=resolving_to("127.0.0.1")) as client:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.get(f"https://gateway.test:{https[0]}")
