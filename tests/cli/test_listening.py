"""Where a node may listen for HTTP: at a public address only with users and TLS, however it is written."""

from __future__ import annotations

import pytest

from dicomnet.cli.arguments import UsageError
from dicomnet.cli.listening import web_listener
from dicomnet.settings.kinds import Text
from dicomnet.settings.reading import read

PUBLIC = [
    *(":0", "0.0.0.0:0", "0:0", "0x0:0", "0.0:0", "00.00.00.00:0"),
    *("[::]:0", "[0::0]:0", "[0:0:0:0:0:0:0:0]:0", "[::0.0.0.0]:0", "[::ffff:0.0.0.0]:0", "[::ffff:0:0]:0"),
    *("192.0.2.1:0", "[2001:db8::1]:0", "[fe80::1%lo]:0", "255.255.255.255:0", "3221225985:0"),
]


@pytest.mark.parametrize("listen", PUBLIC)
def test_a_public_address_is_refused_however_it_is_written(listen: str) -> None:
    settings = read(None, {"web.listen": Text(listen)})
    with pytest.raises(UsageError, match=r"set web\.users and web\.tls, or web\.allow_public|is not known"):
        web_listener("serve", settings, pytest.fail)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.1:0", "localhost:0", "0", "0x7f000001:0"])
def test_the_own_machine_is_allowed_however_it_is_written(listen: str) -> None:
    found = web_listener("serve", read(None, {"web.listen": Text(listen)}), pytest.fail)
    assert found is not None
    with found:
        assert found.getsockname()[0] in ("127.0.0.1", "::1")
