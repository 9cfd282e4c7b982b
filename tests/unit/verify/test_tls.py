# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The check of every TLS port finds the faults that a mail program would meet."""

from __future__ import annotations

import contextlib
import json
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mailhosting.stack.plugins.module_utils import _certificate_store as store
from ansible_collections.mailhosting.stack.plugins.module_utils import _tls as tls
from ansible_collections.mailhosting.stack.plugins.module_utils._certificates import OwnCA
from ansible_collections.mailhosting.stack.plugins.modules import mail_tls

from ..tree.test_certificate_store import NOW

SHARED = "mx.example"
NAME = "mail.acme.example"
#: The greeting and the replies to each command, up to TLS.
DIALOGUES = {
    "smtp": [
        b"220-mx.example\r\n220 ESMTP\r\n",
        b"250-mx.example\r\n250-PIPELINING\r\n250 STARTTLS\r\n",
        b"220 Ready\r\n",
    ],
    "pop3": [b"+OK Dovecot ready.\r\n", b"+OK Begin TLS\r\n"],
    "imap": [b"* OK [CAPABILITY IMAP4rev1] ready.\r\n", b"* OK still here\r\na OK Begin TLS\r\n"],
    "sieve": [b'"IMPLEMENTATION" "Dovecot"\r\n"STARTTLS"\r\nOK "ready."\r\n', b'OK "Begin TLS"\r\n'],
    "imaps": [],
}
DIALOGUES["submission"] = DIALOGUES["smtp"]

Serve = Callable[..., tls.Host]


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    with store.locked(str(tmp_path)):
        ca = OwnCA(None, "Mail CA", NOW, 90, 30)
        store.apply(str(tmp_path), store.compare(str(tmp_path), frozenset({SHARED}), [NAME], ca), purge=False)
    for link in ("shared", f"names/{NAME}"):
        chain = tmp_path / link / "fullchain.pem"
        chain.write_bytes(chain.read_bytes() + (tmp_path / "ca.pem").read_bytes())
    return tmp_path


@pytest.fixture(name="serve")
def _serve(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """A server of a protocol, with these replies and with certificates by name from the folder."""
    with contextlib.ExitStack() as stack:

        def serve(protocol: str, dialogue: list[bytes] | None = None, **chains: str) -> tls.Host:
            said = DIALOGUES[protocol] if dialogue is None else dialogue
            contexts = {name: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for name in ("shared", "own")}
            for name, context in contexts.items():
                link = chains.get(name, "shared" if name == "shared" else f"names/{NAME}")
                key = folder / link.partition("#")[0] / "key.pem"
                context.load_cert_chain(
                    folder / link.partition("#")[0] / (link.partition("#")[2] or "fullchain.pem"), key
                )

            def choose(connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
                connection.context = contexts["own" if name == NAME else "shared"]

            contexts["shared"].sni_callback = choose

            class Handler(socketserver.StreamRequestHandler):
                def handle(self) -> None:
                    for number, answer in enumerate(said):
                        if number:
                            self.rfile.readline()
                        self.wfile.write(answer)
                    if said and DIALOGUES[protocol] is not said:
                        return
                    with contextlib.suppress(OSError):
                        contexts["shared"].wrap_socket(self.connection, server_side=True).close()

            server = stack.enter_context(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            monkeypatch.setitem(tls.PORTS, protocol, server.server_address[1])
            return tls.Host("127.0.0.1", str(folder), SHARED, [NAME], timeout=5)

        yield serve


def faults(host: tls.Host, protocol: str) -> dict[str, str]:
    return {answer.question.name: answer.fault for answer in tls.ask(host, tls.questions(host, [protocol], 100))}


@pytest.mark.parametrize("protocol", DIALOGUES)
def test_the_right_certificates_are_found_right(serve: Serve, protocol: str) -> None:
    assert faults(serve(protocol), protocol) == {"": "", SHARED: "", NAME: ""}


def test_another_certificate_is_found(serve: Serve) -> None:
    found = faults(serve("imaps", own="shared"), "imaps")
    assert (found[""], found[SHARED]) == ("", "")
    assert "self" in found[NAME] or "another" in found[NAME] or "mismatch" in found[NAME]


def test_a_certificate_that_is_not_the_one_of_the_folder_any_more_is_found(serve: Serve, folder: Path) -> None:
    host = serve("submission")
    (folder / "ca.key").unlink()
    with store.locked(str(folder)):
        ca = OwnCA(None, "Mail CA", NOW, 90, 30)
        store.apply(str(folder), store.compare(str(folder), frozenset({SHARED}), [NAME], ca), purge=False)
    assert all(faults(host, "submission").values())


def test_a_chain_that_is_not_all_there_is_found(serve: Serve, folder: Path) -> None:
    whole = (folder / "shared/fullchain.pem").read_text()
    end = "-----END CERTIFICATE-----\n"
    (folder / "shared/alone.pem").write_text(whole.partition(end)[0] + end)
    found = faults(serve("imaps", shared="shared#alone.pem"), "imaps")
    assert found == {"": found[SHARED], SHARED: "1 certificates are served, and not the 2 of its chain", NAME: ""}


@pytest.mark.parametrize(
    ("protocol", "dialogue", "fault"),
    [
        (
            "smtp",
            [b"220 mx\r\n", b"250 mx\r\n", b"454 4.7.0 TLS not available\r\n"],
            "no TLS: 454 4.7.0 TLS not available",
        ),
        ("smtp", [b"421 4.3.2 busy\r\n"], "no TLS: 421 4.3.2 busy"),
        ("pop3", [b"+OK ready\r\n", b"-ERR TLS is not available.\r\n"], "no TLS: -ERR TLS is not available."),
        ("imap", [b"* OK ready\r\n", b"a BAD TLS is not available.\r\n"], "no TLS: a BAD TLS is not available."),
        ("imap", [b"* BYE no more\r\n"], "no TLS: * BYE no more"),
        ("sieve", [b'OK "ready"\r\n', b'NO "no TLS"\r\n'], 'no TLS: NO "no TLS"'),
        ("sieve", [b'"SIEVE" "x"\r\n'], "no TLS: the server hangs up"),
    ],
)
def test_a_port_without_tls_is_found(serve: Serve, protocol: str, dialogue: list[bytes], fault: str) -> None:
    assert faults(serve(protocol, dialogue), protocol)[SHARED] == fault


def test_a_port_that_speaks_no_tls_or_not_at_all_is_found(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    host = serve("imaps", [b"* OK in clear\r\n"])
    assert faults(host, "imaps")[""].startswith("no TLS: ")
    monkeypatch.setitem(tls.PORTS, "imaps", 1)
    assert "refused" in faults(host, "imaps")[NAME]
    (folder / "shared").unlink()
    assert "fullchain.pem" in faults(host, "imaps")[""]


def test_what_is_wrong_is_asked_for_again_for_a_while(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    host = serve("imaps")
    port = tls.PORTS["imaps"]
    monkeypatch.setitem(tls.PORTS, "imaps", 1)
    # The retry finds the daemon started.
    monkeypatch.setattr(time, "sleep", lambda _seconds: tls.PORTS.update(imaps=port))
    assert [answer.fault for answer in tls.ask(host, [tls.Question("imaps", "")], patience=30)] == [""]


def test_many_names_are_asked_for_once_a_daemon_or_some_of_them() -> None:
    names = [f"mail{number}.example" for number in range(100)]
    host = tls.Host("", "", SHARED, names)
    every = [*tls.PORTS]

    def asked(most: int, protocols: list[str] = every) -> list[tls.Question]:
        found = tls.questions(host, protocols, most)
        assert found[: 2 * len(protocols)] == [tls.Question(port, name) for port in protocols for name in ("", SHARED)]
        return found[2 * len(protocols) :]

    assert len(asked(800)) == 800
    assert {(item.protocol) for item in asked(799)} == {"submissions", "imaps"}
    assert len(asked(799)) == 200
    assert {item.name for item in asked(200)} == set(names)
    some = asked(50)
    assert len(some) == 50
    assert {item.protocol for item in some} == {"submissions", "imaps"}
    assert {item.name for item in asked(60, ["smtp", "submission", "submissions", "pop3"])} <= set(names)
    assert {item.protocol for item in asked(60, ["smtp", "submission", "submissions", "pop3"])} == {
        "submissions",
        "pop3",
    }
    assert len(asked(0)) == 2


def test_the_module_names_port_and_name(
    serve: Serve, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ansible.module_utils._internal.is_controller", False)

    def run(**options: Any) -> dict[str, Any]:
        given = {"path": str(folder), "shared_name": SHARED, "host_names": [NAME], "protocols": ["imaps"], **options}
        with patch_module_args(given), pytest.raises(SystemExit):
            mail_tls.main()
        result: dict[str, Any] = json.loads(capfd.readouterr().out)
        return result

    serve("imaps")
    port = tls.PORTS["imaps"]
    good = run()
    assert (good["ok"], good["changed"], good["faults"]) == (True, False, [])
    assert good["table"] == [f"ok    {f'TLS on imaps ({port})':<52}  2 names"]
    monkeypatch.setitem(tls.PORTS, "imaps", 1)
    bad = run()
    assert not bad["ok"]
    assert bad["faults"][2].startswith(f"imaps (1), {NAME}: ")
    assert bad["msg"].startswith("Not every port has TLS:\nimaps (1), no name: ")
    assert bad["table"][0].startswith("FAIL  TLS on imaps (1)")
