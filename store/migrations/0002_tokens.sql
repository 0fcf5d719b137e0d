-- Tokens have a date. The only one so far, of the node's own user, is written
-- anew at each start. `hash` is the SHA-256 of a secret of 130 random bits:
-- nobody finds such a secret by trying, so a slow hash would add nothing.
DROP TABLE tokens;
CREATE TABLE tokens (
  name    TEXT PRIMARY KEY,
  hash    TEXT NOT NULL UNIQUE,
  created TEXT NOT NULL,
  sum     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Counting jobs by state reads this index only.
CREATE INDEX jobs_state ON jobs (state);
