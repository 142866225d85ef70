"""What the recorded files beside this one were generated from, and how:

export METAFLOW_SERVICE_HEADERS='{"x-api-key": "key-of-the-service"}'
export METAFLOW_USER=jane.doe@example.com
python sweepflow.py --quiet --no-pylint --datastore=s3 argo create --only-json     > generated.json
the same with --embedded                                                           > embedded.json
python sweepflow.py --quiet --no-pylint --datastore=s3 aicore-inspect --out inspected.json
    (with aicore_build/metaflow_extension on PYTHONPATH)
"""
# Metaflow has no types:
# mypy: ignore-errors

from typing import Any

from metaflow import FlowSpec, Parameter, argo, environment, kubernetes, resources, step


class SweepFlow(FlowSpec):
    rounds = Parameter("rounds", default=3)
    target = Parameter("target", type=str, required=False)

    @kubernetes(image="registry.example.com/acme/sweep-cpu:v1")
    @environment(vars={"THREADS": 2, "EMPTY": "", "SEED": 0, "MODE": "fast"})
    @step
    def start(self) -> None:
        self.rates = [0.1, 0.2]
        self.next(self.train_model, foreach="rates")

    @kubernetes(image="registry.example.com/acme/sweep-gpu:v1", secrets=["tracking-secret"])
    @argo(labels={"ai.sap.com/resourcePlan": "train.l", "team": "Data_Science"})
    @resources(memory=2048)
    @step
    def train_model(self) -> None:
        self.score = self.input * self.rounds
        self.next(self.join)

    @kubernetes(image="registry.example.com/acme/sweep-cpu:v1")
    @step
    def join(self, inputs: Any) -> None:  # noqa: ANN401 - Metaflow has no types
        self.best = max(each.score for each in inputs)
        self.next(self.end)

    @kubernetes(image="registry.example.com/acme/sweep-cpu:v1")
    @step
    def end(self) -> None:
        print(self.best)


if __name__ == "__main__":
    SweepFlow()
