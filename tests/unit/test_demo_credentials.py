"""Names and passwords of the demo: read once, compared, never shown."""

import base64
from pathlib import Path

import pytest

from sentopt.demo.credentials import VARIABLE, Credentials
from sentopt.errors import ServingError


def basic(name: str, password: str, encoding: str = "utf-8") -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode(encoding)).decode()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "people"
    path.write_text("# who may come in\n\nann:s3cret\n  bob:pass:with:colons  \nzoë:päss wörd 🔑\n", encoding="utf-8")
    return path


@pytest.fixture
def known(file: Path) -> Credentials:
    return Credentials.read(str(file))


@pytest.mark.parametrize(
    ("name", "password"), [("ann", "s3cret"), ("bob", "pass:with:colons"), ("zoë", "päss wörd 🔑")]
)
def test_those_in_the_file_may_come_in(known: Credentials, name: str, password: str) -> None:
    assert known.allow(basic(name, password))
    assert known.allow(basic(name, password).replace("Basic", "bAsIc"))


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ann", "s3cre"),
        ("ann", "s3cret "),
        ("ann", "S3CRET"),
        ("ann", ""),
        ("ann", "pass:with:colons"),
        ("bob", "pass"),
        ("bob", "s3cret"),
        ("eve", "s3cret"),
        ("", "s3cret"),
        ("# who may come in", ""),
        ("zoe", "päss wörd 🔑"),
    ],
)
def test_others_may_not(known: Credentials, name: str, password: str) -> None:
    assert not known.allow(basic(name, password))


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic ",
        basic("ann", "s3cret").replace("Basic", "Bearer"),
        basic("ann", "s3cret").replace("Basic ", "Basic"),
        basic("ann", "s3cret").rstrip("=") + "=",
        basic("ann", "s3cret") + "!",
        "Basic ann:s3cret",
        "Basic Grüße",
        "Basic " + base64.b64encode(b"ann").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
        basic("zoë", "päss", "latin-1"),
        'Digest username="ann"',
    ],
)
def test_what_is_no_basic_authentication_is_refused(known: Credentials, header: str) -> None:
    assert not known.allow(header)


def test_the_environment_can_hold_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "ann:s3cret\nbob:other")
    known = Credentials.read("")
    assert known.allow(basic("ann", "s3cret"))
    assert known.allow(basic("bob", "other"))
    assert not known.allow(basic("ann", "other"))


def test_a_file_from_windows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "people.txt"
    path.write_bytes("ann:s3cret\r\nbob:other\r\n".encode("utf-8-sig"))
    known = Credentials.read(str(path))
    assert known.allow(basic("ann", "s3cret"))
    assert known.allow(basic("bob", "other"))


def test_a_comment_is_nobody_wherever_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "people"
    path.write_text("ann:s3cret\n  # note: anything\n")
    assert not Credentials.read(str(path)).allow(basic("# note", " anything"))


def test_passwords_are_not_kept(known: Credentials) -> None:
    kept = f"{known!r} {known} {vars(known)}"
    for secret in ("s3cret", "with:colons", "päss", basic("ann", "s3cret").split()[1]):
        assert secret not in kept
        assert secret.encode() not in repr(vars(known)).encode()


def test_the_same_password_leaves_another_digest_in_every_server(file: Path) -> None:
    one, other = Credentials.read(str(file)), Credentials.read(str(file))
    assert vars(one) != vars(other)
    assert set(map(str, vars(one).values())).isdisjoint(map(str, vars(other).values()))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n  \n",
        b"# nobody\n",
        b"hunter2",
        b"ann:s3cret\nhunter2\n",
        b"hunter2:",
        b":hunter2",
        b"ann:hunter2 \xff",
    ],
)
def test_a_file_that_cannot_be_used_is_not_repeated(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "people"
    path.write_bytes(content)
    with pytest.raises(ServingError) as caught:
        Credentials.read(str(path))
    assert "people" in str(caught.value)
    assert "hunter2" not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for place in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ServingError, match=rf"cannot read credentials from {place}: (No such file|Is a directory)"):
            Credentials.read(str(place))


@pytest.mark.parametrize("value", [None, "", "\n", "hunter2", ":hunter2", "ann:hunter2\udce9"])
def test_an_environment_that_cannot_be_used_is_not_repeated(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(ServingError, match=VARIABLE) as caught:
        Credentials.read("")
    assert "hunter2" not in repr(caught.value)
