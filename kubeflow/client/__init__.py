"""A client of Kubeflow Pipelines: connection, login, submission and schedules."""
