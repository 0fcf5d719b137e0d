def map(key, value):
    for word in value.split():
        yield word, 1


def combine(key, values):
    yield key, sum(values)


def reduce(key, values):
    yield key, sum(values)
