"""One connection to Kubeflow Pipelines: the generated API classes on a transport of our own, and their errors in words.

`kfp.Client` reads ~/.config/kfp and a kubeconfig, repeats whatever fails and waits without end. This connection reads
and writes none of the user's files, waits no longer than configured, and repeats only requests that change nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import kfp_server_api
import urllib3
from kfp_server_api import rest

from kubeflow.client.login import login
from pipeline.commands.options import CommandError
from pipeline.config.config import ConfigError
from pipeline.config.kubeflow import Kubeflow

_READS_ARE_REPEATED = urllib3.Retry(
    # Not connect: a server that does not accept the first connection is down, and the user wants to know at once.
    total=2,
    connect=0,
    redirect=0,
    allowed_methods={"GET"},
    status_forcelist={502, 503, 504},
    backoff_factor=0.2,
    raise_on_status=False,
    raise_on_redirect=False,
)
_PAGE = 100
T = TypeVar("T")
_EQUALS = 1
"""Of kfp's filter operations."""


class RequestError(CommandError):
    """Kubeflow did not do what it was asked.

    Args:
        message: what was asked and why it was not done.
        status: of HTTP; None if there was no answer.
        unknown: whether it may have been done all the same: the answer was lost, or the server broke down over it.
    """

    def __init__(self, message: str, *, status: int | None = None, unknown: bool = False):
        super().__init__(message)
        self.status = status
        self.unknown = unknown


class _Transport(rest.RESTClientObject):
    """Sends requests, with the timeout for all of them; whatever goes wrong becomes a RequestError.

    The generated classes take a timeout and raise errors call by call. `ApiClient.rest_client` is the public place for
    what holds for every call.
    """

    def __init__(self, configuration: kfp_server_api.Configuration, timeout: float):
        super().__init__(configuration)
        self._timeout = timeout

    def request(self, method: str, url: str, **arguments: Any) -> rest.RESTResponse:
        arguments["_request_timeout"] = (self._timeout, self._timeout)
        changes = method != "GET"
        try:
            response = super().request(method, url, **arguments)
        except urllib3.exceptions.HTTPError as error:
            raise _no_answer(error, self._timeout, changes=changes) from None
        except kfp_server_api.ApiException as error:
            if not error.status:
                raise RequestError(f"its certificate is not trusted ({error.reason}); {_CERTIFICATES}") from None
            raise _refusal(error, changes=changes) from None
        if not _is_json(response.data):
            raise RequestError(f"it answered with something else than Kubeflow's API would; {_WRONG_ADDRESS}")
        return response


_WRONG_ADDRESS = (
    "kubeflow.endpoint must be the address that Kubeflow Pipelines' own page has, and kubeflow.auth must say how to "
    "log in if it has a login page"
)
_CERTIFICATES = "name your authority's certificates in the environment variable SSL_CERT_FILE"


def _is_json(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data), dict)
    except ValueError:
        return False


def _no_answer(error: urllib3.exceptions.HTTPError, timeout: float, *, changes: bool) -> RequestError:
    """What a request without an answer means."""
    cause = getattr(error, "reason", None) if isinstance(error, urllib3.exceptions.MaxRetryError) else error
    # The order matters: some are kinds of others.
    match cause:
        case urllib3.exceptions.SSLError():
            return RequestError(f"its certificate is not trusted ({cause}); {_CERTIFICATES}")
        case urllib3.exceptions.NameResolutionError():
            return RequestError("there is no such host; look for a mistake in kubeflow.endpoint")
        case urllib3.exceptions.NewConnectionError():
            return RequestError("nothing listens there; is Kubeflow up, and does the port-forward still run?")
        case urllib3.exceptions.ConnectTimeoutError():
            return RequestError(f"no connection within {timeout:g} s; is a VPN or a firewall in between?")
        case urllib3.exceptions.ReadTimeoutError():
            return RequestError(f"no answer within kubeflow.request_timeout, {timeout:g} s", unknown=changes)
    return RequestError("the connection broke before the answer was complete", unknown=changes)


def _refusal(error: kfp_server_api.ApiException, *, changes: bool) -> RequestError:
    """What an answer other than yes means."""
    status, said = int(error.status), _said(error.body)
    if 300 <= status < 400:
        # Without the query, which may hold a secret of the login.
        target = urlsplit((error.headers or {}).get("Location", ""))._replace(query="", fragment="").geturl()
        return RequestError(f"it sends us on to {target}, a login page perhaps; {_WRONG_ADDRESS}", status=status)
    if status == 401:
        return RequestError(
            f"it does not know us (401{said}); look at kubeflow.auth, or renew the token", status=status
        )
    if status == 403:
        return RequestError(
            f"we are not allowed to (403{said}); ask for the right in the namespace, or look at kubeflow.namespace and "
            "kubeflow.auth",
            status=status,
        )
    if status == 404 and not said:
        return RequestError(f"there is nothing of Kubeflow's at this address (404); {_WRONG_ADDRESS}", status=status)
    return RequestError(f"it answered {status}{said}", status=status, unknown=changes and status >= 500)


def _said(body: bytes | None) -> str:
    """The server's own words: of grpc-gateway, or of the upload handlers, which have another shape."""
    try:
        answer = json.loads(body or b"")
        words = str(answer.get("message") or answer.get("error_message") or answer.get("error") or "")
    except (ValueError, AttributeError):
        return ""
    # Some carry the server's stack of calls.
    return f": {words.splitlines()[0][:400]}" if words.strip() else ""


@dataclass(frozen=True)
class Connection:
    """Kubeflow Pipelines at an address."""

    endpoint: str
    """Without a slash at the end."""
    namespace: str | None
    client: kfp_server_api.ApiClient

    @property
    def experiments(self) -> kfp_server_api.ExperimentServiceApi:
        """Experiments."""
        return kfp_server_api.ExperimentServiceApi(self.client)

    @property
    def pipelines(self) -> kfp_server_api.PipelineServiceApi:
        """Pipelines and their versions."""
        return kfp_server_api.PipelineServiceApi(self.client)

    @property
    def recurring_runs(self) -> kfp_server_api.RecurringRunServiceApi:
        """Recurring runs: our schedules."""
        return kfp_server_api.RecurringRunServiceApi(self.client)

    @property
    def runs(self) -> kfp_server_api.RunServiceApi:
        """Runs."""
        return kfp_server_api.RunServiceApi(self.client)

    @contextlib.contextmanager
    def to(self, what: str) -> Iterator[None]:
        """Names the endpoint and the purpose in the errors of the requests inside.

        Args:
            what: for errors, after "cannot".

        Raises:
            RequestError: it could not be done.
        """
        try:
            yield
        except RequestError as error:
            raise RequestError(
                f"{self.endpoint}: cannot {what}: {error}", status=error.status, unknown=error.unknown
            ) from None

    def named(self, what: str, items: str, name: str, listing: Callable[..., Any], **where: Any) -> list[Any]:
        """All things of exactly this name.

        Args:
            what: for errors, after "cannot".
            items: the field of the answer that holds them.
            name: their display name.
            listing: one of the API's methods that list.
            where: its arguments.
        """
        predicate = {"operation": _EQUALS, "key": "display_name", "stringValue": name}
        # The server decodes the filter once more than HTTP has it, so that a + in a name would become a space.
        where["filter"] = quote(json.dumps({"predicates": [predicate]}))
        # It compares without regard to case.
        return [item for item in self.all(what, items, listing, **where) if item.display_name == name]

    def all(self, what: str, items: str, listing: Callable[..., Any], **where: Any) -> Iterator[Any]:
        """All things that are listed, over all pages."""
        token = ""
        while True:
            with self.to(what):
                page = listing(page_token=token, page_size=_PAGE, **where)
            yield from getattr(page, items) or ()
            if not (token := page.next_page_token):
                return

    def once(self, find: Callable[[], T | None], create: Callable[[], T]) -> T:
        """Finds a thing or creates it, but never twice: where the answer is lost, it is looked for again."""
        if (found := find()) is not None:
            return found
        try:
            return create()
        except RequestError as error:
            # 409: somebody was quicker.
            if not error.unknown and error.status != 409:
                raise
            if (found := find()) is not None:
                return found
            raise

    def link(self, kind: str, identity: str) -> str:
        """The address of Kubeflow's page of a thing: `runs`, `recurringrun` or `experiments`."""
        return f"{self.endpoint}/#/{kind}/details/{identity}"


def connect(settings: Kubeflow) -> Connection:
    """Connects to the configuration's endpoint and logs in.

    Raises:
        ConfigError: the configuration lacks something.
        RequestError: the endpoint does not let us in, or is not Kubeflow.
    """
    if settings.endpoint is None:
        raise ConfigError(
            "kubeflow.endpoint: missing; it is Kubeflow Pipelines' address, such as http://localhost:8080"
        )
    endpoint = settings.endpoint.rstrip("/")
    configuration = kfp_server_api.Configuration(host=endpoint)
    configuration.retries = _READS_ARE_REPEATED
    configuration.ssl_ca_cert = os.environ.get("SSL_CERT_FILE")
    identity = login(settings.auth, endpoint, settings.request_timeout)
    if identity.token is not None:
        configuration.api_key_prefix["authorization"] = "Bearer"
        configuration.api_key["authorization"] = ""
        configuration.refresh_api_key_hook = identity.renew
    client = kfp_server_api.ApiClient(configuration, cookie=identity.cookies)
    client.rest_client = _Transport(configuration, settings.request_timeout)
    connection = Connection(endpoint, settings.namespace, client)
    with connection.to("reach Kubeflow Pipelines"):
        several_users = kfp_server_api.HealthzServiceApi(client).healthz_service_get_healthz().multi_user
    if several_users and settings.namespace is None:
        raise ConfigError(f"kubeflow.namespace: missing; {endpoint} serves several users, name your namespace")
    return connection
