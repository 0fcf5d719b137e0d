"""A net of one hidden layer learns y = x^2 - 0.5 from noisy points: the loss
falls below 0.005. The hidden layer is one task's, the output layer another's.

    ipdc tf forward -- python3 example3.py
"""
import numpy as np
import tensorflow.compat.v1 as tf

from cluster import targets

tf.disable_eager_execution()
tf.set_random_seed(1)
(master, first), (_, second) = targets()[:2]


def add_layer(inputs, n_in, n_out, activation=None):
    weights = tf.Variable(tf.random_normal([n_in, n_out]))
    biases = tf.Variable(tf.zeros([1, n_out]) + 0.1)
    outputs = tf.matmul(inputs, weights) + biases
    return activation(outputs) if activation else outputs


np.random.seed(1)
points = np.linspace(-1, 1, 300, dtype=np.float32)[:, np.newaxis]
values = np.square(points) - 0.5 + np.random.normal(0, 0.05, points.shape)

xs = tf.placeholder(tf.float32, [None, 1])
ys = tf.placeholder(tf.float32, [None, 1])
with tf.device(second):
    hidden = add_layer(xs, 1, 10, tf.nn.relu)
with tf.device(first):
    prediction = add_layer(hidden, 10, 1)
    loss = tf.reduce_mean(tf.square(ys - prediction))
    train = tf.train.AdamOptimizer(0.02).minimize(loss)

with tf.Session(master) as session:
    session.run(tf.global_variables_initializer())
    feed = {xs: points, ys: values}
    for step in range(1, 1001):
        session.run(train, feed)
        if step % 200 == 0:
            print("step %d loss %.5f" % (step, session.run(loss, feed)), flush=True)
