"""What is refused before anything runs."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from kubeflow.local_backend.records import BackendError

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


UNSUPPORTED = "the local backend cannot run it; it runs what deeplab compile writes"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        # The head
        (lambda spec, _: spec.update(schemaVersion="2.0.0"), "schemaVersion: found '2.0.0', expected 2.1.0"),
        (lambda spec, _: spec.pop("schemaVersion"), "schemaVersion: found ''"),
        (lambda spec, _: spec.pop("pipelineInfo"), "pipelineInfo.name: found ''"),
        (lambda spec, _: spec["pipelineInfo"].update(name="Two"), "pipelineInfo.name: found 'Two'"),
        (lambda spec, _: spec["pipelineInfo"].update(name="two_steps"), "pipelineInfo.name: found 'two_steps'"),
        (lambda spec, _: spec["pipelineInfo"].update(name="two-"), "pipelineInfo.name: found 'two-'"),
        (lambda spec, _: spec.pop("root"), "root.dag.tasks: the pipeline has no tasks"),
        (lambda spec, _: spec["root"].update(dag={}), "root.dag.tasks: the pipeline has no tasks"),
        (lambda spec, _: spec.update(surprise=1), 'the pipeline\'s document: .*"surprise"'),
        (lambda spec, _: spec.update(defaultPipelineRoot="/local"), "defaultPipelineRoot: found '/local'"),
        # The platform
        (lambda _, platform: platform.update(surprise=1), "the platform document"),
        (lambda _, platform: platform.update(platforms={"other": {}}), "for other; the backend reads kubernetes only"),
        (lambda _, platform: config(platform).update(surprise=1), "executors.exec-use: .*surprise"),
        # Components and executors
        (lambda spec, _: tasks(spec)["use"].pop("componentRef"), "use: componentRef.name: there is no component ''"),
        (lambda spec, _: spec["components"].pop("comp-use"), "use: componentRef.name: there is no component"),
        (lambda spec, _: spec["deploymentSpec"]["executors"].pop("exec-use"), "use: executorLabel: .*'exec-use'"),
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
            "make: input parameter number: the pipeline has no input 'gone'; it has: note, number, text",
        ),
        (
            lambda spec, _: tasks(spec)["use"]["inputs"]["artifacts"].update(data={"componentInputArtifact": "data"}),
            "use: inputs.artifacts.data.componentInputArtifact",
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
            lambda spec, _: tasks(spec)["make"]["inputs"]["parameters"].update(other={"runtimeValue": {"constant": 1}}),
            "make: input parameter other: the task's component has no such input",
        ),
        # Names and retries
        (lambda spec, _: rename(spec, "use", "use_it"), "use_it: the task's name: found 'use_it'"),
        (lambda spec, _: rename(spec, "use", "2use"), "2use: the task's name: found '2use'.*with a letter first"),
        (lambda spec, _: rename(spec, "use", "u" * 129), "Argo takes up to 128"),
        (
            lambda spec, _: tasks(spec)["make"].update(retryPolicy={"backoffFactor": 1.5}),
            "make: retryPolicy.backoffFactor: found 1.5",
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
    ("change", "step", "key"),
    [
        # Tasks
        (lambda spec, _: tasks(spec)["use"].update(parameterIterator={"itemInput": "x"}), "use", "parameterIterator"),
        (lambda spec, _: tasks(spec)["use"].update(artifactIterator={"itemInput": "x"}), "use", "artifactIterator"),
        (
            lambda spec, _: tasks(spec)["use"].update(triggerPolicy={"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}),
            "use",
            "triggerPolicy.strategy",
        ),
        (lambda spec, _: tasks(spec)["use"]["cachingOptions"].update(cacheKey="k"), "use", "cachingOptions.cacheKey"),
        (
            lambda spec, _: tasks(spec)["make"]["inputs"]["parameters"]["text"].update(
                parameterExpressionSelector="string_value"
            ),
            "make",
            "inputs.parameters.text.parameterExpressionSelector",
        ),
        (
            lambda spec, _: tasks(spec)["make"]["inputs"]["parameters"].update(
                number={"runtimeValue": {"runtimeParameter": "number"}}
            ),
            "make",
            "inputs.parameters.number.runtimeValue.runtimeParameter",
        ),
        (
            lambda spec, _: tasks(spec)["make"]["inputs"]["parameters"].update(
                text={"taskFinalStatus": {"producerTask": "use"}}
            ),
            "make",
            "inputs.parameters.text.taskFinalStatus",
        ),
        # Components
        (
            lambda spec, _: component(spec, "make")["inputDefinitions"]["parameters"]["text"].update(isOptional=True),
            "make",
            "components.comp-make.inputDefinitions.parameters.text.isOptional",
        ),
        (
            lambda spec, _: component(spec, "make")["inputDefinitions"]["parameters"]["text"].update(literals=["a"]),
            "make",
            "components.comp-make.inputDefinitions.parameters.text.literals",
        ),
        (
            lambda spec, _: spec["components"].update({"comp-use": {"dag": {"tasks": {"only": {}}}}}),
            "use",
            "components.comp-use.dag",
        ),
        (
            lambda spec, _: spec["root"]["dag"].update(
                outputs={"parameters": {"n": {"valueFromParameter": {"producerSubtask": "use"}}}}
            ),
            "",
            "root.dag.outputs",
        ),
        # Executors
        *(
            (
                lambda spec, _, kind=kind: spec["deploymentSpec"]["executors"].update({"exec-use": {kind: {}}}),
                "use",
                f"deploymentSpec.executors.exec-use.{kind}",
            )
            for kind in ("importer", "resolver", "customJob")
        ),
        (
            lambda spec, _: executor(spec, "use")["container"].update(lifecycle={"preCacheCheck": {"command": ["c"]}}),
            "use",
            "deploymentSpec.executors.exec-use.container.lifecycle",
        ),
        # The platform
        *(
            (
                lambda _, platform, key=key, value=value: config(platform).update({key: value}),
                "use",
                f"platforms.kubernetes.deploymentSpec.executors.exec-use.{key}",
            )
            for key, value in {
                "imagePullPolicy": "Always",
                "configMapAsEnv": [{"configMapName": "c"}],
                "configMapAsVolume": [{"configMapName": "c", "mountPath": "/c"}],
                "fieldPathAsEnv": [{"name": "A", "fieldPath": "metadata.name"}],
                "genericEphemeralVolume": [{"volumeName": "v"}],
                "podMetadata": {"labels": {"a": "b"}},
            }.items()
        ),
    ],
)
def test_a_key_that_the_compiler_does_not_write_is_refused(
    backend: Any, as_package: Any, documents: Documents, change: Change, step: str, key: str
) -> None:
    change(*documents)
    place = f"{step}: {key}" if step else key
    assert refusal(backend, as_package, documents) == f"{place}: {UNSUPPORTED}"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda spec, _: tasks(spec)["use"].update(triggerPolicy={"condition": "1 == 1"}),
            "use: triggerPolicy.condition: found '1 == 1', expected inputs.parameter_values",
        ),
        (
            lambda spec, _: tasks(spec)["use"].update(
                triggerPolicy={"condition": "inputs.parameter_values['x'] == true"}
            ),
            "use: triggerPolicy.condition: .* expected .* a BOOLEAN input",
        ),
        (
            lambda spec, _: tasks(spec)["make"]["inputs"]["parameters"].update(
                text={"runtimeValue": {"constant": "{{$.workspace_path}}/a"}}
            ),
            "make: input parameter text: a placeholder in a constant",
        ),
        *(
            (
                lambda spec, _, text=text: executor(spec, "use")["container"]["args"].append(text),
                r"use: container.args: found .*, a placeholder other than \{\{\$\}\}",
            )
            for text in (
                "{{$.inputs.parameters['a']}}",
                '{"IfPresent": {"InputName": "n", "Then": "a"}}',
                '{"Concat": ["a", "b"]}',
            )
        ),
        # With unknown keys the part that they are in cannot be read.
        (lambda spec, _: executor(spec, "use").update(surprise={}), "deploymentSpec: .*surprise"),
    ],
)
def test_a_value_that_the_compiler_does_not_write_is_refused(
    backend: Any, as_package: Any, documents: Documents, change: Change, problem: str
) -> None:
    change(*documents)
    assert_matches(refusal(backend, as_package, documents), problem)


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
    del number["defaultValue"]
    assert_matches(refusal(backend, as_package, documents), "parameter number: it has no default and is not given")


@pytest.mark.parametrize(("kind", "value"), [("LIST", {}), ("STRUCT", [])])
def test_types_of_parameters(backend: Any, as_package: Any, documents: Documents, kind: str, value: Any) -> None:
    documents[0]["root"]["inputDefinitions"]["parameters"]["note"]["parameterType"] = kind
    assert_matches(refusal(backend, as_package, documents, parameters={"note": value}), "parameter note: ")


@pytest.mark.parametrize("root", ["", "/tmp/root", "file:///tmp", "hdfs://b/x", "gs://", "https://b/x"])
def test_pipeline_roots(backend: Any, as_package: Any, documents: Documents, root: str) -> None:
    documents[0]["defaultPipelineRoot"] = root
    assert_matches(refusal(backend, as_package, documents), "defaultPipelineRoot: found")


def test_documents(backend: Any, as_package: Any, documents: Documents) -> None:
    pipeline, platform = documents
    for wrong, problem in (
        ([platform], "found platform; expected pipeline first"),
        ([pipeline, pipeline], "found pipeline, pipeline;"),
        ([pipeline, platform, platform], "found pipeline, platform, platform; .* at most one platform"),
        ([platform, pipeline], "found platform, pipeline; expected pipeline first"),
        ([pipeline, ["a"]], "a document of the package is not a mapping"),
    ):
        assert_matches(refusal(backend, as_package, wrong), problem)


def test_no_yaml(backend: Any) -> None:
    from kubeflow.package import Package

    with pytest.raises(BackendError, match="the package is not YAML"):
        backend.run(Package("a: ["))


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        (
            {"secretAsVolume": [{"secretName": "s", "mountPath": "/not/here"}]},
            "files at /not/here come from the cluster",
        ),
        ({"pvcMount": [{"constant": "claim", "mountPath": "/not/here"}]}, "the claim 'claim' is mounted at /not/here"),
        (
            {"pvcMount": [{"taskOutputParameter": {"producerTask": "make"}, "mountPath": "/not/here"}]},
            "mounted at /not/here: it has no constant name",
        ),
    ],
)
def test_what_pods_mount(
    backend: Any, as_package: Any, documents: Documents, setting: dict[str, Any], problem: str
) -> None:
    config(documents[1]).update(setting)
    assert_matches(refusal(backend, as_package, documents), problem)
