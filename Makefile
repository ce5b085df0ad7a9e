.PHONY: demo image test test-slow test-kubeflow bench-model lint lock docs clean

DEMO_DATA := runs/demo-data

demo: ## Set everything up and run the pipeline on generated pictures.
	tools/make-venv requirements/base.txt
	.venv/bin/deeplab make-data $(DEMO_DATA)
	.venv/bin/deeplab run configs/demo.yaml --data $(DEMO_DATA)/VOCdevkit/VOC2012

image: ## Build the image; IMAGE=deeplab, BASE=..., GPU=1 and OPTIONS of the engine may be given.
	tools/build-image $(OPTIONS)

test: lint ## Lint, check types and layers, and run the tests, in two processes.
	.venv/bin/pytest -n 2 --dist loadfile

test-slow: ## The tests that take minutes each.
	tools/make-venv requirements/dev.txt
	.venv/bin/pytest -m slow

test-kubeflow: ## Everything about Kubeflow, with whole runs by its rules: half an hour.
	tools/make-venv requirements/dev.txt
	.venv/bin/pytest -m "slow or not slow" tests/kubeflow tests/e2e/test_retraining.py

bench-model: ## Times the network beside a peer in PyTorch, which brings some gigabytes into .venv.
	tools/make-venv requirements/peers.txt
	.venv/bin/python benchmarks/model_speed.py

lint:
	tools/make-venv requirements/dev.txt
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/hadolint Dockerfile

lock: ## Renew the locked requirements.
	$$(tools/find-uv) pip compile --quiet --upgrade pyproject.toml --generate-hashes --python-version 3.11 -o requirements/base.txt
	$$(tools/find-uv) pip compile --quiet --upgrade pyproject.toml --extra dev --extra onnx --extra try --generate-hashes \
	  --python-version 3.11 --constraint requirements/base.txt -o requirements/dev.txt
	$$(tools/find-uv) pip compile --quiet --upgrade pyproject.toml --extra peers --generate-hashes --python-version 3.11 \
	  --constraint requirements/base.txt -o requirements/peers.txt
	$$(tools/find-uv) pip compile --quiet --upgrade pyproject.toml --extra try --generate-hashes --python-version 3.11 \
	  --constraint requirements/base.txt -o requirements/try.txt
	$$(tools/find-uv) pip compile --quiet --upgrade pyproject.toml --extra onnx --generate-hashes --python-version 3.11 \
	  --constraint requirements/base.txt -o requirements/onnx.txt
	$$(tools/find-uv) pip compile --quiet --upgrade pyproject.toml --override requirements/gpu.in --generate-hashes \
	  --python-version 3.11 --constraint requirements/base.txt -o requirements/gpu.txt
	$$(tools/find-uv) pip compile --quiet --upgrade requirements/uv.in --generate-hashes --python-version 3.11 \
	  -o requirements/uv.txt

docs: ## Renew the pages that are made from the code.
	.venv/bin/python -m pipeline.config.reference
	.venv/bin/deeplab model summary configs/voc_mobilenetv2.yaml --diagram docs/deeplabv3plus.svg

clean: ## Remove what the set-up and the tests made; what runs made stays.
	rm -rf .venv .uv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache *.egg-info
