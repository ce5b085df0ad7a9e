# The image of every step of the pipeline, and of the command. docs/kubeflow.md tells how it is built, pushed and run.
#   make image            make image GPU=1
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/data:/data:ro" -v "$PWD/runs:/app/runs" deeplab \
#     run configs/demo.yaml --data /data
# Any Debian or Ubuntu with Python 3.11 as `python3`, and ca-certificates.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
# For those behind a mirror or an inspecting proxy; what is given here stays out of the image.
ARG PIP_INDEX_URL
ARG PIP_CERT
ARG UV_DEFAULT_INDEX
ARG SSL_CERT_FILE
# pyfarmhash has no wheel.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY requirements requirements/
RUN python3 -m venv /opt/uv \
 && /opt/uv/bin/pip install --no-cache-dir --require-hashes -r requirements/uv.txt \
 && /opt/uv/bin/uv venv --no-cache --python python3 /opt/deeplab
ARG REQUIREMENTS=requirements/base.txt
# An image does not change and its user cannot write to it: bytecode is compiled here, and holds whatever a builder or a
# registry makes of the files' times. What builds a package is in the lock too. The headers are for building on TensorFlow.
ENV VIRTUAL_ENV=/opt/deeplab PYC_INVALIDATION_MODE=UNCHECKED_HASH
RUN /opt/uv/bin/uv pip sync --no-cache --require-hashes --build-constraints requirements/base.txt --compile-bytecode \
      "${REQUIREMENTS}" \
 && rm -r /opt/deeplab/lib/python3.11/site-packages/tensorflow/include
COPY . .
RUN /opt/uv/bin/uv pip install --no-cache --no-deps --no-build-isolation --compile-bytecode .

FROM ${BASE}
# Python's own images come without the standard library's bytecode. The folders are those that Kubeflow's launcher keeps
# the object store's files in.
RUN python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash \
      "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
 && install --directory --mode=1777 /gcs /minio /s3
COPY --from=build /opt/deeplab /opt/deeplab
COPY configs /app/configs
WORKDIR /app
# HOME: the root file system may be read-only, and the user may be any number, with or without a name.
ENV PATH=/opt/deeplab/bin:$PATH HOME=/tmp USER=deeplab PYTHONUNBUFFERED=1
USER 10001:10001
ENTRYPOINT ["deeplab"]
CMD ["--help"]
ARG VERSION
ARG REVISION
ARG SOURCE
LABEL org.opencontainers.image.title="deeplab" \
      org.opencontainers.image.description="A TFX pipeline that trains, judges and serves DeepLabV3+" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
