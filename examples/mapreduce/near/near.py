"""The lines of logs that were taken within 10 km of a point, by sensor.

    ipdc mr run -k 2 --map near.py --reduce near.py -c examples/logs

A line is TIME,SENSOR,LATITUDE,LONGITUDE,VALUE; others are left out. The
distance is that on a sphere, by the haversine formula.
"""
from math import asin, cos, radians, sin, sqrt

POINT = 38.7223, -9.1393  # degrees: Lisbon
WITHIN = 10.0  # km
EARTH = 6371.0088  # km, its mean radius


def _distance(lat, lon, lat2, lon2):
    lat, lon, lat2, lon2 = (radians(x) for x in (lat, lon, lat2, lon2))
    h = sin((lat2 - lat) / 2) ** 2 + cos(lat) * cos(lat2) * sin((lon2 - lon) / 2) ** 2
    return 2 * EARTH * asin(sqrt(h))


def map(key, value):
    try:
        _, sensor, lat, lon, _ = value.split(",")
        lat, lon = float(lat), float(lon)
    except ValueError:
        return
    if _distance(lat, lon, *POINT) <= WITHIN:
        yield sensor, value


def reduce(key, values):
    for line in sorted(values):
        yield line
