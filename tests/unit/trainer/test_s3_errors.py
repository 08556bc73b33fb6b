"""What a store answers becomes a reason, a field and a cure. A small HTTP server plays the store."""

from __future__ import annotations

import hashlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.unit.trainer.fakes import run_config

from retune_stores import Place, open_store
from retune_stores.credentials import Credentials, Role
from retune_stores.errors import InputError, NotFoundError, StoreError
from retune_stores.s3 import S3Store
from retune_trainer import inputs
from retune_trainer.places import place_of

KEYS = {"AWS_ACCESS_KEY_ID": "some-key", "AWS_SECRET_ACCESS_KEY": "some-secret", "AWS_REGION": "us-east-1"}


class Answers:
    """The next answers of the server: (status, body), the last one over and over; and the requests it got."""

    def __init__(self):
        self.next = []
        self.requests = []
        self.headers = []


@pytest.fixture
def server():
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        # With it, the 100 that botocore waits for before a body is sent at once.
        protocol_version = "HTTP/1.1"

        def _answer(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answers.requests.append(f"{self.command} {self.path}")
            answers.headers.append(dict(self.headers))
            status, body = answers.next.pop(0) if len(answers.next) > 1 else answers.next[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = _answer  # noqa: N815

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    answers.url = f"http://127.0.0.1:{http.server_address[1]}"
    yield answers
    http.shutdown()
    http.server_close()


def xml(code):
    return f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()


def store(url, keys=KEYS, secret="data-store", uri="s3://data/support"):
    place = Place(
        uri=uri,
        field="spec.dataset.train.uri",
        secret=secret,
        secret_field="spec.dataset.train.secretRef",
        credentials=Credentials({**keys, "AWS_ENDPOINT_URL": url}),
    )
    return S3Store(place)


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "ExpiredToken"])
def test_rejected_keys_name_the_secret_and_the_field(server, code):
    server.next = [(403, xml(code))]
    with pytest.raises(InputError) as caught:
        store(server.url).read("train.jsonl")
    assert (caught.value.reason, caught.value.field) == ("CredentialsRejected", "spec.dataset.train.secretRef")
    assert "Secret 'data-store'" in caught.value.message
    assert f"403 {code}" in caught.value.message
    assert "some-secret" not in caught.value.message


def test_without_a_secret_the_cure_is_to_name_one(server):
    server.next = [(403, xml("AccessDenied"))]
    with pytest.raises(InputError) as caught:
        store(server.url, secret=None).read("x")
    assert "no secretRef is set" in caught.value.message
    assert caught.value.message.endswith("name a Secret in spec.dataset.train.secretRef")


@pytest.mark.parametrize("code", ["NoSuchKey", "NoSuchBucket"])
def test_what_is_not_there_is_not_found(server, code):
    server.next = [(404, xml(code))]
    with pytest.raises(NotFoundError, match=f"s3://data/support/train.jsonl does not exist .*{code}"):
        store(server.url).read("train.jsonl")


def test_a_refused_write_is_not_writable_but_wrong_keys_are_wrong_keys(server):
    server.next = [(403, xml("AccessDenied"))]
    with pytest.raises(InputError) as caught:
        store(server.url).put("run.json", b"{}")
    assert caught.value.reason == "ArtifactsNotWritable"
    server.next = [(403, xml("SignatureDoesNotMatch"))]
    with pytest.raises(InputError) as caught:
        store(server.url).put("run.json", b"{}")
    assert caught.value.reason == "CredentialsRejected"


def test_a_missing_bucket_is_not_writable_and_is_named(server):
    server.next = [(404, xml("NoSuchBucket"))]
    with pytest.raises(InputError) as caught:
        store(server.url).put("run.json", b"{}")
    assert (caught.value.reason, "create the bucket 'data'" in caught.value.message) == ("ArtifactsNotWritable", True)


def test_a_conditional_write_that_lost_is_no_error(server):
    server.next = [(412, xml("PreconditionFailed"))]
    assert store(server.url).put("manifest.json", b"{}", if_absent=True) is False
    assert server.headers[0]["If-None-Match"] == "*"


def test_a_plain_write_is_unconditional(server):
    server.next = [(200, b"")]
    assert store(server.url).put("report.json", b"{}") is True
    assert server.requests == ["PUT /data/support/report.json"]
    assert "If-None-Match" not in server.headers[0]


def test_a_store_that_does_not_listen_may_be_tried_again():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    unreachable = store(url)
    unreachable._client.meta.events.register("needs-retry.s3", lambda **_: None)
    with pytest.raises(StoreError) as caught:
        unreachable.read("x")
    assert (caught.value.exit_code, caught.value.reason) == (65, "StoreUnreachable")
    assert "AWS_ENDPOINT_URL" in caught.value.message


@pytest.mark.parametrize("keys", [{"AWS_ACCESS_KEY_ID": "a"}, {"AWS_SECRET_ACCESS_KEY": "b"}])
def test_half_a_pair_of_keys_is_named_before_anything_is_sent(keys):
    with pytest.raises(InputError, match=r"it has AWS_.* but no AWS_"):
        store("http://127.0.0.1:1", keys=keys).read("x")


def test_an_endpoint_that_is_no_url_is_named():
    with pytest.raises(InputError, match="AWS_ENDPOINT_URL must be a URL") as caught:
        store("store:8333").read("x")
    assert caught.value.reason == "CredentialsRejected"


def test_the_identity_is_taken_from_one_listing_without_a_download(server):
    listing = b"""<ListBucketResult><IsTruncated>false</IsTruncated>
    <Contents><Key>support/b.json</Key><Size>7</Size><ETag>"e2"</ETag></Contents>
    <Contents><Key>support/a.json</Key><Size>5</Size><ETag>"e1"</ETag></Contents>
    <Contents><Key>support/</Key><Size>0</Size><ETag>"e0"</ETag></Contents></ListBucketResult>"""
    server.next = [(200, listing)]
    identity = store(server.url).identity()
    assert identity == hashlib.sha256(b"a.json 5 e1\nb.json 7 e2\n").hexdigest()
    assert len(server.requests) == 1


def test_a_download_is_digested_as_it_streams(server, tmp_path):
    server.next = [(200, b"content")]
    digest = store(server.url).download("train.jsonl", tmp_path / "deep" / "x")
    assert (tmp_path / "deep" / "x").read_bytes() == b"content"
    assert digest == hashlib.sha256(b"content").hexdigest()


class TestWhichSecretOpensWhat:
    def place(self, role, **spec):
        config = run_config(artifacts={"uri": "s3://models/out", "secretRef": {"name": "store"}}, **spec)
        keys = {role: Credentials({"AWS_REGION": role.name}) for role in Role}
        return place_of(config, keys, role)

    def test_an_s3_uri_without_a_secret_uses_the_artifacts_one(self):
        place = self.place(Role.BASE_MODEL, baseModel={"uri": "s3://models/base"})
        assert (place.secret, place.secret_field) == ("store", "spec.artifacts.secretRef")
        assert place.credentials.get("AWS_REGION") == "ARTIFACTS"
        assert place.field == "spec.baseModel.uri"

    def test_its_own_secret_comes_first(self):
        place = self.place(Role.BASE_MODEL, baseModel={"uri": "s3://models/base", "secretRef": {"name": "own"}})
        assert (place.secret, place.secret_field) == ("own", "spec.baseModel.secretRef")
        assert place.credentials.get("AWS_REGION") == "BASE_MODEL"

    def test_the_hub_never_sees_the_artifacts_secret(self):
        place = self.place(Role.BASE_MODEL, baseModel={"uri": "hf://org/name"})
        assert (place.secret, place.credentials.get("AWS_REGION")) == (None, "BASE_MODEL")


def test_an_unknown_scheme_names_those_that_are_known():
    place = Place("gs://bucket/x", "spec.baseModel.uri", None, "spec.baseModel.secretRef", Credentials())
    with pytest.raises(InputError, match="use s3://, hf:// or pvc://"):
        open_store(place)


@pytest.mark.parametrize("uri", ["s3:///train.jsonl", "hf://name", "hf://", "hf:///x"])
def test_a_uri_that_names_nothing_is_refused(uri):
    with pytest.raises(InputError) as caught:
        open_store(Place(uri, "spec.baseModel.uri", None, "spec.baseModel.secretRef", Credentials()))
    assert caught.value.field == "spec.baseModel.uri"


def test_a_data_set_that_is_not_there_is_named_with_its_field(server, tmp_path):
    server.next = [(404, xml("NoSuchKey"))]
    config = run_config(
        dataset={"train": {"uri": "s3://data/train.jsonl", "secretRef": {"name": "s"}}, "gold": {"uri": "s3://data/g"}}
    )
    keys = {Role.TRAIN: Credentials({**KEYS, "AWS_ENDPOINT_URL": server.url})}
    with pytest.raises(InputError) as caught:
        inputs.Sources(config, keys).fetch(Role.TRAIN, tmp_path)
    assert (caught.value.reason, caught.value.field) == ("DatasetNotFound", "spec.dataset.train.uri")
    assert "s3://data/train.jsonl does not exist" in caught.value.message
