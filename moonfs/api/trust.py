"""Whose certificates are believed: those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name, or else certifi's.

They count for every service that is spoken to in TLS, one on this machine too, and for a proxy that is. As OpenSSL and
other programs have it, what they name stands in the place of the usual authorities, not beside them.

**Threading:** pure functions of an environment and of files.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping

import httpx

from moonfs.errors import UsageError


def context(environ: Mapping[str, str] | None = None) -> ssl.SSLContext:
    """Return what checks certificates, by `environ`, or the environment of this process.

    Raises:
        UsageError: what a variable names cannot be used; names the variable, and why.
    """
    environ = os.environ if environ is None else environ
    file, folder = (environ.get(name, "").strip() for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    if not file and not folder:
        return httpx.create_ssl_context(trust_env=False)
    if file:
        try:
            made = ssl.create_default_context(cafile=file)
        except ssl.SSLError:
            raise UsageError(
                f"SSL_CERT_FILE names {file}, which holds no certificate in PEM; name another file, or unset it"
            ) from None
        except OSError as error:
            raise UsageError(
                f"SSL_CERT_FILE names {file}, which cannot be read: {error.strerror}; name another file, or unset it"
            ) from None
    there = [path for path in folder.split(os.pathsep) if os.path.isdir(path)]
    if there:
        if not file:
            made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.load_verify_locations(capath=os.pathsep.join(there))
    elif not file:
        raise UsageError(f"SSL_CERT_DIR names {folder}, which is no directory; name another one, or unset it")
    return made
