"""Trains a small convolutional net to read handwritten digits, on all workers
of a cluster at once, and leaves the model in /outputs/model.

    ipdc tf run train.py -c CID --worker 2

The input holds digits.csv.gz, the UCI test set of optical recognition of
handwritten digits as scikit-learn ships it: a line for each picture, 64 greys
from 0 to 16 and the digit. The workers hold the same variables and each takes
its share of every batch. After each epoch the first one leaves a checkpoint; a
cluster that lost a worker is started again and goes on from the last one that
was kept. What an epoch sees depends on its number alone, so that a training
that was disturbed ends as one that was not.
"""
import argparse
import gzip
import json
import os
import shutil
import time

# Keras 3 does not train by MultiWorkerMirroredStrategy; Keras 2 does.
os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=12)
parser.add_argument("--batch", type=int, default=64, help="pictures of a step, of all workers")
parser.add_argument("--pause", type=float, default=0, help="seconds that the first worker waits after each epoch, unless it goes on from a checkpoint: time to kill one")
args = parser.parse_args()

# Before anything else of TensorFlow: it starts this task's server.
strategy = tf.distribute.MultiWorkerMirroredStrategy()
task = json.loads(os.environ["TF_CONFIG"])["task"]
chief = task["index"] == 0
tf.keras.utils.set_random_seed(1)  # of Python too, of which Keras 2 takes the seeds of layers

with gzip.open("/inputs/digits.csv.gz") as f:
    table = np.loadtxt(f, delimiter=",", dtype=np.float32)
order = np.random.default_rng(1).permutation(len(table))
pictures, digits = table[order, :64].reshape(-1, 8, 8, 1) / 16, table[order, 64].astype(np.int32)
test = len(pictures) // 5


def epoch_data(epoch):
    """The training pictures in the order of that epoch, in batches."""
    p = test + np.random.default_rng(100 + epoch).permutation(len(pictures) - test)
    data = tf.data.Dataset.from_tensor_slices((pictures[p], digits[p])).batch(args.batch, drop_remainder=True)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return data.with_options(options)


def build():
    return tf.keras.Sequential([
        tf.keras.layers.Conv2D(16, 3, activation="relu", input_shape=(8, 8, 1)),
        tf.keras.layers.Conv2D(32, 3, activation="relu"),
        tf.keras.layers.Flatten(),
        tf.keras.layers.Dense(64, activation="relu"),
        tf.keras.layers.Dense(10),
    ])


epoch = tf.Variable(0, dtype=tf.int64)
with strategy.scope():
    model = build()
    model.compile(
        optimizer=tf.keras.optimizers.Adam(2e-3),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer, epoch=epoch)
    kept = os.path.join(os.environ.get("IPDC_CHECKPOINT", "/checkpoint"), "state")
    resumed = os.path.exists(kept + ".index")
    if resumed:
        model.optimizer.build(model.trainable_variables)
        checkpoint.read(kept).assert_existing_objects_matched()
        print("goes on after epoch %d" % epoch.numpy(), flush=True)


def keep(number):
    """Leaves a checkpoint, which shows under its name only when it is whole."""
    # Every worker takes part in writing; only the first one's is kept.
    place = "/outputs/.checkpoint" if chief else "/tmp/checkpoint"
    os.makedirs(place, exist_ok=True)
    checkpoint.write(os.path.join(place, "state"))
    if chief:
        os.makedirs("/outputs/checkpoints", exist_ok=True)
        os.rename(place, "/outputs/checkpoints/epoch-%03d" % number)
        for old in sorted(os.listdir("/outputs/checkpoints"))[:-2]:
            shutil.rmtree(os.path.join("/outputs/checkpoints", old))


for number in range(int(epoch.numpy()) + 1, args.epochs + 1):
    fit = model.fit(epoch_data(number), verbose=0)
    epoch.assign(number)
    keep(number)
    print("epoch %d loss %.4f" % (number, fit.history["loss"][0]), flush=True)
    if chief and not resumed:
        time.sleep(args.pause)

# A model of this task's own from here on: what is shared can be read and saved
# only by all workers together.
trained = build()
trained.set_weights(model.get_weights())
logits = np.concatenate([trained(pictures[i : min(i + 64, test)]) for i in range(0, test, 64)])
accuracy = float(np.mean(np.argmax(logits, 1) == digits[:test]))
print("accuracy %.4f of %d pictures that it was not trained on" % (accuracy, test), flush=True)
if chief:
    trained.save("/outputs/model")
    with open("/outputs/accuracy.json", "w") as f:
        json.dump({"accuracy": accuracy, "epochs": args.epochs, "pictures": test}, f)
shutil.rmtree("/outputs/checkpoints", ignore_errors=True)
