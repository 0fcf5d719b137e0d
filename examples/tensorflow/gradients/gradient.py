"""The gradient of a softmax classifier over one sector of the data.

Reads the CSV files of /inputs, lines of features with the label behind them,
and weights.npy beside this file where there is one, else weights of zero.
Leaves the sum over its lines, so that sums over sectors add up to that over
all data.
"""
import json
import os

import numpy as np
import tensorflow as tf

LABELS = 10


def sectors(root):
    for folder, _, names in os.walk(root):
        for name in names:
            yield os.path.join(folder, name)


for path in sorted(sectors("/inputs")):
    table = np.loadtxt(path, delimiter=",", dtype=np.float64, ndmin=2)
    x, labels = table[:, :-1], table[:, -1].astype(np.int64)
    start = os.path.join(os.path.dirname(__file__), "weights.npy")
    weights = np.load(start) if os.path.exists(start) else np.zeros((x.shape[1], LABELS))
    w = tf.Variable(weights)
    with tf.GradientTape() as tape:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.matmul(x, w))
        loss = tf.reduce_sum(losses)
    # The sector's path makes the name, which no other sector's outputs have.
    name = os.path.relpath(path, "/inputs").replace("/", "_")
    np.save(os.path.join("/outputs", name + ".npy"), tape.gradient(loss, w).numpy())
    with open(os.path.join("/outputs", name + ".json"), "w") as f:
        json.dump({"examples": len(table), "loss": float(loss)}, f)
