def words(f):
    """How many words a text has."""
    return f"{len(f.read().split())}\n"
