"""What is refused before anything runs."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from kubeflow.local_backend.errors import BackendError

Documents = list[dict[str, Any]]
Change = Callable[[dict[str, Any], dict[str, Any]], Any]


def tasks(spec: dict[str, Any]) -> dict[str, Any]:
    return spec["root"]["dag"]["tasks"]


def executor(spec: dict[str, Any], name: str) -> dict[str, Any]:
    return spec["deploymentSpec"]["executors"][f"exec-{name}"]


def component(spec: dict[str, Any], name: str) -> dict[str, Any]:
    return spec["components"][f"comp-{name}"]


def config(platform: dict[str, Any]) -> dict[str, Any]:
    return platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-use"]


def refusal(backend: Any, as_package: Any, documents: Documents, **options: Any) -> str:
    with pytest.raises(BackendError) as refused:
        backend.run(as_package(*documents), **options)
    assert refused.value.run is None
    assert backend.reports.started == []
    assert not (backend.store / "runs").exists()
    return str(refused.value)


def rename(spec: dict[str, Any], old: str, new: str) -> None:
    tasks(spec)[new] = tasks(spec).pop(old)
    tasks(spec)[new]["taskInfo"]["name"] = new


def use_graph(spec: dict[str, Any], name: str, inner: dict[str, Any], **more: Any) -> None:
    """Makes `use` a graph."""
    spec["components"][name] = {"dag": {"tasks": inner}, **more}
    tasks(spec)["use"]["componentRef"]["name"] = name


def importer(**fields: Any) -> dict[str, Any]:
    return {
        "importer": {"artifactUri": {"constant": "gs://b/x"}, "typeSchema": {"schemaTitle": "system.Model"}, **fields}
    }


INNER = {"only": {"taskInfo": {"name": "only"}, "componentRef": {"name": "comp-use"}}}
DATA = {"componentInputArtifact": "data"}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        # The head
        (lambda spec, _: spec.update(schemaVersion="2.0.0"), "schemaVersion: found '2.0.0', wanted 2.1.0"),
        (lambda spec, _: spec.pop("schemaVersion"), "schemaVersion: found ''"),
        (lambda spec, _: spec.pop("pipelineInfo"), "pipelineInfo.name: found ''"),
        (lambda spec, _: spec["pipelineInfo"].update(name="Two"), "pipelineInfo.name: found 'Two'"),
        (lambda spec, _: spec["pipelineInfo"].update(name="two_steps"), "pipelineInfo.name: found 'two_steps'"),
        (lambda spec, _: spec["pipelineInfo"].update(name="two-"), "pipelineInfo.name: found 'two-'"),
        (lambda spec, _: spec.pop("root"), "root: the pipeline has no root component"),
        (lambda spec, _: spec["root"].pop("dag"), "neither a graph of tasks nor has it an executor"),
        (lambda spec, _: spec["root"].update(dag={}), "the graph has no tasks"),
        (lambda spec, _: spec.update(surprise=1), 'the pipeline\'s document: .*"surprise"'),
        (lambda spec, _: spec.update(defaultPipelineRoot="/local"), "pipeline root: found '/local'"),
        (lambda spec, _: spec["components"].update(root={}), "a component is called root"),
        # The platform
        (lambda _, platform: platform.update(surprise=1), "the platform document"),
        (lambda _, platform: platform.update(platforms={"other": {}}), "for other; the backend reads kubernetes only"),
        (lambda _, platform: config(platform).update(surprise=1), "executors.exec-use: .*surprise"),
        (lambda _, platform: config(platform).update(imagePullPolicy="Sometimes"), "use: imagePullPolicy: found"),
        (lambda _, platform: config(platform).update(secretAsEnv=[{}]), "use: a secret is used without secretName"),
        (lambda _, platform: config(platform).update(configMapAsEnv=[{}]), "use: a config map is used without"),
        (
            lambda _, platform: config(platform).update(emptyDirMounts=[{"volumeName": "shm", "sizeLimit": "8 GB"}]),
            "use: emptyDirMounts shm: sizeLimit: found '8 GB'",
        ),
        # Components and executors
        (lambda spec, _: tasks(spec)["use"].pop("componentRef"), "use: componentRef.name: there is no component ''"),
        (lambda spec, _: spec["components"].pop("comp-use"), "use: componentRef.name: there is no component"),
        (lambda spec, _: component(spec, "use").pop("executorLabel"), "use: its component is neither a graph"),
        (lambda spec, _: spec["deploymentSpec"]["executors"].pop("exec-use"), "use: executorLabel: .*'exec-use'"),
        (
            lambda spec, _: spec["deploymentSpec"]["executors"].update({"exec-use": {"resolver": {}}}),
            "use: executor exec-use: found a resolver, wanted a container",
        ),
        (
            lambda spec, _: spec["deploymentSpec"]["executors"].update({"exec-use": {"customJob": {}}}),
            "use: executor exec-use: found a custom job",
        ),
        (
            lambda spec, _: spec["deploymentSpec"]["executors"].update({"exec-use": {}}),
            "use: executor exec-use: found nothing that can be run",
        ),
        (lambda spec, _: executor(spec, "use").update(container={"image": "i"}), "use: container.command .*empty"),
        (lambda spec, _: executor(spec, "use")["container"].pop("image"), "use: container.image is empty"),
        (
            lambda spec, _: executor(spec, "use")["container"].update(image="argostub/createpvc"),
            "use: container.image argostub/createpvc: the local backend cannot run it",
        ),
        (
            lambda spec, _: executor(spec, "use")["container"].update(env=[{"name": "1A", "value": ""}]),
            "use: container.env: '1A'",
        ),
        (
            lambda spec, _: executor(spec, "use")["container"].update(resources={"resourceMemoryLimit": "32GiB"}),
            "use: container.resources.resourceMemoryLimit: found '32GiB'",
        ),
        (
            lambda spec, _: component(spec, "make")["outputDefinitions"]["artifacts"]["data"].pop("artifactType"),
            "make: output artifact data: its type has no title",
        ),
        (
            lambda spec, _: component(spec, "make")["outputDefinitions"]["artifacts"]["data"].update(
                artifactType={"instanceSchema": "type: object"}
            ),
            "make: output artifact data: its type has no title",
        ),
        # Names
        (lambda spec, _: rename(spec, "use", "use_it"), "use_it: the task's name: found 'use_it'"),
        (lambda spec, _: rename(spec, "use", "2use"), "2use: the task's name begins with a digit"),
        (lambda spec, _: rename(spec, "use", "u" * 129), "it has 129 characters, Argo takes 128"),
        (lambda spec, _: rename(spec, "use", "make-driver"), "make: there is a task make-driver"),
        (lambda spec, _: tasks(spec)["use"].pop("taskInfo"), "use: taskInfo.name is missing"),
        (
            lambda spec, _: tasks(spec)["make"]["taskInfo"].update(name="Make it"),
            "make: taskInfo.name: found 'Make it'",
        ),
        # Dependencies and inputs
        (lambda spec, _: tasks(spec)["use"].update(dependentTasks=["gone"]), "use: it depends on task 'gone'"),
        (
            lambda spec, _: tasks(spec)["use"]["inputs"]["artifacts"]["data"]["taskOutputArtifact"].update(
                producerTask="make_task"
            ),
            "use: it depends on task 'make_task'",
        ),
        (
            lambda spec, _: tasks(spec)["use"]["inputs"]["artifacts"]["data"]["taskOutputArtifact"].update(
                outputArtifactKey="gone"
            ),
            "use: input artifact data: task make has no output 'gone'; it has: data",
        ),
        (
            lambda spec, _: tasks(spec)["make"]["inputs"]["parameters"].update(
                number={"taskOutputParameter": {"producerTask": "use", "outputParameterKey": "gone"}}
            ),
            "make: input parameter number: task use has no output 'gone'; it has: size",
        ),
        (
            lambda spec, _: tasks(spec)["make"]["inputs"]["parameters"].update(
                number={"taskOutputParameter": {"producerTask": "use", "outputParameterKey": "size"}}
            ),
            r"tasks wait for one another: make \(waits for use\), use \(waits for make\)",
        ),
        (
            lambda spec, _: tasks(spec)["make"]["inputs"]["parameters"]["number"].update(
                componentInputParameter="gone"
            ),
            "make: input parameter number: the graph around it has no input 'gone'; it has: note, number, text",
        ),
        (
            lambda spec, _: tasks(spec)["use"]["inputs"]["artifacts"].update(data=DATA),
            "use: input artifact data: the graph around it has no input 'data'; it has: none",
        ),
        (
            lambda spec, _: tasks(spec)["use"]["inputs"]["artifacts"].update(data={}),
            "use: input artifact data: its source is missing",
        ),
        (
            lambda spec, _: tasks(spec)["make"]["inputs"]["parameters"].pop("number"),
            "make: input parameter number: it is given no value",
        ),
        (
            lambda spec, _: (
                tasks(spec)["make"]["inputs"]["parameters"].pop("number"),
                component(spec, "make")["inputDefinitions"]["parameters"]["number"].update(defaultValue=3),
            ),
            "a default counts for parameters with isOptional only",
        ),
        (
            lambda spec, _: tasks(spec)["make"]["inputs"]["parameters"].update(
                number={"runtimeValue": {"runtimeParameter": "number"}}
            ),
            "make: input parameter number: its source is runtime_value",
        ),
        (
            lambda spec, _: tasks(spec)["make"]["inputs"]["parameters"].update(
                text={"runtimeValue": {"constant": "{{$.workspace_path}}/a"}}
            ),
            "make: input parameter text: a workspace",
        ),
        (
            lambda spec, _: tasks(spec)["make"]["inputs"]["parameters"]["text"].update(
                parameterExpressionSelector="string_value +"
            ),
            "make: input parameter text: selector",
        ),
        # Ways to run
        (
            lambda spec, _: tasks(spec)["use"].update(triggerPolicy={"condition": "a ? b : c"}),
            r"use: triggerPolicy.condition: expression 'a \? b : c': cannot read",
        ),
        (
            lambda spec, _: tasks(spec)["use"].update(triggerPolicy={"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}),
            "use: triggerPolicy.strategy ALL_UPSTREAM_TASKS_COMPLETED",
        ),
        (
            lambda spec, _: tasks(spec)["use"].update(artifactIterator={"itemInput": "x"}),
            "use: artifactIterator: the backend has not implemented it",
        ),
        (
            lambda spec, _: tasks(spec)["use"].update(parameterIterator={"itemInput": "x"}),
            "use: parameterIterator: the local backend cannot run it",
        ),
        (
            lambda spec, _: tasks(spec)["make"].update(retryPolicy={"backoffFactor": 1.5}),
            "make: retryPolicy.backoffFactor: found 1.5",
        ),
        (
            lambda spec, _: component(spec, "make")["inputDefinitions"]["parameters"]["text"].update(
                parameterType="TASK_CONFIG"
            ),
            "make: input parameter text: TASK_CONFIG",
        ),
        # Importers
        (
            lambda spec, _: (
                spec["deploymentSpec"]["executors"].update({"exec-make": importer()}),
                tasks(spec)["make"].update(triggerPolicy={"condition": "true"}),
            ),
            "make: triggerPolicy.condition: an importer cannot have one",
        ),
        (
            lambda spec, _: spec["deploymentSpec"]["executors"].update({"exec-use": importer()}),
            "use: an importer has one output artifact",
        ),
        (
            lambda spec, _: spec["deploymentSpec"]["executors"].update(
                {"exec-make": importer(artifactUri={"constant": ""})}
            ),
            "make: importer.artifactUri: it is empty",
        ),
        (
            lambda spec, _: spec["deploymentSpec"]["executors"].update(
                {"exec-make": importer(artifactUri={"runtimeParameter": "gone"})}
            ),
            "make: importer.artifactUri: a constant or one of the task's parameters",
        ),
        (
            lambda spec, _: spec["deploymentSpec"]["executors"].update(
                {"exec-make": importer(downloadToWorkspace=True)}
            ),
            "make: importer.downloadToWorkspace",
        ),
        # Graphs in graphs
        (lambda spec, _: use_graph(spec, "comp-inner", {}), "use: the graph has no tasks"),
        (lambda spec, _: use_graph(spec, "comp_inner", INNER), "use: component comp_inner: found 'comp_inner'"),
        (lambda spec, _: use_graph(spec, "entrypoint", INNER), "use: component entrypoint: the backend has a template"),
        (
            lambda spec, _: use_graph(
                spec,
                "comp-inner",
                {"again": {"taskInfo": {"name": "again"}, "componentRef": {"name": "comp-inner"}}},
            ),
            "use/again: component comp-inner is used inside itself",
        ),
        (
            lambda spec, _: use_graph(
                spec,
                "comp-inner",
                {"only": {**INNER["only"], "inputs": {"artifacts": {"data": {"componentInputArtifact": "other"}}}}},
            ),
            "use/only: input artifact data: the graph around it has no input 'other'; it has: data",
        ),
        (
            lambda spec, _: (
                use_graph(spec, "comp-inner", INNER),
                spec["components"]["comp-inner"]["dag"].update(
                    outputs={
                        "parameters": {
                            "n": {"valueFromParameter": {"producerSubtask": "no", "outputParameterKey": "k"}}
                        }
                    }
                ),
            ),
            "use: output parameter n: the graph has no task 'no'",
        ),
        (
            lambda spec, _: (
                use_graph(spec, "comp-inner", INNER),
                spec["components"]["comp-inner"]["dag"].update(
                    outputs={
                        "artifacts": {
                            "a": {"artifactSelectors": [{"producerSubtask": "only", "outputArtifactKey": "k"}]}
                        }
                    }
                ),
            ),
            "use: output artifact a: task only has no output 'k'; it has: none",
        ),
    ],
)
def test_a_specification_is_refused(
    backend: Any, as_package: Any, documents: Documents, change: Change, problem: str
) -> None:
    change(*documents)
    assert_matches(refusal(backend, as_package, documents), problem)


def assert_matches(message: str, problem: str) -> None:
    assert re.search(problem, message), message


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"other": 1}, "parameter other: the pipeline has no such parameter; it has: note, number, text"),
        ({"number": "2"}, "parameter number: found '2', wanted NUMBER_INTEGER"),
        ({"number": True}, "parameter number: found True"),
        ({"text": 2}, "parameter text: found 2, wanted STRING"),
        ({"note": None}, "parameter note: found None, wanted STRING"),
    ],
)
def test_parameters_are_refused(
    backend: Any, as_package: Any, documents: Documents, parameters: dict[str, Any], problem: str
) -> None:
    assert_matches(refusal(backend, as_package, documents, parameters=parameters), problem)


def test_a_parameter_is_missing(backend: Any, as_package: Any, documents: Documents) -> None:
    number = documents[0]["root"]["inputDefinitions"]["parameters"]["number"]
    del number["defaultValue"], number["isOptional"]
    assert_matches(refusal(backend, as_package, documents), "parameter number: it has no default and is not given")


@pytest.mark.parametrize(
    ("kind", "value"), [("LIST", {}), ("STRUCT", []), ("TASK_FINAL_STATUS", {}), ("TASK_CONFIG", {})]
)
def test_types_of_parameters(backend: Any, as_package: Any, documents: Documents, kind: str, value: Any) -> None:
    documents[0]["root"]["inputDefinitions"]["parameters"]["note"]["parameterType"] = kind
    assert_matches(refusal(backend, as_package, documents, parameters={"note": value}), "parameter note: ")


@pytest.mark.parametrize("root", ["", "/tmp/root", "file:///tmp", "hdfs://b/x", "gs://", "https://b/x"])
def test_pipeline_roots(backend: Any, as_package: Any, documents: Documents, root: str) -> None:
    assert_matches(refusal(backend, as_package, documents, root=root), "pipeline root: found")


def test_documents(backend: Any, as_package: Any, documents: Documents) -> None:
    pipeline, platform = documents
    for wrong, problem in (
        ([platform], "found 0 pipeline and 1 platform documents"),
        ([pipeline, pipeline], "found 2 pipeline"),
        ([pipeline, platform, platform], "and 2 platform"),
        ([platform, pipeline], "must be the package's first"),
        ([pipeline, ["a"]], "a document of the package is no mapping"),
    ):
        assert_matches(refusal(backend, as_package, wrong), problem)


def test_no_yaml(backend: Any) -> None:
    from kubeflow.package import Package

    with pytest.raises(BackendError, match="the package is no YAML"):
        backend.run(Package("a: ["))


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ({"fieldPathAsEnv": [{"name": "A", "fieldPath": "metadata.name"}]}, "field_path_as_env: the local backend"),
        (
            {"secretAsVolume": [{"secretName": "s", "mountPath": "/not/here"}]},
            "files at /not/here come from the cluster",
        ),
        ({"pvcMount": [{"constant": "claim", "mountPath": "/not/here"}]}, "the claim 'claim' is mounted at /not/here"),
        (
            {"pvcMount": [{"taskOutputParameter": {"producerTask": "make"}, "mountPath": "/not/here"}]},
            "the claim mounted at /not/here has no constant name",
        ),
    ],
)
def test_what_pods_mount(
    backend: Any, as_package: Any, documents: Documents, setting: dict[str, Any], problem: str
) -> None:
    config(documents[1]).update(setting)
    assert_matches(refusal(backend, as_package, documents), problem)
