"""Three steps: get the data, train a model on it, say how good it is."""

import os
import random
import sys

import metaflow
from metaflow import FlowSpec, step

# Where the images go: a registry, and mostly a folder in it, that you may push to. For example
#   REGISTRY=docker.io/acme aicore-build dev
REGISTRY = os.environ.get("REGISTRY", "localhost:5000")
IMAGE = f"{REGISTRY}/metaflow-train:v1"


def kubernetes(image):
    """Metaflow's @kubernetes, but for `python trainflow.py run`: that stays on this machine."""
    if {"run", "resume", "step"} & set(sys.argv):
        return lambda function: function
    return metaflow.kubernetes(image=image)


class TrainFlow(FlowSpec):
    """Learn how the price of a flat follows from its size."""

    @kubernetes(image=IMAGE)
    @step
    def start(self):
        noise = random.Random(7)
        self.sizes = [noise.uniform(20, 120) for _ in range(200)]
        self.prices = [3.5 * size + 40 + noise.gauss(0, 15) for size in self.sizes]
        print(f"{len(self.sizes)} flats, from {min(self.sizes):.0f} to {max(self.sizes):.0f} m²")
        self.next(self.train_model)

    @kubernetes(image=IMAGE)
    @step
    def train_model(self):
        # What a step puts into self, the next step finds there: Metaflow keeps it in S3.
        count = len(self.sizes)
        mean_size, mean_price = sum(self.sizes) / count, sum(self.prices) / count
        pairs = list(zip(self.sizes, self.prices, strict=True))
        covariance = sum((size - mean_size) * (price - mean_price) for size, price in pairs)
        self.slope = covariance / sum((size - mean_size) ** 2 for size in self.sizes)
        self.intercept = mean_price - self.slope * mean_size
        errors = [price - self.slope * size - self.intercept for size, price in pairs]
        self.r2 = 1 - sum(e**2 for e in errors) / sum((p - mean_price) ** 2 for p in self.prices)
        print(f"price = {self.slope:.2f} * size + {self.intercept:.2f}")
        self.next(self.end)

    @kubernetes(image=IMAGE)
    @step
    def end(self):
        print(f"The size explains {self.r2:.0%} of the price (as user {os.getuid()}).")


if __name__ == "__main__":
    TrainFlow()
