FROM registry.example.com/acme/sweep-cpu:v1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
COPY user /user
ENV HOME=/user/home
WORKDIR /user/home
ENV PYTHONPATH=/user/home/.mf_code${PYTHONPATH:+:$PYTHONPATH}
ENV METAFLOW_EXTRACTED_ROOT=/user/home
