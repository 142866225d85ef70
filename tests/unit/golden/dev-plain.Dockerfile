FROM python:3.11-slim
USER root
COPY requirements.txt /tmp/requirements.txt
RUN python -m pip install --no-cache-dir -r /tmp/requirements.txt

# SAP AI Core runs every container as user 65534, who has no home and may write nowhere else.
RUN mkdir -p /home/user && chmod 777 /home/user
ARG BASE_USER=root
USER ${BASE_USER}
ENV HOME=/home/user
WORKDIR /home/user
