"""What native.json beside this one was generated from, with upstream Metaflow 2.19.39, and how:

export METAFLOW_SERVICE_HEADERS='{"x-api-key": "key-of-the-service"}'
export METAFLOW_USER=jane.doe@example.com
export METAFLOW_KUBERNETES_NAMESPACE=
export METAFLOW_ARGO_WORKFLOWS_ENV_VARS_TO_SKIP=METAFLOW_S3_ENDPOINT_URL,METAFLOW_SERVICE_HEADERS
python nativeflow.py --quiet --no-pylint --environment=local --datastore=s3 argo-workflows create \
    --only-json --no-enable-error-msg-capture --no-auto-emit-argo-events \
    --no-enable-heartbeat-daemon --generate-new-token --deployer-attribute-file out.json

native.json is `additional_info.workflow_template` of out.json.
"""
# Metaflow has no types:
# mypy: ignore-errors

from typing import Any

from metaflow import FlowSpec, Parameter, environment, kubernetes, retry, step

IMAGE = "registry.example.com/acme/sweep-cpu:v1"


class NativeFlow(FlowSpec):
    rounds = Parameter("rounds", default=3)
    target = Parameter("target", type=str, required=False)

    @kubernetes(image=IMAGE)
    @environment(vars={"THREADS": 2, "EMPTY": ""})
    @step
    def start(self) -> None:
        self.rates = [0.1, 0.2]
        self.next(self.train_model, foreach="rates")

    @kubernetes(image=IMAGE, secrets=["tracking-secret"], cpu=2, memory=2048)
    @retry(times=2)
    @step
    def train_model(self) -> None:
        self.score = self.input * self.rounds
        self.next(self.join)

    @kubernetes(image=IMAGE)
    @step
    def join(self, inputs: Any) -> None:  # noqa: ANN401 - Metaflow has no types
        self.best = max(each.score for each in inputs)
        self.next(self.end)

    @kubernetes(image=IMAGE)
    @step
    def end(self) -> None:
        print(self.best)


if __name__ == "__main__":
    NativeFlow()
