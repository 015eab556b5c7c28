# docker build -t headrace .
# docker buildx build --platform linux/amd64,linux/arm64 -t headrace .
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /source
# First what changes rarely: the locked packages, all of them as wheels, so nothing is compiled.
COPY requirements/runtime.txt requirements/build.txt requirements/
RUN python -m venv --without-pip /opt/headrace \
    && pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/build.txt \
    && pip --python /opt/headrace/bin/python install --no-cache-dir --require-hashes \
        --only-binary :all: -r requirements/runtime.txt
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY src src
RUN python -m hatchling build --target wheel \
    && pip --python /opt/headrace/bin/python install --no-cache-dir --no-deps dist/*.whl

FROM python:${PYTHON}-slim
RUN useradd --system --uid 10001 --user-group --home-dir /data --shell /usr/sbin/nologin headrace \
    && install --directory --mode 0700 --owner headrace --group headrace /data
COPY --from=build /opt/headrace /opt/headrace
ENV PATH=/opt/headrace/bin:$PATH \
    HEADRACE_STORE=sqlite:////data/headrace.db \
    HEADRACE_HOST=0.0.0.0 \
    HEADRACE_LOG_FORMAT=json
WORKDIR /data
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
VOLUME /data
EXPOSE 8080
# It stops within 10 s; leave it a little more before it is killed.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os; from urllib.request import ProxyHandler, build_opener; build_opener(ProxyHandler({})).open(f\"http://127.0.0.1:{os.environ.get('HEADRACE_PORT', '8080')}/readyz\", timeout=4)"]
ENTRYPOINT ["headrace"]
CMD ["serve"]
