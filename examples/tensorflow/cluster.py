"""Where the tasks of the cluster are, by the ClusterSpec.json of this folder."""
import json


def targets(path="ClusterSpec.json"):
    """The grpc:// address and the device of each task, in the order of jobs and indices."""
    with open(path) as f:
        jobs = json.load(f)["ClusterSpec"]
    return [
        ("grpc://" + addr, "/job:%s/task:%d" % (job, i))
        for job in sorted(jobs)
        for i, addr in enumerate(jobs[job])
    ]
