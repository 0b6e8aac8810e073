"""What is shown of URLs and of texts that quote credentials."""

from __future__ import annotations

import logging
import pickle

import pytest
from planted import ENVIRONMENT, Planted
from premask.core.errors import OutputError, PremaskError, SourceError, first_line, one_line
from premask.core.redact import redact_logs, redacted, remember, shown_url, source_name


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:pw@host:80/a/b.jsonl", "https://host:80/a/b.jsonl"),
        ("https://host/a?versionId=3&sig=x&download=true", "https://host/a?versionId=3&download=true"),
        ("https://host/a?Revision=main", "https://host/a?Revision=main"),
        ("https://host/a?rev%69sion=main", "https://host/a?rev%69sion=main"),
        ("https://host/a?revision=a'b", "https://host/a"),
        ("https://host/a#frag?token=x", "https://host/a"),
        ("https://host/a;jsessionid=x/b", "https://host/a/b"),
        ("https://me:p/w@host/a", "https://***"),
        ("https://me:p#w@host/a", "https://***"),
        ("http://[::1]:8000/a?x=1", "http://[::1]:8000/a"),
        ("HTTPS://me@host/a?X=1", "HTTPS://host/a"),
        ("https:/me:pw@host/a", "https:/host/a"),
        ("s3://me:pw@bucket/a.jsonl", "s3://bucket/a.jsonl"),
        ("s3://bucket/chats-?.jsonl", "s3://bucket/chats-?.jsonl"),
        ("s3://bucket/a?versionId=x&sas=y", "s3://bucket/a?versionId=x"),
        ("s3://bucket/a#b", "s3://bucket/a"),
        ("gs://bucket/a#1234", "gs://bucket/a#1234"),
        ("hf://datasets/org/name@main/a.jsonl", "hf://datasets/org/name@main/a.jsonl"),
        ("zip://a.jsonl::https://me:pw@host/a.zip?sig=x", "zip://a.jsonl::https://host/a.zip"),
        ("file:///data/a#b.jsonl", "file:///data/a#b.jsonl"),
        ("chats/a.jsonl?token=x", "chats/a.jsonl?token=x"),
        ("https://host/sk-learn-conversations-2024.jsonl", "https://host/sk-learn-conversations-2024.jsonl"),
    ],
)
def test_urls(url: str, shown: str) -> None:
    assert shown_url(url) == shown
    assert shown_url(shown) == shown


def test_names_in_stores_are_whole() -> None:
    assert source_name("s3://bucket/a#b?c=d.jsonl") == "s3://bucket/a#b?c=d.jsonl"
    assert source_name("https://host/a.jsonl?c=d") == "https://host/a.jsonl"


@pytest.mark.parametrize(
    "text",
    [
        "https://host/a?token={}",
        "https://me:{}@host/a: no (x)",
        "url: /a.jsonl?token={} (Caused by it)",
        "URL('http://host/a?x=1&sig={}')",
        "{{'Authorization': 'Bearer {}'}}",
        "Authorization: Basic {}",
        "x-amz-security-token: {}",
        "'X-Api-Key': b'{}'",
        "AWS_SECRET_ACCESS_KEY={}",
        'password="{}"',
        "AccountKey={};EndpointSuffix=x",
        "<SecretAccessKey>{}</SecretAccessKey>",
        "Signature={}, SignedHeaders=host",
        "Cookie: {}",
        "client_secret = {}",
    ],
)
def test_values_behind_names(text: str) -> None:
    secret = Planted("user").secrets["user"]

    assert secret not in redacted(text.format(secret))
    assert "host" not in text or "host" in redacted(text.format(secret))


@pytest.mark.parametrize("name", [each for each in ENVIRONMENT if each != "DATABASE_PASSWORD"])
def test_known_shapes_and_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = Planted(name)
    secret = planted.secrets[name]
    monkeypatch.setenv(name, secret)

    for text in (f"it says {secret}!", f"it says {planted.text}!", " ".join(secret.split())):
        assert planted.found({"": redacted(text).encode()}) == set()
    monkeypatch.delenv(name)
    if name.startswith(("HF", "HUGGING", "AWS_ACCESS", "GOOGLE", "GITHUB", "OPENAI", "PRIVATE")):
        assert planted.found({"": redacted(f"it says {secret}!").encode()}) == set()


@pytest.mark.parametrize(
    "text",
    [
        "the region is us-east-1 (http://127.0.0.1:5000)",
        "eos_token: '<|im_end|>' is no token; set HF_TOKEN or run 'hf auth login'",
        "s3://bucket/chats/*.jsonl: the pattern matches no file; check it",
        "the tokenizer has no pad_token=<pad>; 'key' of row 3 is missing",
        "out/chats holds README.md, which premask has not written",
    ],
)
def test_other_texts_stay(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:5000")
    monkeypatch.setenv("API_KEY", "missing")  # too short for a secret

    assert redacted(text) == text


def test_what_was_remembered_is_hidden_in_every_form() -> None:
    planted = Planted("user", "password of user", "?sig=", ";key=", "#")
    remember(planted.url("https://host/a"))

    assert planted.found({"": redacted(planted.text).encode()}) == set()
    assert redacted(planted.url("https://host/a")) == "https://host/a"


def test_errors_hide_and_can_be_pickled() -> None:
    for kind in (PremaskError, SourceError, OutputError):
        error = pickle.loads(pickle.dumps(kind("see https://me:pw@host/a?sig=x: no")))  # noqa: S301  ours
        assert (str(error), error.args) == ("see https://host/a: no", ("see https://host/a: no",))


def test_a_key_of_many_lines_is_hidden_before_a_line_is_chosen() -> None:
    planted = Planted("PRIVATE_KEY")
    error = ValueError(f"bad key {planted.secrets['PRIVATE_KEY']}")

    assert planted.found({"": (first_line(error) + one_line(error)).encode()}) == set()
    assert first_line(error).startswith("bad key")


def test_logs_of_libraries(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.excepthook", None)
    redact_logs()
    assert logging.lastResort is not None
    record = logging.LogRecord("x", 40, "", 1, "GET https://host/a?sig=x", (), None)

    assert logging.lastResort.format(record) == "GET https://host/a"
