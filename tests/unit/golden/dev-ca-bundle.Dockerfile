FROM python:3.11-slim AS system
USER root
RUN apt-get update \
 && apt-get install -y --no-install-recommends git \
 && rm -rf /var/lib/apt/lists/*

FROM system AS libraries
COPY requirements.txt ca-bundle.pem /run/aicore-build/
RUN python -m venv --system-site-packages --without-pip /opt/libraries \
 && export PIP_CERT=/run/aicore-build/ca-bundle.pem \
 && /opt/libraries/bin/python -m pip install --no-cache-dir -r /run/aicore-build/requirements.txt

FROM system
COPY --from=libraries /opt/libraries /opt/libraries
ENV PATH=/opt/libraries/bin:$PATH

# SAP AI Core runs every container as user 65534, who has no home and may write nowhere else.
RUN mkdir -p /home/user && chmod 777 /home/user
ARG BASE_USER=root
USER ${BASE_USER}
ENV HOME=/home/user
WORKDIR /home/user
