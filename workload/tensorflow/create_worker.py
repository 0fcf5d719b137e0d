"""What each task of this cluster runs. Change it as you like before `ipdc tf up`.

A server of TensorFlow's distributed runtime, which computes what a program
that connects to it asks for. TF_CONFIG names all tasks and which one this is.
"""
import json
import os

import tensorflow as tf

config = json.loads(os.environ["TF_CONFIG"])
server = tf.distribute.Server(
    config["cluster"],
    job_name=config["task"]["type"],
    task_index=config["task"]["index"],
)
print("serving as", server.target, flush=True)
server.join()
