"""Fits y = W x + b to points of y = 0.1 x + 0.3: W is near 0.1 and b near 0.3.

The variables and the model are one task's, the loss and its descent another's.

    ipdc tf forward -- python3 example2.py
"""
import numpy as np
import tensorflow.compat.v1 as tf

from cluster import targets

tf.disable_eager_execution()
tf.set_random_seed(1)
(master, first), (_, second) = targets()[:2]

np.random.seed(1)
x = np.random.rand(100).astype(np.float32)
with tf.device(second):
    W = tf.Variable(tf.random_uniform([1], -1, 1))
    b = tf.Variable(tf.zeros([1]))
    y = W * x + b
with tf.device(first):
    loss = tf.reduce_mean(tf.square(y - (0.1 * x + 0.3)))
    train = tf.train.GradientDescentOptimizer(0.5).minimize(loss)

with tf.Session(master) as session:
    session.run(tf.global_variables_initializer())
    for _ in range(300):
        session.run(train)
    print("W %.4f b %.4f" % tuple(float(v[0]) for v in session.run((W, b))))
