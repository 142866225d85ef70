"""Train one model for each of several hyperparameters, side by side, and keep the best."""

import os
import sys

import metaflow
from metaflow import FlowSpec, Parameter, resources, retry, step

# Where the images go; see ../trainflow/trainflow.py.
REGISTRY = os.environ.get("REGISTRY", "localhost:5000")

# scikit-learn is only in the image that trains (see aicore-build.toml); the others start faster.
LIGHT = f"{REGISTRY}/hyperparameters:v1"
TRAINING = f"{REGISTRY}/hyperparameters-train:v1"


def kubernetes(image):
    """Metaflow's @kubernetes, but for `python … run`: that stays on this machine."""
    if {"run", "resume", "step"} & set(sys.argv):
        return lambda function: function
    return metaflow.kubernetes(image=image)


class HyperparametersFlow(FlowSpec):
    """Find how strongly a ridge regression on the diabetes data should be regularised."""

    folds = Parameter("folds", help="Folds of the cross-validation.", type=int, default=5)

    @kubernetes(image=LIGHT)
    @step
    def start(self):
        self.alphas = [0.01, 0.1, 1.0]
        self.next(self.train, foreach="alphas")

    # A node may be taken away while the step runs: try once more.
    @retry(times=1, minutes_between_retries=1)
    @resources(cpu=1, memory=2048)
    @kubernetes(image=TRAINING)
    @step
    def train(self):
        # Imported here, not at the top: the steps in the light image don't have it.
        from sklearn.datasets import load_diabetes
        from sklearn.linear_model import Ridge
        from sklearn.model_selection import cross_val_score

        features, target = load_diabetes(return_X_y=True)
        self.alpha = self.input
        self.model = Ridge(alpha=self.alpha)
        scores = cross_val_score(self.model, features, target, cv=self.folds)
        self.score = float(scores.mean())
        self.model.fit(features, target)
        print(f"alpha={self.alpha}: R² {self.score:.3f} over {self.folds} folds")
        self.next(self.choose)

    @kubernetes(image=LIGHT)
    @step
    def choose(self, inputs):
        # Only numbers are read here: to read a model, this image would need scikit-learn too.
        best = max(inputs, key=lambda task: task.score)
        self.alpha, self.score = best.alpha, best.score
        self.next(self.end)

    @kubernetes(image=LIGHT)
    @step
    def end(self):
        print(f"Best: alpha={self.alpha} with R² {self.score:.3f}")


if __name__ == "__main__":
    HyperparametersFlow()
