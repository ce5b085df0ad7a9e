"""A stand-in for Kubeflow Pipelines' API server on the loopback interface: no cluster, but its rules.

Bodies are checked against the published API (the models of kfp-server-api); beside each of the server's own checks
stands where it is in kubeflow/pipelines. What is stricter than the server: an unknown field or query is refused.
"""

from __future__ import annotations

import base64
import email.parser
import email.policy
import json
import re
import select
import ssl
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

import kfp_server_api.models as api
import yaml

API = "/apis/v2beta1"
GRPC_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 500: 13, 503: 14}
"""What grpc-gateway puts beside an HTTP status: runtime/errors.go in grpc-gateway."""
OUTPUT_ONLY = ("created_at", "finished_at", "scheduled_at", "state", "run_details", "status")


class RefusedError(Exception):
    """The server says no."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


@dataclass
class Fault:
    """What is to go wrong: a status; `before` or `after`, the connection breaks before or after the thing is done;
    `late`, it is done but answered too late; `page`, a web page comes back."""

    method: str
    path: str
    kind: int | str
    times: int


@dataclass
class Stub:
    """The server's state, open to tests."""

    multi_user: bool = False
    login: str | None = None
    """`authservice` or `oauth2-proxy`: a Dex login page stands before everything."""
    approval: bool = False
    """Whether Dex asks for consent."""
    bearer: str | None = None
    """The only token that is let in."""
    google: Callable[[dict[str, str]], str] | None = None
    """Google's token endpoint: gives an identity token for a signed assertion."""
    pipelines: list[dict] = field(default_factory=list)
    versions: list[dict] = field(default_factory=list)
    experiments: list[dict] = field(default_factory=list)
    runs: list[dict] = field(default_factory=list)
    schedules: list[dict] = field(default_factory=list)
    frames: list[dict] = field(default_factory=list)
    """What the next looks at a run show; the last one stays."""
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    """Method and path of each."""
    cookies: set[str] = field(default_factory=set)
    """All that were sent."""
    enabled_counts: list[int] = field(default_factory=list)
    """How many schedules were enabled after each request."""
    certificate: str | None = None
    """A file of key and certificate: then it is HTTPS."""
    url: str = ""

    def fail(self, method: str, path: str, kind: int | str, times: int = 1) -> None:
        """Makes the next requests of this method whose path ends like this go wrong."""
        self.faults.append(Fault(method, path, kind, times))

    def fault_of(self, method: str, path: str) -> int | str | None:
        for fault in self.faults:
            if fault.times and fault.method == method and re.search(f"{fault.path}$", path):
                fault.times -= 1
                return fault.kind
        return None

    @property
    def enabled(self) -> list[dict]:
        return [one for one in self.schedules if one["mode"] == "ENABLE"]

    def __enter__(self) -> Stub:
        stub = self

        class Handler(_Handler):
            server_state = stub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if self.certificate else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server_state: Stub
    protocol_version = "HTTP/1.1"
    # Otherwise each answer waits 40 ms for the client to confirm its head.
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def _serve(self, method: str) -> None:
        stub, parts = self.server_state, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        stub.requests.append(f"{method} {parts.path.removeprefix(API)}")
        stub.cookies.add(self.headers.get("Cookie") or "")
        if not parts.path.startswith(API):
            return self._page_or_login(method, parts.path, parse_qs(parts.query), body)
        if stub.login and "session=ours" not in (self.headers.get("Cookie") or ""):
            return self._redirect(f"/dex/auth?{urlencode({'state': 'secret-state'})}")
        if stub.bearer and self.headers.get("Authorization") != f"Bearer {stub.bearer}":
            return self._json(401, _error(401, "Unauthenticated"))
        fault = stub.fault_of(method, parts.path)
        if fault == "before":
            return self._break()
        if fault == "page":
            return self._text(200, "<html>Welcome</html>")
        if isinstance(fault, int):
            return self._json(fault, _error(fault, "injected"))
        upload = parts.path.endswith("/upload_version")
        try:
            content = _file_of(self.headers["Content-Type"], body) if upload else json.loads(body or b"null")
            answer = _answer(stub, method, parts.path.removeprefix(API), parse_qs(parts.query), content)
            status = 200
            stub.enabled_counts.append(len(stub.enabled))
        except RefusedError as refused:
            status, said = refused.status, str(refused)
            # writeErrorToResponse in apiserver/server/pipeline_upload_server.go
            answer = {"error_message": said, "error_details": said} if upload else _error(status, said)
        if fault == "after":
            return self._break(json.dumps(answer).encode())
        if fault == "late":
            # Until the client has gone.
            select.select([self.connection], [], [], 10)
            return self._break()
        return self._json(status, answer)

    def _page_or_login(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> None:
        """Kubeflow's dashboard, the proxy before it, Dex, and Google's token endpoint."""
        stub = self.server_state
        form = {key: values[0] for key, values in parse_qs(body.decode()).items()}
        known = "session=ours" in (self.headers.get("Cookie") or "")
        if method == "POST" and path == "/google/token" and stub.google:
            return self._json(200, {"id_token": stub.google(form)})
        if path == "/dex/auth":
            return self._text(200, "<a href=/dex/auth/local>Log in with Email</a>")
        if path == "/dex/auth/local":
            return self._redirect("/dex/auth/local/login?state=secret-state")
        if path == "/dex/auth/local/login":
            if method == "GET" or form != {"login": "ada@example.com", "password": "right"}:
                return self._text(200, "<form method=post>")
            return self._redirect("/dex/approval?req=secret" if stub.approval else "/callback?code=secret")
        if path == "/dex/approval":
            return self._redirect("/callback?code=secret") if form == {"approval": "approve"} else self._text(200, "?")
        if path == "/callback":
            name = {"authservice": "authservice_session", "oauth2-proxy": "oauth2_proxy_kubeflow_session"}
            return self._redirect("/", {"Set-Cookie": f"{name[str(stub.login)]}=ours; Path=/; HttpOnly"})
        if path.startswith("/dex/"):
            return self._text(404, "Requested resource does not exist.")
        if path == "/oauth2/start":
            return self._redirect("/dex/auth?state=secret-state")
        if stub.login == "authservice" and not known:
            return self._redirect("/dex/auth?state=secret-state")
        if stub.login == "oauth2-proxy" and not known:
            return self._text(403, "<form action=/oauth2/start>Sign in")
        return self._text(200 if path == "/" else 404, "<html>Kubeflow</html>")

    def _json(self, status: int, answer: Any) -> None:
        self._send(status, json.dumps(answer).encode(), "application/json")

    def _text(self, status: int, text: str) -> None:
        self._send(status, text.encode(), "text/html")

    def _redirect(self, to: str, headers: dict[str, str] | None = None) -> None:
        self._send(302, b"", "text/html", {"Location": to, **(headers or {})})

    def _send(self, status: int, content: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _break(self, content: bytes = b"") -> None:
        """Ends the connection, in the middle of the answer if there is one."""
        if content:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
        self.close_connection = True


def _error(status: int, message: str) -> dict[str, Any]:
    """DefaultHTTPErrorHandler in grpc-gateway, with the field `error` that Kubeflow's older clients read."""
    return {"error": message, "code": GRPC_CODES.get(status, 2), "message": message, "details": []}


def _file_of(content_type: str, body: bytes) -> str:
    """The uploaded file: FormFile("uploadfile") and isYamlFile in apiserver/server/util.go."""
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    message = parser.parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    for part in message.iter_parts():
        if part.get_param("name", header="content-disposition") == "uploadfile":
            if not str(part.get_filename()).endswith((".yaml", ".yml")):
                raise RefusedError(400, "Unexpected pipeline file format. Support .zip, .tar.gz or YAML.")
            return (
                part.get_content() if part.get_content_maintype() == "text" else part.get_payload(decode=True).decode()
            )
    raise RefusedError(400, "Failed to read pipeline from file: no uploadfile")


def checked(model: str, value: Any, where: str = "body") -> None:
    """Refuses what is not of the model: unknown fields, wrong types, values outside an enumeration."""
    if model == "object" or value is None:
        return
    if model.startswith("dict("):
        inner = re.fullmatch(r"dict\(str, (.*)\)", model)
        assert inner is not None
        _is(dict, value, where)
        for key, item in value.items():
            checked(inner.group(1), item, f"{where}.{key}")
        return
    if model.startswith("list["):
        _is(list, value, where)
        for item in value:
            checked(model[5:-1], item, where)
        return
    if model in ("str", "bool", "int", "datetime"):
        # int64 is a string in JSON, but protojson takes a number.
        int64 = where.endswith((".max_concurrency", ".interval_second")) and isinstance(value, int)
        if not int64:
            _is({"str": str, "bool": bool, "int": int, "datetime": str}[model], value, where)
        if model == "datetime":
            datetime.fromisoformat(value)
        return
    kind = getattr(api, model)
    if not kind.openapi_types:
        if value not in kind.allowable_values:
            raise RefusedError(400, f"{where}: {value!r} is none of {kind.allowable_values}")
        return
    _is(dict, value, where)
    fields = {kind.attribute_map[name]: type_ for name, type_ in kind.openapi_types.items()}
    for key, item in value.items():
        if key not in fields:
            raise RefusedError(400, f'unknown field "{key}" in {where}')
        checked(fields[key], item, f"{where}.{key}")


def _is(kind: type, value: Any, where: str) -> None:
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise RefusedError(400, f"{where}: {value!r} is no {kind.__name__}")


def _answer(stub: Stub, method: str, path: str, query: dict[str, list[str]], body: Any) -> dict:
    """Finds what serves a request."""
    asked = {key: values[0] for key, values in query.items()}
    for verb, pattern, serve, queries in ROUTES:
        if verb == method and (matched := re.fullmatch(pattern, path)):
            if unknown := set(asked) - queries:
                raise RefusedError(400, f"unknown query {unknown}")
            return serve(stub, *matched.groups(), asked, body)
    raise RefusedError(404, "Not Found")


def _healthz(stub: Stub, _: dict, __: Any) -> dict:
    return {"multi_user": stub.multi_user}


def _created(stub_items: list[dict], key: str, item: dict) -> dict:
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=len(stub_items))
    item = {key: str(uuid.uuid4()), "created_at": moment.isoformat().replace("+00:00", "Z"), **item}
    stub_items.append(item)
    return item


def _find(items: list[dict], key: str, value: str, what: str) -> dict:
    for item in items:
        if item[key] == value:
            return item
    # NewResourceNotFoundError in common/util/error.go
    raise RefusedError(404, f"{what} {value} not found.")


def _listed(items: list[dict], field_: str, asked: dict, keys: tuple[str, ...]) -> dict:
    """validatedListOptions in apiserver/server/list_request_util.go: filter, order, pages of 20 at first and 200 at
    most, newest last."""
    items = [item for item in items if _fits(item, asked.get("filter", ""), keys)]
    order = asked.get("sort_by", "").split()
    if order:
        if order[0] not in (*keys, "created_at") or order[1:] not in ([], ["asc"], ["desc"]):
            raise RefusedError(400, f"Cannot sort on field {asked['sort_by']}")
        items = sorted(items, key=lambda item: str(item.get(order[0])), reverse=order[1:] == ["desc"])
    size = min(int(asked.get("page_size") or 20) or 20, 200)
    token = asked.get("page_token", "")
    start = int(base64.b64decode(token)) if token else 0
    more = base64.b64encode(str(start + size).encode()).decode() if start + size < len(items) else ""
    return {field_: items[start : start + size], "total_size": len(items), "next_page_token": more}


def _fits(item: dict, encoded: str, keys: tuple[str, ...]) -> bool:
    """parseAPIFilter, which decodes the query's value once more, and apiserver/filter/filter.go."""
    if not encoded:
        return True
    try:
        found = json.loads(unquote_plus(encoded))
    except ValueError as error:
        raise RefusedError(400, f"failed to parse valid filter from {encoded!r}: {error}") from None
    for predicate in found["predicates"]:
        if predicate["key"] not in keys:
            raise RefusedError(400, f"no support for filtering on unrecognized field {predicate['key']!r}")
        if predicate["operation"] not in (1, "EQUALS"):
            raise RefusedError(400, f"invalid predicate operation: {predicate['operation']}")
        # jobCaseInsensitiveFields in apiserver/model/job.go
        if str(item.get(predicate["key"])).lower() != predicate["stringValue"].lower():
            return False
    return True


def _namespace(stub: Stub, asked: dict) -> str:
    """ReplaceNamespace in apiserver/resource/resource_manager.go: none for single users."""
    return asked.get("namespace", "") if stub.multi_user else ""


def _list_pipelines(stub: Stub, asked: dict, _: Any) -> dict:
    namespace = _namespace(stub, asked)
    return _listed(
        [one for one in stub.pipelines if one["namespace"] == namespace],
        "pipelines",
        asked,
        ("pipeline_id", "name", "display_name"),
    )


def _create_pipeline(stub: Stub, _: dict, body: dict) -> dict:
    """toModelPipeline in apiserver/server/api_converter.go, apiserver/validation/length.go, and the unique index
    namespace_name of model/pipeline.go."""
    checked("V2beta1Pipeline", body)
    name = body.get("name") or body.get("display_name") or ""
    if not name:
        raise RefusedError(400, "pipeline's name cannot be empty")
    if len(name) > 128:
        raise RefusedError(400, "Pipeline.Name length cannot exceed 128")
    namespace = _namespace(stub, body)
    if any(one["name"] == name and one["namespace"] == namespace for one in stub.pipelines):
        raise RefusedError(409, f"The name {name} already exist. Please specify a new name.")
    shown = body.get("display_name") or name
    return _created(stub.pipelines, "pipeline_id", {"name": name, "display_name": shown, "namespace": namespace})


def _list_versions(stub: Stub, pipeline_id: str, asked: dict, _: Any) -> dict:
    _find(stub.pipelines, "pipeline_id", pipeline_id, "Pipeline")
    return _listed(
        [one for one in stub.versions if one["pipeline_id"] == pipeline_id],
        "pipeline_versions",
        asked,
        ("pipeline_version_id", "name", "display_name"),
    )


def _get_version(stub: Stub, pipeline_id: str, version_id: str, _: dict, __: Any) -> dict:
    _find(stub.pipelines, "pipeline_id", pipeline_id, "Pipeline")
    return _find(stub.versions, "pipeline_version_id", version_id, "PipelineVersion")


def _upload_version(stub: Stub, asked: dict, text: str) -> dict:
    """uploadPipelineVersion in apiserver/server/pipeline_upload_server.go, which answers 500 to a wrong file."""
    name, pipeline_id = asked.get("name", ""), asked.get("pipelineid", "")
    if not pipeline_id:
        raise RefusedError(400, "Failed to create a pipeline version due to error reading pipeline id")
    if not name or len(name) > 127:
        raise RefusedError(400, "PipelineVersion.Name length cannot exceed 127")
    _find(stub.pipelines, "pipeline_id", pipeline_id, "Pipeline")
    documents = list(yaml.safe_load_all(text))
    _check_spec(documents[0])
    if any(one["name"] == name and one["pipeline_id"] == pipeline_id for one in stub.versions):
        raise RefusedError(409, "Failed to create a pipeline version. The pipeline already exists.")
    spec = {"pipeline_spec": documents[0], "platform_spec": documents[1]} if documents[1:] else documents[0]
    return _created(
        stub.versions,
        "pipeline_version_id",
        {"name": name, "display_name": name, "pipeline_id": pipeline_id, "pipeline_spec": spec},
    )


def _check_spec(spec: dict) -> None:
    """NewV2SpecTemplate in apiserver/template/v2_template.go."""
    if spec.get("schemaVersion") != "2.1.0":
        raise RefusedError(500, f"KFP only supports schema version 2.1.0, but found {spec.get('schemaVersion')}")
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", spec.get("pipelineInfo", {}).get("name", "")):
        raise RefusedError(500, "invalid v2 pipeline spec: name should consist of lower case alphanumeric characters")
    if not spec.get("root"):
        raise RefusedError(500, "invalid v2 pipeline spec: root component is empty")


def _list_experiments(stub: Stub, asked: dict, _: Any) -> dict:
    namespace = _namespace_wanted(stub, asked)
    items = [one for one in stub.experiments if one["namespace"] == namespace]
    return _listed(items, "experiments", asked, ("experiment_id", "name", "display_name"))


def _namespace_wanted(stub: Stub, asked: dict) -> str:
    """isAuthorized in apiserver/server/util.go: several users have no things without a namespace."""
    namespace = _namespace(stub, asked)
    if stub.multi_user and not namespace:
        raise RefusedError(400, "Namespace should not be empty")
    return namespace


def _create_experiment(stub: Stub, _: dict, body: dict) -> dict:
    """toModelExperiment in apiserver/server/api_converter.go, CreateExperiment in resource_manager.go."""
    checked("V2beta1Experiment", body)
    name = body.get("display_name", "")
    if not name or len(name) > 128:
        raise RefusedError(400, "Experiment must have a non-empty name")
    namespace = _namespace_wanted(stub, body)
    if any(one["display_name"] == name and one["namespace"] == namespace for one in stub.experiments):
        raise RefusedError(409, f"Experiment with name {name} already exists.")
    return _created(stub.experiments, "experiment_id", {"display_name": name, "namespace": namespace})


def _list_runs(stub: Stub, asked: dict, _: Any) -> dict:
    if not asked.get("experiment_id"):
        _namespace_wanted(stub, asked)
    items = [one for one in stub.runs if asked.get("experiment_id") in (None, one["experiment_id"])]
    return _listed(items, "runs", asked, ("run_id", "display_name"))


def _create_run(stub: Stub, _: dict, body: dict) -> dict:
    """toModelRun in apiserver/server/api_converter.go, createRun in apiserver/server/run_server.go."""
    checked("V2beta1Run", body)
    _has_no(body, "run_id", *OUTPUT_ONLY)
    if not body.get("display_name"):
        raise RefusedError(400, "The run name is empty. Please specify a valid name")
    _check_source(stub, body)
    item = {**body, "state": "PENDING", "service_account": body.get("service_account") or "pipeline-runner"}
    return _created(stub.runs, "run_id", item)


def _get_run(stub: Stub, run_id: str, _: dict, __: Any) -> dict:
    run = _find(stub.runs, "run_id", run_id, "Run")
    if stub.frames:
        run.update(stub.frames.pop(0))
    return run


def _check_source(stub: Stub, body: dict) -> None:
    """Experiment, version and parameters of a run or schedule."""
    # GetValidExperimentNamespacePair in apiserver/resource/resource_manager.go
    _find(stub.experiments, "experiment_id", body.get("experiment_id", ""), "Experiment")
    reference = body.get("pipeline_version_reference") or {}
    if not reference.get("pipeline_id") or not reference.get("pipeline_version_id"):
        # kfp's client and ours always pin a version; the server would take the latest.
        raise RefusedError(400, "Cannot create a job with an empty pipeline ID")
    version = _find(stub.versions, "pipeline_version_id", reference["pipeline_version_id"], "PipelineVersion")
    # fetchPipelineVersionFromPipelineSpec in apiserver/resource/resource_manager.go
    if version["pipeline_id"] != reference["pipeline_id"]:
        raise RefusedError(400, f"Pipeline version belongs to pipeline {version['pipeline_id']}")
    spec = version["pipeline_spec"].get("pipeline_spec", version["pipeline_spec"])
    # VisitResolver and the like in v2/compiler/argocompiler/argo.go and visitor.go
    for name, executor in spec.get("deploymentSpec", {}).get("executors", {}).items():
        if "resolver" in executor:
            raise RefusedError(400, f"Failed to compile job: {name}: resolver is not implemented")
    root = (body.get("runtime_config") or {}).get("pipeline_root")
    # ParseBucketConfig in v2/objectstore/config.go
    if root and not root.startswith(("gs://", "s3://", "minio://")):
        raise RefusedError(400, f"unrecognized pipeline root format: {root}")
    _check_parameters(spec, (body.get("runtime_config") or {}).get("parameters") or {})


PARAMETERS: dict[str, type | tuple[type, ...]] = {
    "NUMBER_DOUBLE": (int, float),
    "NUMBER_INTEGER": (int, float),
    "STRING": str,
    "BOOLEAN": bool,
    "LIST": list,
    "STRUCT": dict,
}


def _check_parameters(spec: dict, values: dict) -> None:
    """validatePipelineJobInputs in apiserver/template/v2_template.go."""
    wanted = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, definition in wanted.items():
        if name not in values:
            if not definition.get("isOptional") and "defaultValue" not in definition:
                raise RefusedError(
                    400, f"parameter {name} is not optional, yet has neither default value nor user value"
                )
            continue
        kind = definition["parameterType"]
        if not isinstance(values[name], PARAMETERS[kind]) or (isinstance(values[name], bool) and kind != "BOOLEAN"):
            raise RefusedError(400, f"input parameter {name} requires type {kind}")
    if extra := set(values) - set(wanted):
        raise RefusedError(400, f"parameter(s) provided are not required or optional: {', '.join(sorted(extra))}")


def _has_no(body: dict, *fields: str) -> None:
    if given := [name for name in fields if name in body]:
        raise RefusedError(400, f"fields that only the server writes: {given}")


def _list_schedules(stub: Stub, asked: dict, _: Any) -> dict:
    if not asked.get("experiment_id"):
        _namespace_wanted(stub, asked)
    return _listed(stub.schedules, "recurringRuns", asked, ("recurring_run_id", "name", "display_name"))


def _create_schedule(stub: Stub, _: dict, body: dict) -> dict:
    """toModelJob in apiserver/server/api_converter.go, createJob in apiserver/server/job_server.go."""
    checked("V2beta1RecurringRun", body)
    _has_no(body, "recurring_run_id", *OUTPUT_ONLY)
    if not body.get("display_name"):
        raise RefusedError(400, "Recurring run's name cannot be empty")
    if not 1 <= int(body.get("max_concurrency") or 0) <= 10:
        raise RefusedError(400, "Max concurrency of a recurring run must be at least 1 and at most 10")
    trigger = body.get("trigger") or {}
    if "cron_schedule" in trigger:
        check_cron(trigger["cron_schedule"]["cron"])
    _check_source(stub, body)
    enabled = body.get("mode") == "ENABLE"
    item = {
        **body,
        "max_concurrency": str(body["max_concurrency"]),
        "mode": "ENABLE" if enabled else "DISABLE",
        "status": "ENABLED" if enabled else "DISABLED",
        # scheduledServiceAccount in apiserver/resource/resource_manager.go
        "service_account": body.get("service_account") or "pipeline-runner",
    }
    return _created(stub.schedules, "recurring_run_id", item)


def _switch_schedule(stub: Stub, identity: str, verb: str, _: dict, __: Any) -> dict:
    one = _find(stub.schedules, "recurring_run_id", identity, "Job")
    one.update(mode=verb.upper(), status=f"{verb.upper()}D")
    return {}


def _delete_schedule(stub: Stub, identity: str, _: dict, __: Any) -> dict:
    stub.schedules.remove(_find(stub.schedules, "recurring_run_id", identity, "Job"))
    return {}


MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec"
DAYS = "sun mon tue wed thu fri sat"


def check_cron(text: str) -> None:
    """Parse of github.com/robfig/cron 1.2: five fields are six without the day of the week, not without seconds."""
    if text.startswith("@"):
        known = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
        if text in known or re.fullmatch(r"@every (\d+(\.\d+)?(ns|us|ms|s|m|h))+", text):
            return
        raise RefusedError(400, f"Unrecognized descriptor: {text}")
    fields = text.split()
    if len(fields) not in (5, 6):
        raise RefusedError(400, f"Expected 5 to 6 fields, found {len(fields)}: {text}")
    months = {name: number for number, name in enumerate(MONTHS.split(), 1)}
    days = {name: number for number, name in enumerate(DAYS.split())}
    bounds = [(0, 59, {}), (0, 59, {}), (0, 23, {}), (1, 31, {}), (1, 12, months), (0, 6, days)]
    for value, (low, high, names) in zip(fields, bounds, strict=False):
        for part in value.split(","):
            if part:
                _check_range(part, low, high, names)


def _check_range(part: str, low: int, high: int, names: dict[str, int]) -> None:
    """getRange in parser.go."""
    span, *steps = part.split("/")
    ends = span.split("-")
    try:
        if len(steps) > 1 or len(ends) > 2:
            raise ValueError("too many slashes or hyphens")
        if ends[0] not in ("*", "?"):
            numbers = [names[end.lower()] if end.lower() in names else int(end) for end in ends]
            if numbers[0] < low or numbers[-1] > high or numbers[0] > numbers[-1]:
                raise ValueError("outside the bounds")
        if steps and int(steps[0]) <= 0:
            raise ValueError("step of range should be a positive number")
    except ValueError as error:
        raise RefusedError(400, f"Schedule cron is not a supported format: {part}: {error}") from None


PAGES = {"page_token", "page_size", "sort_by", "filter", "namespace"}
ID = "([^/:]+)"
ROUTES: list[tuple[str, str, Callable[..., dict], set[str]]] = [
    ("GET", "/healthz", _healthz, set()),
    ("GET", "/pipelines", _list_pipelines, PAGES),
    ("POST", "/pipelines", _create_pipeline, set()),
    ("POST", "/pipelines/upload_version", _upload_version, {"name", "display_name", "pipelineid", "description"}),
    ("GET", f"/pipelines/{ID}/versions", _list_versions, PAGES - {"namespace"}),
    ("GET", f"/pipelines/{ID}/versions/{ID}", _get_version, set()),
    ("GET", "/experiments", _list_experiments, PAGES),
    ("POST", "/experiments", _create_experiment, set()),
    ("GET", "/runs", _list_runs, PAGES | {"experiment_id"}),
    ("POST", "/runs", _create_run, {"experiment_id"}),
    ("GET", f"/runs/{ID}", _get_run, {"experiment_id"}),
    ("GET", "/recurringruns", _list_schedules, PAGES | {"experiment_id"}),
    ("POST", "/recurringruns", _create_schedule, set()),
    ("POST", f"/recurringruns/{ID}:(enable|disable)", _switch_schedule, set()),
    ("DELETE", f"/recurringruns/{ID}", _delete_schedule, {"propagation_policy"}),
]
assert all(HTTPStatus(code) for code in GRPC_CODES)
