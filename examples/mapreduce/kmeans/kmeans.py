"""One step of k-means: each centre moves to the mean of the points next to it.

    kmeans.sh CENTRES.csv CID

Points are lines X,Y; centres.csv has lines NAME,X,Y, and so has what a step
gives. Sums are whole numbers, of billionths, and do not depend on the order in
which they are added.
"""
import csv
import os

SCALE = 10**9

with open(os.path.join(os.path.dirname(__file__), "centres.csv")) as f:
    CENTRES = [(name, float(x), float(y)) for name, x, y in csv.reader(f)]


def map(key, value):
    x, y = (float(v) for v in value.split(","))
    name, _, _ = min(CENTRES, key=lambda c: (x - c[1]) ** 2 + (y - c[2]) ** 2)
    yield name, [1, round(x * SCALE), round(y * SCALE)]


def combine(key, values):
    yield key, [sum(column) for column in zip(*values)]


def reduce(key, values):
    n, x, y = next(combine(key, values))[1]
    yield f"{key},{x / n / SCALE:.9f},{y / n / SCALE:.9f}"
