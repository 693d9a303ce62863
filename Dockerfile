# One image for the command line and both dataflows. `docker run IMAGE --help` lists the commands. To run a dataflow:
# docker run --entrypoint python IMAGE -m bytewax.run dataflows.produce
FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv /opt/chillflow
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY chillflow chillflow
COPY dataflows dataflows
COPY stream stream
RUN /opt/chillflow/bin/pip install --no-cache-dir --constraint constraints.txt '.[dashboard]'

FROM python:3.12-slim
# Create the folder with its owner here, so that a volume mounted on it belongs to the user who writes to it.
RUN useradd --uid 10001 --create-home chillflow \
    && install --directory --owner=chillflow --group=chillflow /var/lib/chillflow
COPY --from=build /opt/chillflow /opt/chillflow
ENV PATH="/opt/chillflow/bin:$PATH" \
    PYTHONUNBUFFERED=1 \
    CHILLFLOW_RECOVERY_DIR=/var/lib/chillflow/recovery
USER chillflow
WORKDIR /home/chillflow
ENTRYPOINT ["chillflow-stream"]
CMD ["--help"]
