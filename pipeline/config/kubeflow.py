"""The `kubeflow` section of the configuration: where the pipeline runs, and on what kind of nodes."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, Strict, model_validator

from schema.section import Integer, Number, Positive, Section

StepName = Literal[
    "PreviousRun",
    "SegmentationExampleGen",
    "CuratedSchema",
    "StatisticsGen",
    "DataReport",
    "ExampleValidator",
    "Transform",
    "Trainer",
    "Evaluator",
    "InfraValidator",
    "ModelExport",
    "Report",
    "Pusher",
    "BulkInferrer",
    "RunRecord",
]
ROOT_SCHEMES = ("gs://", "s3://", "minio://")
"""What Kubeflow's launcher takes for a pipeline root: backend/src/v2/objectstore/config.go in kubeflow/pipelines."""
QUANTITY = re.compile(r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$")
NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"


def _quantity(value: str) -> str:
    if not QUANTITY.fullmatch(value):
        raise ValueError("a quantity as Kubernetes writes it is wanted, such as 500m, 4 or 32Gi")
    return value


def _store(value: str) -> str:
    if not value.startswith(ROOT_SCHEMES) or not value.partition("://")[2].partition("/")[0] or "?" in value:
        raise ValueError(f"it must be a URI of {', '.join(ROOT_SCHEMES)} with a bucket and no query")
    return value.rstrip("/")


Quantity = Annotated[str, Strict(), AfterValidator(_quantity)]
"""An amount as Kubernetes writes it."""
StoreUri = Annotated[str, AfterValidator(_store)]
ResourceName = Annotated[str, Field(pattern=NAME, max_length=253)]
"""A name of something in the cluster."""
MountPath = Annotated[str, Field(pattern=r"^/[^:]+$")]
EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Gpu(Section):
    """Accelerators of a step. Both are wanted: a number without a type would be scheduled nowhere."""

    type: Annotated[str, Field(pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$")]
    """The extended resource, such as `nvidia.com/gpu` or `amd.com/gpu`."""
    count: Positive
    """How many."""


class Toleration(Section):
    """A taint that the step's pod may be scheduled in spite of."""

    key: str | None = None
    """The taint's key; without it, with `Exists`, every taint."""
    operator: Literal["Exists", "Equal"] = "Exists"
    """Whether the value matters."""
    value: str | None = None
    """For `Equal`."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Without it, all effects."""
    seconds: Annotated[Integer, Field(ge=0)] | None = None
    """With `NoExecute`: how long the pod stays."""

    @model_validator(mode="after")
    def _value_is_compared(self) -> Toleration:
        if (self.operator == "Equal") != (self.value is not None):
            raise ValueError("value is for operator Equal, and Equal needs one")
        if self.seconds is not None and self.effect != "NoExecute":
            raise ValueError("seconds is for effect NoExecute")
        return self


class Volume(Section):
    """A persistent volume claim that is there already."""

    claim: ResourceName
    """Its name."""
    path: MountPath
    """Where the step sees it."""


class Secret(Section):
    """A secret by reference; its contents never stand in the configuration or in the compiled pipeline."""

    name: ResourceName
    """Of the secret in the cluster."""
    env: dict[str, EnvironmentName] = {}
    """Keys of the secret, and the environment variables that they become."""
    path: MountPath | None = None
    """Or the folder that its keys become files in."""

    @model_validator(mode="after")
    def _one_way(self) -> Secret:
        if bool(self.env) == (self.path is not None):
            raise ValueError("give either env, keys and environment variables, or path, a folder")
        return self


class Step(Section):
    """What a step's pod asks of the cluster."""

    cpu: Quantity | None = None
    """Processors, asked for and not exceeded."""
    memory: Quantity | None = None
    """Memory, asked for and not exceeded, such as 32Gi."""
    gpu: Gpu | None = None
    """Accelerators."""
    node_selector: dict[str, str] = {}
    """Labels of the nodes that will do."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints that do not matter."""
    shared_memory: Quantity | None = None
    """Size of /dev/shm, which is 64 MB otherwise."""
    volumes: tuple[Volume, ...] = ()
    """Claims to mount."""
    env: dict[EnvironmentName, Annotated[str, Strict()]] = {}
    """Environment variables."""
    secrets: tuple[Secret, ...] = ()
    """Secrets, by reference."""
    retries: Annotated[Integer, Field(ge=0, le=10)] = 2
    """How often it is tried again after its program has failed."""
    timeout: Positive | None = None
    """Seconds after which the pod is ended."""

    def over(self, others: Step) -> Step:
        """This step's values where they are given, otherwise the other's; mappings and lists are put together."""
        values: dict[str, Any] = {}
        for name in Step.model_fields:
            own, other = getattr(self, name), getattr(others, name)
            if isinstance(own, dict):
                values[name] = {**other, **own}
            elif isinstance(own, tuple):
                values[name] = (*other, *(item for item in own if item not in other))
            else:
                values[name] = own if name in self.model_fields_set else other
        return Step.model_construct(**values)


class Auth(Section):
    """How the commands show Kubeflow who they are. Passwords and tokens come from the environment or from files."""

    method: Literal["none", "token", "service_account", "dex", "iap"] = "none"
    """`none`; `token`, a bearer token; `service_account`, the token that Kubernetes mounts into a pod; `dex`, the login
    page of a Kubeflow installation; `iap`, Google's Identity-Aware Proxy."""
    token_variable: EnvironmentName = "KFP_TOKEN"
    """For `token`: the environment variable that holds it."""
    token_file: str = "/var/run/secrets/kubeflow/pipelines/token"
    """For `service_account`: where the token is mounted."""
    username: str | None = None
    """For `dex`: who logs in."""
    password_variable: EnvironmentName = "KFP_PASSWORD"
    """For `dex`: the environment variable that holds the password."""
    connector: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")] = "local"
    """For `dex`: which of the ways to log in that its page lists, such as `ldap`."""
    client_id: str | None = None
    """For `iap`: the OAuth client of the proxy. The caller's own are Google's application default credentials."""

    @model_validator(mode="after")
    def _complete(self) -> Auth:
        wanted = {"dex": "username", "iap": "client_id"}.get(self.method)
        if wanted and getattr(self, wanted) is None:
            raise ValueError(f"method {self.method} needs {wanted}")
        return self


class Kubeflow(Section):
    """How and where the pipeline runs on Kubeflow Pipelines 2.x. Runs on this machine do not read it."""

    image: Annotated[str, Field(pattern=r"^\S+$")] | None = None
    """The image of every step, built from the Dockerfile and pushed to where the cluster finds it."""
    root: StoreUri | None = None
    """Where artifacts go: gs://, s3:// or minio://, bucket and folder."""
    endpoint: Annotated[str, Field(pattern=r"^https?://[^/\s]+")] | None = None
    """Kubeflow Pipelines' address, such as http://localhost:8080."""
    namespace: ResourceName | None = None
    """The user's namespace, in an installation for several users."""
    experiment: Annotated[str, Field(min_length=1, max_length=128)] = "deeplabv3plus"
    """What runs are filed under; it is made when it is not there."""
    service_account: ResourceName | None = None
    """What the run's pods act as; Kubeflow knows one for the whole run."""
    auth: Auth = Auth()
    request_timeout: Annotated[Number, Field(gt=0)] = 30.0
    """Seconds that Kubeflow's answer is waited for."""
    all_steps: Step = Step()
    """Of every step."""
    steps: dict[StepName, Step] = {}
    """Of single steps by name, such as Trainer; over `all_steps`."""

    def step(self, name: str) -> Step:
        """What a step asks of the cluster."""
        return self.steps.get(name, Step()).over(self.all_steps)  # type: ignore[call-overload]
