"""What can be found out before anything is started or paid for."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

from kbexp.config import LlmConfig
from kbexp.errors import KbexpError, ModelUnavailable
from kbexp.proposals.failures import no_server
from kbexp.proposals.models import models_of

LEAST_FREE_BYTES = 32 * 2**20
"""A run's journal, log and kernels take a few megabytes."""


CONNECT_S = 2.0
"""A server of this machine accepts at once, or is not there."""


def check_folder(folder: Path) -> None:
    """Raise KbexpError where a run's folder cannot be written or its disk is nearly full."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"kbexp")
            file.flush()
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        raise KbexpError(
            f"The run's folder {folder} cannot be written ({error.strerror}): free some space, or "
            "choose another place with hydra.run.dir=…"
        ) from error
    if free_bytes < LEAST_FREE_BYTES:
        raise KbexpError(
            f"The disk of {folder} has {free_bytes / 2**20:.0f} MB left and a run needs "
            f"{LEAST_FREE_BYTES / 2**20:.0f}: free some, or choose another with hydra.run.dir=…"
        )


def check_key(config: LlmConfig) -> None:
    """Raise ModelUnavailable where the key of a model is not in the environment."""
    for model in models_of(config):
        variable = model.config.api_key_env
        if variable and not os.environ.get(variable, "").strip():
            raise ModelUnavailable(
                f"llm={config.name} needs a key: set the environment variable {variable}, "
                "or take llm=offline, which needs none."
            )


def check_servers(config: LlmConfig) -> None:
    """Raise ModelUnavailable where a model's server is to be on this machine and does not run.

    A server elsewhere may be slow to wake up or behind a proxy, and is not asked before it is used.
    """
    for model in models_of(config):
        base = model.config.api_base
        if base and _nobody_listens(base):
            raise ModelUnavailable(no_server(model.config))


def _nobody_listens(address: str) -> bool:
    """Tell whether an address is this machine's own and every connection to it is refused."""
    try:
        parts = urllib.parse.urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    port = port or {"http": 80, "https": 443}.get(parts.scheme)
    proxied = {parts.scheme, "all"} & set(urllib.request.getproxies())
    if port is None or not _own(host) or (proxied and not urllib.request.proxy_bypass(host)):
        return False
    try:
        with socket.create_connection((host, port), timeout=CONNECT_S):
            return False
    except ConnectionRefusedError:
        return True
    except OSError:
        return False


def _own(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
