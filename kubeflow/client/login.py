"""Who the commands are to Kubeflow: a token, or the cookies of a login page. Secrets are neither kept nor printed."""

from __future__ import annotations

import http.client
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from pipeline.commands.options import CommandError
from pipeline.config.config import ConfigError
from pipeline.config.kubeflow import Auth


@dataclass(frozen=True)
class Identity:
    """What is sent along with every request."""

    token: Callable[[], str] | None = None
    """Gives the bearer token; asked before each request, since some are short-lived."""
    cookies: str | None = None
    """The header of that name."""

    def renew(self, configuration: Any) -> None:
        """kfp_server_api's hook."""
        assert self.token is not None
        configuration.api_key["authorization"] = self.token()


def login(auth: Auth, endpoint: str, timeout: float) -> Identity:
    """Logs in as the configuration says.

    Raises:
        ConfigError: a secret is not where the configuration says.
        CommandError: the login failed.
    """
    match auth.method:
        case "token":
            token = _secret(auth.token_variable, "kubeflow.auth.token_variable")
            return Identity(token=lambda: token)
        case "service_account":
            file = Path(auth.token_file)
            _token_of(file)
            return Identity(token=lambda: _token_of(file))
        case "dex":
            password = _secret(auth.password_variable, "kubeflow.auth.password_variable")
            return Identity(cookies=_dex_cookies(endpoint, auth, password, timeout))
        case "iap":
            return Identity(token=_google_token(str(auth.client_id)))
    return Identity()


def _secret(variable: str, key: str) -> str:
    if not (value := os.environ.get(variable, "").strip()):
        raise ConfigError(f"{key}: the environment variable {variable} is not set, and it holds the secret")
    return value


def _token_of(file: Path) -> str:
    """The token as it is now: the kubelet renews it."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            f"kubeflow.auth.token_file: {file} cannot be read ({error.strerror}); method service_account is for pods "
            "that Kubernetes mounts the token into"
        ) from None


def _google_token(client_id: str) -> Callable[[], str]:
    """Identity tokens for the proxy, from the application default credentials; no browser is opened.

    kfp's own way (`Client(client_id=...)`) keeps credentials in ~/.config/kfp and may ask for a browser.
    """
    import google.auth.exceptions
    from google.auth.transport.requests import Request
    from google.oauth2 import id_token

    def failed(error: Exception) -> CommandError:
        return CommandError(
            f"kubeflow.auth: Google gave no identity token for client_id {client_id} ({type(error).__name__}); "
            "GOOGLE_APPLICATION_CREDENTIALS must name the key file of a service account, or this machine must be one "
            "of Google's with one attached"
        )

    request = Request()
    try:
        credentials = id_token.fetch_id_token_credentials(client_id, request=request)
    except (google.auth.exceptions.GoogleAuthError, ValueError) as error:
        raise failed(error) from None

    def token() -> str:
        if not credentials.valid:
            try:
                credentials.refresh(request)
            except google.auth.exceptions.GoogleAuthError as error:
                raise failed(error) from None
        return str(credentials.token)

    token()
    return token


def _dex_cookies(endpoint: str, auth: Auth, password: str, timeout: float) -> str:
    """Logs in at Dex's page as a browser would, and returns what is to be sent to the endpoint from then on.

    Kubeflow stands behind oidc-authservice, which sends a visitor to Dex at once, or behind oauth2-proxy, which may
    show a page of its own first, with status 403.
    """
    jar = CookieJar()
    # Without the environment's proxies, which the generated client does not use either.
    opener = urllib.request.build_opener(
        urllib.request.HTTPCookieProcessor(jar),
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
    )

    def visit(address: str, form: dict[str, str] | None = None) -> tuple[str, int]:
        """Returns where the way ended, and the status there."""
        try:
            with opener.open(address, urlencode(form).encode() if form else None, timeout=timeout) as answer:
                return answer.geturl(), answer.status
        except urllib.error.HTTPError as error:
            return error.url, error.code
        except (OSError, http.client.HTTPException) as error:
            place = urlsplit(address)._replace(query="", fragment="").geturl()
            cause = getattr(error, "reason", None) or type(error).__name__
            raise CommandError(f"{endpoint}: cannot log in: {place} does not answer ({cause})") from None

    page, status = visit(f"{endpoint}/")
    if status == 403:
        page, status = visit(_at(endpoint, f"/oauth2/start?{urlencode({'rd': urlsplit(endpoint).path or '/'})}"))
    if _path(page).endswith("/auth"):
        # Dex lists the ways to log in.
        page, status = visit(page.replace("/auth?", f"/auth/{auth.connector}?", 1))
    if status != 200 or not _path(page).endswith("/login"):
        raise CommandError(
            f"{endpoint}: cannot log in: it led to {_without_query(page)} (status {status}), which is no login page of "
            "Dex; look at kubeflow.endpoint, and at kubeflow.auth.method and .connector"
        )
    if endpoint.startswith("https:") and not page.startswith("https:"):
        raise CommandError(f"{endpoint}: cannot log in: {_without_query(page)} would take the password in the clear")
    page, status = visit(page, {"login": str(auth.username), "password": password})
    if _path(page).endswith("/login"):
        raise CommandError(f"{endpoint}: cannot log in: Dex does not know {auth.username} by this password")
    if _path(page).endswith("/approval"):
        page, status = visit(page, {"approval": "approve"})
    request = urllib.request.Request(f"{endpoint}/apis/v2beta1/healthz")
    jar.add_cookie_header(request)
    if not (cookies := request.get_header("Cookie")):
        raise CommandError(f"{endpoint}: cannot log in: no cookie came of it (it ended at {_without_query(page)})")
    return cookies


def _at(endpoint: str, path: str) -> str:
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc}{path}"


def _path(address: str) -> str:
    return urlsplit(address).path.rstrip("/")


def _without_query(address: str) -> str:
    """Queries of a login hold secrets."""
    return urlsplit(address)._replace(query="", fragment="").geturl()
