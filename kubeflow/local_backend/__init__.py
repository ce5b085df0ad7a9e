"""A compiled pipeline run on this machine by the rules of Kubeflow Pipelines' backend.

Nothing here knows TFX. The modules, in the order in which a run meets them:

| Module | Its part | What it stands for in kubeflow/pipelines, under backend/src |
|---|---|---|
| `spec` | the YAML as messages | `apiserver/template/v2_template.go` |
| `checks` | what is refused before anything runs | the same, `v2/compiler`, Argo's and Kubernetes' validation |
| `driver` | inputs and outputs of a task, whether it runs | `v2/driver` |
| `expressions` | conditions | `v2/expression` |
| `metadata` | artifacts as ML Metadata hands them on | `v2/metadata` |
| `cache` | a task's fingerprint, earlier results | `v2/cacheutils`, `v2/driver/cache.go` |
| `launcher` | downloads, the program, uploads | `v2/component/launcher_v2.go` |
| `placeholders` | the command line | the same, `v2/driver/util.go` |
| `store` | a folder in the object store's place | `v2/objectstore` |
| `containers` | how a program is started | the pod |
| `image` | the same inside its image, with docker, podman or buildah | the pod and the node |
| `backend` | the order of the tasks, retries, the run's record | `v2/compiler/argocompiler` and Argo |

Rules are those of KFP 2.5 to 2.17. Where versions differ the stricter one is taken and the comment says so.
"""
