"""14 x 14 + 6 x 7, one product from each of two tasks: prints 238.

    ipdc tf forward -- python3 example1.py
"""
import tensorflow.compat.v1 as tf

from cluster import targets

tf.disable_eager_execution()
(master, first), (_, second) = targets()[:2]

a = tf.placeholder(tf.int64, [2])
b = tf.placeholder(tf.int64, [2])
with tf.device(second):
    right = a[1] * b[1]
with tf.device(first):
    total = a[0] * b[0] + right

with tf.Session(master) as session:
    print(session.run(total, {a: [14, 6], b: [14, 7]}))
