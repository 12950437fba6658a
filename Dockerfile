# `rubrika`, by default its service: it learns encoders and has no torch. docs/service.md says how it is run.
FROM python:3.11-slim-bookworm AS build
WORKDIR /source
# The environment of what runs has no pip of its own.
RUN python -m venv --without-pip /opt/rubrika
COPY . .
RUN pip --python /opt/rubrika/bin/python install --no-cache-dir --disable-pip-version-check \
    '.[serve,excel,train]' -c constraints.txt

FROM python:3.11-slim-bookworm
COPY --from=build /opt/rubrika /opt/rubrika
# The index is in a folder of its own, as corrections are noted beside it.
RUN install -d -o 10001 -g 10001 /data
# A read-only root has one place to write, /tmp, where private copies of the store are opened.
ENV PATH=/opt/rubrika/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    RUBRIKA_INDEX=/data/index
USER 10001:10001
WORKDIR /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8000, timeout=2); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["rubrika"]
# Beyond the container it answers with a token alone: RUBRIKA_TOKEN.
CMD ["serve", "--host", "0.0.0.0"]
