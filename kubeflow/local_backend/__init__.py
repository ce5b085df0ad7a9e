"""Runs a pipeline that `kubeflow.compiler` compiled on this machine, by the rules of Kubeflow Pipelines' backend.

Nothing here imports TFX. The modules, in the order in which a run meets them:

| Module | What it does | What it stands for in kubeflow/pipelines, under backend/src |
|---|---|---|
| `spec` | reads the YAML | `apiserver/template/v2_template.go` |
| `checks` | refuses a package before anything runs | the same, `v2/compiler`, Argo's and Kubernetes' validation |
| `backend` | runs the tasks in order, retries them, records the run | `v2/compiler/argocompiler` and Argo |
| `driver` | resolves a task's inputs and outputs, and whether it runs | `v2/driver` |
| `cache` | finds earlier results by a task's fingerprint | `v2/cacheutils`, `v2/driver/cache.go` |
| `launcher` | downloads inputs, starts the program, uploads outputs | `v2/component/launcher_v2.go`, `v2/metadata` |
| `store` | a folder in place of the object store | `v2/objectstore` |
| `containers`, `image` | start a program in a process, or in its image | the pod and the node |

The rules are those of KFP 2.5 to 2.17. Where versions differ, the stricter rule is taken and a comment says so.
"""
