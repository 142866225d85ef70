"""Connections to hosts: TLS, certificates, proxies."""

import ipaddress
import ssl
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import urllib3

from aicore_build.errors import RegistryError

_DOCKERS_CERTIFICATES = Path("/etc/docker/certs.d")
"""Where the Docker Engine looks for a registry's own: `<host>/*.crt`."""


class Pools:
    """Connections, each through the proxy that the environment names for its target, if any."""

    def __init__(self, ca_bundle: Path | None, sockets: int) -> None:
        self._ca_bundle = ca_bundle
        self._sockets = sockets
        self._pools: dict[str, urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def of(self, target: str) -> urllib3.PoolManager:
        """Those for a target."""
        proxy = proxy_for(target)
        encrypted = target.startswith("https:")
        host = urllib.parse.urlsplit(target).netloc
        key = f"{host if encrypted else ''} {proxy}"
        with self._lock:
            if key not in self._pools:
                # To read all the certificates takes a while: only where they are needed.
                context = self._context(host) if encrypted else None
                self._pools[key] = _pool(proxy, context, self._sockets)
            return self._pools[key]

    def _context(self, host: str) -> ssl.SSLContext:
        context = ssl.create_default_context()
        for path in (*_own_certificates(host), *filter(None, [self._ca_bundle])):
            try:
                context.load_verify_locations(cafile=path)
            except (OSError, ssl.SSLError) as error:
                raise RegistryError(f"The CA bundle {path} can't be read: {error}.") from error
        return context


def _own_certificates(host: str) -> Iterator[Path]:
    """Those that the Docker Engine of this machine trusts for a host."""
    folder = _DOCKERS_CERTIFICATES / host
    return folder.glob("*.crt") if folder.is_dir() else iter(())


def _pool(proxy: str, context: ssl.SSLContext | None, sockets: int) -> urllib3.PoolManager:
    if not proxy:
        return urllib3.PoolManager(ssl_context=context, maxsize=sockets, block=False)
    login = urllib.parse.urlsplit(proxy)
    user, password = (urllib.parse.unquote(part or "") for part in (login.username, login.password))
    headers = urllib3.make_headers(proxy_basic_auth=f"{user}:{password}" if user else None)
    try:
        return urllib3.ProxyManager(
            proxy, proxy_headers=headers, ssl_context=context, maxsize=sockets, block=False
        )
    except urllib3.exceptions.HTTPError as error:
        raise RegistryError(
            f"The proxy that the environment names can't be used: {error}.\n"
            "Correct HTTPS_PROXY and HTTP_PROXY, or add the registry's host to NO_PROXY."
        ) from error


def proxy_for(target: str) -> str:
    """The proxy that the environment names for an address; empty if none."""
    address = urllib.parse.urlsplit(target)
    # As Go's and so Docker's rule: what is on this machine is never reached through a proxy.
    if is_loopback(address.netloc) or urllib.request.proxy_bypass(address.netloc):
        return ""
    proxies = urllib.request.getproxies()
    proxy = proxies.get(address.scheme) or proxies.get("all") or ""
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def is_loopback(host: str) -> bool:
    """Whether a host, perhaps with a port, is this machine."""
    name = urllib.parse.urlsplit(f"//{host}").hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
