# An image that serves a bundle: docker build -t sentopt .
# See docs/deploy/container.md, and deploy/check_image.py, which builds it from stand-ins of the two base images and runs it.
ARG BUILD_IMAGE=docker.io/library/python:3.11-slim-bookworm
ARG RUN_IMAGE=gcr.io/distroless/python3-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
ARG SOURCE_DATE_EPOCH=1767225600
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
COPY deploy/requirements.txt deploy/requirements-build.txt ./
RUN python3 -m pip install --require-hashes --no-deps --only-binary :all: --no-compile --target /app -r requirements.txt \
    && python3 -m pip install --require-hashes --no-deps --only-binary :all: --target /tools -r requirements-build.txt
COPY pyproject.toml README.md LICENSE ./
COPY sentopt sentopt
RUN PYTHONPATH=/tools python3 -m pip install --no-deps --no-build-isolation --no-compile --target /app . \
    && PYTHONPATH=/app python3 -m pip check
# Tests, headers and stubs go, and the parts of onnxruntime that convert and quantize models. Byte code is the same in every
# build, and saves time at each start, since a file system that is read-only cannot keep it.
WORKDIR /app
RUN rm -rf bin onnxruntime/tools onnxruntime/transformers onnxruntime/quantization onnxruntime/datasets numpy/f2py \
    && find . -depth -type d \( -name tests -o -name include -o -name __pycache__ \) -exec rm -rf {} + \
    && find . -type f \( -name '*.pyi' -o -name '*.pxd' -o -name '*.a' \) -delete \
    && PYTHONHASHSEED=0 python3 -m compileall -q --invalidation-mode unchecked-hash . \
    && find . -exec touch --no-dereference --date "@${SOURCE_DATE_EPOCH}" {} +

FROM ${RUN_IMAGE} AS serve
COPY --from=build /app /app
ENV PYTHONPATH=/app PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
USER 65532:65532
WORKDIR /
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["/usr/bin/python3", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 7860, timeout=4); c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/python3", "-m", "sentopt", "serve", "--host", "0.0.0.0"]
CMD ["--bundle", "/bundle"]

# docker build --target with-bundle --build-arg BUNDLE=exports/quickstart/bundle -t my-sentiment .
FROM serve AS with-bundle
ARG BUNDLE
COPY ${BUNDLE} /bundle

# The last stage is built where no target is named: the bundle is mounted at /bundle.
FROM serve
