"""TLS, with a server that has a certificate of an authority of our own."""

import secrets

import pytest
import trustme
from anyio import fail_after

from resumable_core import BackendUnavailable
from tests.redis.server import free_port
from tests.redis.steps import PATIENCE, data, started
from tests.redis.traffic import QUIET

pytestmark = QUIET


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """The folder with the authority's certificate, and the server's and its key."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    server.cert_chain_pems[0].write_to_path(folder / "server.pem")
    server.private_key_pem.write_to_path(folder / "server.key")
    return folder


@pytest.fixture
def tls_port(start_redis, certificates):
    """The port on which a server expects TLS."""
    port = free_port()
    options = {
        "tls_port": port,
        "tls_cert_file": certificates / "server.pem",
        "tls_key_file": certificates / "server.key",
        "tls_ca_cert_file": certificates / "ca.pem",
        "tls_auth_clients": "no",
    }
    try:
        start_redis(**options)
    except RuntimeError as error:
        if "Bad directive" in str(error):
            pytest.skip("this redis-server was built without TLS")
        raise
    return port


async def test_a_server_whose_authority_is_named(open_backend, tls_port, certificates):
    url = f"rediss://127.0.0.1:{tls_port}/0?ssl_ca_certs={certificates / 'ca.pem'}"
    with fail_after(PATIENCE):
        async with open_backend(url, prefix=secrets.token_hex(4)) as backend:
            await started(backend, "x", "one")
            assert await data(backend, "x") == ["one"]


async def test_a_server_that_is_not_trusted(open_backend, tls_port):
    with fail_after(PATIENCE), pytest.raises(BackendUnavailable, match=r"(?i)certificate|TLS"):
        async with open_backend(f"rediss://127.0.0.1:{tls_port}/0"):
            pass


async def test_without_tls_where_it_is_expected(open_backend, tls_port):
    with fail_after(PATIENCE), pytest.raises(BackendUnavailable, match="TLS"):
        async with open_backend(f"redis://127.0.0.1:{tls_port}/0", timeout=1.0):
            pass
