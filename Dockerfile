# The pipeline and everything it needs, from the locked requirements. Runs as an ordinary user.
#   docker build -t deeplab .
#   docker run --rm -v "$PWD/data:/data:ro" -v "$PWD/runs:/runs" deeplab run configs/demo.yaml --data /data --output /runs
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE} AS build
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir uv
WORKDIR /app
COPY requirements.txt ./
RUN /opt/uv/bin/uv venv --python python3 /opt/deeplab \
 && VIRTUAL_ENV=/opt/deeplab /opt/uv/bin/uv pip sync --no-cache --require-hashes --compile-bytecode requirements.txt
COPY . .
RUN VIRTUAL_ENV=/opt/deeplab /opt/uv/bin/uv pip install --no-cache --no-deps --no-build-isolation --editable .

FROM ${BASE}
COPY --from=build /opt/deeplab /opt/deeplab
COPY --from=build /app /app
RUN useradd --create-home deeplab
USER deeplab
WORKDIR /app
ENV PATH=/opt/deeplab/bin:$PATH PYTHONUNBUFFERED=1
ENTRYPOINT ["deeplab"]
CMD ["--help"]
