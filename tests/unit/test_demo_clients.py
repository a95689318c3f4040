"""Whose word about a client counts, which names the demo answers to, and below which path it lies."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sentopt
from sentopt import cli
from sentopt.demo.hosts import AllowedHosts, read_name
from sentopt.demo.limits import Limits, is_loopback, read_rate
from sentopt.demo.prefix import below, read_prefix
from sentopt.demo.proxies import Client, TrustedProxies, network_of, read_address, read_network
from sentopt.errors import ServingError

Headers = list[tuple[bytes, bytes]]


def told(*headers: str) -> Headers:
    """Headers from lines as they are sent."""
    pairs = [line.partition(":") for line in headers]
    return [(name.lower().encode(), value.strip().encode("latin-1")) for name, _, value in pairs]


NEAR = TrustedProxies(["127.0.0.1", "10.0.0.0/8", "2001:db8:1::/48"])


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ([], "127.0.0.1"),
        (["X-Forwarded-For: 203.0.113.1"], "203.0.113.1"),
        (["X-Forwarded-For: 198.51.100.9, 203.0.113.1"], "203.0.113.1"),
        (["X-Forwarded-For: 198.51.100.9", "X-Forwarded-For: 203.0.113.1"], "203.0.113.1"),
        (["X-Forwarded-For: 198.51.100.9, 203.0.113.1, 10.1.2.3, 10.0.0.1"], "203.0.113.1"),
        (["X-Forwarded-For: 203.0.113.1, 10.0.0.1, 2001:db8:1::5"], "203.0.113.1"),
        (["X-Forwarded-For: 10.0.0.9, 10.0.0.1"], "10.0.0.9"),
        (["X-Forwarded-For: 203.0.113.1:4711"], "203.0.113.1"),
        (["X-Forwarded-For: [2001:db8::7]:4711"], "2001:db8::7"),
        (["X-Forwarded-For: [2001:db8::7]"], "2001:db8::7"),
        (["X-Forwarded-For: 2001:DB8::7"], "2001:db8::7"),
        (["X-Forwarded-For: fe80::1%eth0"], "fe80::1"),
        (['X-Forwarded-For: "[2001:db8::7]:80"'], "2001:db8::7"),
        (["X-Forwarded-For: ::ffff:203.0.113.1"], "203.0.113.1"),
        (["X-Forwarded-For: 203.0.113.1, ::ffff:10.0.0.1"], "203.0.113.1"),
        (["X-Forwarded-For: , 203.0.113.1,,"], "203.0.113.1"),
        (["Forwarded: for=203.0.113.1"], "203.0.113.1"),
        (["Forwarded: for=198.51.100.9, for=203.0.113.1;proto=https;by=10.0.0.1"], "203.0.113.1"),
        (["Forwarded: For=198.51.100.9", "Forwarded: proto=http ; FOR=203.0.113.1"], "203.0.113.1"),
        (['Forwarded: for="[2001:db8:cafe::17]:4711"'], "2001:db8:cafe::17"),
        (['Forwarded: for="203.0.113.1:80";by="_hidden, for=1.2.3.4"'], "203.0.113.1"),
        (['Forwarded: for="203.0.113\\.1"'], "203.0.113.1"),
        (["Forwarded: for=203.0.113.1", "X-Forwarded-For: 203.0.113.1"], "203.0.113.1"),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_no_proxys(headers: list[str], address: str) -> None:
    assert NEAR.client("127.0.0.1", told(*headers)).address == address


@pytest.mark.parametrize(
    "headers",
    [
        ["X-Forwarded-For: unknown"],
        ["X-Forwarded-For: 203.0.113.1, unknown"],
        ["X-Forwarded-For: 203.0.113.1 198.51.100.9"],
        ["X-Forwarded-For: 203.0.113.256"],
        ["X-Forwarded-For: 203.0.113.01"],
        ["X-Forwarded-For: 3405803777"],
        ["X-Forwarded-For: [2001:db8::7"],
        ["X-Forwarded-For: [2001:db8::7]x"],
        ["X-Forwarded-For: localhost"],
        ["X-Forwarded-For: \xff"],
        ["Forwarded: for=_hidden"],
        ["Forwarded: for=unknown"],
        ["Forwarded: proto=https"],
        ["Forwarded: 203.0.113.1"],
        ["Forwarded: for"],
        ["Forwarded: for=2001:db8::7 x"],
        # What a client sent must not swallow what the proxy appends to it.
        ['Forwarded: for=", for=203.0.113.1'],
        ['Forwarded: for=", for="[2001:db8::7]:4711"'],
        ['Forwarded: for=198.51.100.9;by=", for="203.0.113.1"'],
        ["Forwarded: " + "for=198.51.100.9, " * 1_000 + "for=203.0.113.1"],
        # One of two headers that differ may be the client's.
        ["X-Forwarded-For: 203.0.113.1", "Forwarded: for=198.51.100.9"],
        ["X-Forwarded-For: 203.0.113.1", "Forwarded: nonsense"],
    ],
)
def test_a_client_that_is_not_told_counts_as_the_proxy(headers: list[str]) -> None:
    assert NEAR.client("127.0.0.1", told(*headers)).address == "127.0.0.1"


def test_nonsense_to_the_left_of_the_nearest_proxy_counts_as_that() -> None:
    assert NEAR.client("127.0.0.1", told("X-Forwarded-For: 203.0.113.1, junk, 10.0.0.1")).address == "10.0.0.1"


@pytest.mark.parametrize(
    "peer", ["203.0.113.9", "127.0.0.2", "11.0.0.1", "::1", "2001:db8:2::1", "", "testclient", "@"]
)
def test_others_are_not_believed(peer: str) -> None:
    headers = told("X-Forwarded-For: 198.51.100.9", "Forwarded: for=198.51.100.9", "X-Forwarded-Proto: https")
    assert NEAR.client(peer, headers) == Client(peer)
    assert TrustedProxies().client(peer, headers) == Client(peer)


@pytest.mark.parametrize("peer", ["10.255.0.1", "::ffff:10.0.0.1", "2001:db8:1:2::3", "2001:DB8:1::", "127.0.0.1"])
def test_proxies_are_known_however_their_address_is_written(peer: str) -> None:
    assert NEAR.client(peer, told("X-Forwarded-For: 203.0.113.1")).address == "203.0.113.1"


def test_a_mapped_network_is_that_of_ipv4() -> None:
    assert TrustedProxies(["::ffff:10.0.0.0/104"]).trust("10.9.9.9")
    assert TrustedProxies(["10.0.0.0/8"]).trust("::ffff:10.9.9.9")


@pytest.mark.parametrize(
    ("headers", "scheme", "host"),
    [
        (["X-Forwarded-Proto: https"], "https", ""),
        (["X-Forwarded-Proto: HTTPS", "X-Forwarded-Host: demo.example:8443"], "https", "demo.example:8443"),
        (["X-Forwarded-Proto: wss"], "https", ""),
        (["X-Forwarded-Proto: gopher"], "", ""),
        (["X-Forwarded-For: 203.0.113.1", "Forwarded: for=203.0.113.1;proto=http"], "", ""),
        (["Forwarded: for=203.0.113.1;proto=https;host=demo.example"], "https", "demo.example"),
        (["Forwarded: for=198.51.100.9;proto=http;host=evil.example, for=203.0.113.1;proto=https"], "https", ""),
        # As many proxies as addresses; or one that knows only its own side.
        (["X-Forwarded-For: 203.0.113.1, 10.0.0.1", "X-Forwarded-Proto: https, http"], "https", ""),
        (["X-Forwarded-For: 198.51.100.9, 203.0.113.1", "X-Forwarded-Proto: http, https"], "https", ""),
        (["X-Forwarded-For: 203.0.113.1, 10.0.0.1", "X-Forwarded-Proto: https"], "https", ""),
    ],
)
def test_scheme_and_name_are_those_that_the_proxy_of_the_client_saw(headers: list[str], scheme: str, host: str) -> None:
    found = NEAR.client("127.0.0.1", told(*headers))
    assert (found.scheme, found.host) == (scheme, host)


@given(
    st.lists(st.text(st.characters(max_codepoint=255, blacklist_characters="\r\n\0"), max_size=60), max_size=4),
    st.sampled_from(["X-Forwarded-For", "Forwarded"]),
)
def test_whatever_a_client_sends_before_it_the_address_that_the_proxy_saw_counts(lines: list[str], name: str) -> None:
    """Or that of the proxy; never one that the client chose."""
    own = {"X-Forwarded-For": "203.0.113.1", "Forwarded": 'for="203.0.113.1:80"'}[name]
    for separate in (True, False):
        sent = [*lines, own] if separate else [", ".join([*lines, own])]
        found = NEAR.client("127.0.0.1", told(*(f"{name}: {line}" for line in sent)))
        assert found.address in ("203.0.113.1", "127.0.0.1")
        if name == "X-Forwarded-For":
            assert found.address == "203.0.113.1"


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_none(text: str) -> None:
    address = read_address(text)
    assert address is None or read_address(str(address)) == address
    assert network_of(text)[:0] == ""


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.1", "203.0.113.1"),
        ("::ffff:203.0.113.1", "203.0.113.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_what_one_customer_has_counts_as_one(address: str, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected an address or a network"),
        ("nginx", "expected an address or a network"),
        ("10.0.0.0/33", "expected an address or a network"),
        ("10.0.0.1/8", "the network of this address is 10.0.0.0/8"),
        ("2001:db8::1/32", "the network of this address is 2001:db8::/32"),
        ("10.0.0.1:80", "expected an address or a network"),
        ("http://10.0.0.1", "expected an address or a network"),
        ("*", "expected an address or a network"),
        ("0.0.0.0/0", "trusts everybody"),
        ("::/0", "trusts everybody"),
        ("::ffff:0:0/96", "trusts everybody"),
    ],
)
def test_a_network_that_cannot_be_trusted_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(ServingError, match=words):
        read_network(text)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("Demo.Example", "demo.example"),
        (" a-b.c_d.example ", "a-b.c_d.example"),
        ("*.example.com", "*.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("192.168.1.2", "192.168.1.2"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_names_are_read_as_browsers_send_them(name: str, read: str) -> None:
    assert read_name(name) == read


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "*",
        "*.",
        "*.*.a",
        "a.*",
        "a*.b",
        "http://a",
        "a:80",
        "a/b",
        "a b",
        "-a",
        "a-",
        ".a",
        "a..b",
        "ü" * 70,
        "a\n",
    ],
)
def test_a_name_that_is_none_is_refused_in_words(name: str) -> None:
    if name == "a\n":
        assert read_name(name) == "a"
        return
    with pytest.raises(ServingError, match="--allowed-host"):
        read_name(name)


def test_names_are_answered_if_they_are_given() -> None:
    hosts = AllowedHosts("0.0.0.0", ["demo.example", "*.inner.example", "2001:db8::1"])
    for host in ("demo.example", "DEMO.example:8443", "demo.example.", "a.inner.example", "b.a.inner.example:80"):
        assert hosts.allow(host), host
    for host in ("localhost:7860", "127.0.0.1", "127.1.2.3:7860", "[::1]:7860", "[2001:db8::1]:443"):
        assert hosts.allow(host), host
    for host in (
        "inner.example",
        "evilinner.example",
        "demo.example.evil.example",
        "10.0.0.7:7860",
        "",
        "evil.example",
    ):
        assert not hosts.allow(host), host
    assert hosts.allow("10.0.0.7:7860", "10.0.0.7")  # probes call a server by its address
    assert not hosts.allow("10.0.0.8:7860", "10.0.0.7")


def test_the_whole_network_of_loopback_is_this_machine() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.0.0.2", "127.255.255.254", "::1")))
    assert not any(
        map(is_loopback, ("", "0.0.0.0", "::", "10.0.0.1", "localhost.evil.example", "127.0.0.1.evil.example"))
    )
    assert not AllowedHosts("127.0.0.2").allow("evil.example")
    assert AllowedHosts("127.0.0.2").allow("127.0.0.2:7860")


@pytest.mark.parametrize(
    ("text", "prefix"),
    [("", ""), ("/", ""), ("/demo", "/demo"), ("/demo/", "/demo"), ("/a/b-c_d.e~1/", "/a/b-c_d.e~1")],
)
def test_a_prefix_has_no_slash_at_its_end(text: str, prefix: str) -> None:
    assert read_prefix(text) == prefix


@pytest.mark.parametrize(
    "text",
    [
        "demo",
        "//demo",
        "/a//b",
        "/a/../b",
        "/./a",
        "/a b",
        "/a?b",
        "/a#b",
        "/%61",
        "http://a/demo",
        "/a\\b",
        "/ü",
        "/a\n/b",
    ],
)
def test_a_prefix_that_is_no_path_is_refused_in_words(text: str) -> None:
    with pytest.raises(ServingError, match="expected a path that begins with a slash"):
        read_prefix(text)


@pytest.mark.parametrize(
    "text", ["/predict", "/assets/x", "/gradio_api", "/static", "/healthz/", "/config", "/openapi.json"]
)
def test_a_prefix_hides_no_route_of_the_demo(text: str) -> None:
    with pytest.raises(ServingError, match="has a route of that name"):
        read_prefix(text)


@given(st.text(string.ascii_letters + "/.", max_size=20))
def test_a_prefix_is_removed_once(path: str) -> None:
    assert below("/demo/" + path, "/demo") == "/" + path
    assert below("/" + path, "") == "/" + path


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "many", "", "0.001", "1e9", None, [20]])
def test_a_rate_that_is_none_is_refused_in_words(value: str) -> None:
    with pytest.raises(ServingError, match=r"expected requests a second, from 0\.01 to 100,000"):
        read_rate(value)


def test_a_server_behind_a_proxy_has_the_limits_of_one_that_others_reach() -> None:
    assert Limits.for_host("127.0.0.1").client_rate == Limits.for_host("::1").client_rate == 5_000.0
    assert Limits.for_host("127.0.0.1", proxied=True) == Limits.for_host("0.0.0.0") == Limits()
    assert Limits.for_host("127.0.0.1").at_rate(3).client_rate == 3.0


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--trusted-proxy", "nginx"),
        ("--trusted-proxy", "10.0.0.1/8"),
        ("--trusted-proxy", "0.0.0.0/0"),
        ("--allowed-host", "http://demo.example"),
        ("--allowed-host", "*"),
        ("--root-path", "demo"),
        ("--root-path", "/predict"),
        ("--rate", "0"),
        ("--rate", "fast"),
    ],
)
def test_a_wrong_value_of_an_option_is_a_usage_error(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["demo", option, value])
    assert ended.value.code == 2
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith(f"sentopt: argument {option}: {value}: ")
    assert rest == ["Try: sentopt demo --help"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"trusted_proxies": ["nginx"]}, r"^trusted_proxies= nginx: expected an address"),
        ({"trusted_proxies": "nginx"}, r"^trusted_proxies= nginx: expected an address"),
        ({"allowed_hosts": "a/b"}, r"^allowed_hosts= a/b: expected a name"),
        ({"root_path": "demo"}, r"^root_path= demo: expected a path"),
        ({"port": 70_000}, r"^port must be from 0 to 65535, found 70000; 0 takes a free one$"),
        ({"port": "http"}, r"^port must be a whole number, from 0 to 65535, found 'http' \(str\)"),
        ({"rate": 0}, r"^rate= 0: expected requests a second"),
    ],
)
def test_a_wrong_argument_is_told_in_the_words_of_python(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ServingError, match=words):
        sentopt.serve("nowhere", **arguments)  # type: ignore[arg-type]
