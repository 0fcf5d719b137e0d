-- Every row ends with `sum`, a CRC-32C over the row's other columns: SQLite's
-- own checks do not see a flipped bit inside a value.

-- Facts about this database and its node; `open` is 1 while a process has it.
CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL,
  sum   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- `seq` is the order of acceptance, which no clock can disturb. The columns
-- before `record` are what is queried; `record` is the whole jobspec.Job.
CREATE TABLE jobs (
  seq    INTEGER PRIMARY KEY AUTOINCREMENT,
  id     TEXT NOT NULL UNIQUE,
  tenant TEXT NOT NULL,
  name   TEXT NOT NULL,
  state  TEXT NOT NULL,
  live   INTEGER NOT NULL,
  labels TEXT NOT NULL,
  record TEXT NOT NULL,
  sum    INTEGER NOT NULL
) STRICT;
CREATE INDEX jobs_tenant ON jobs (tenant, seq);
CREATE INDEX jobs_prefix ON jobs (tenant, id);
CREATE INDEX jobs_name ON jobs (tenant, name, seq);
CREATE INDEX jobs_live ON jobs (seq) WHERE live = 1;

CREATE TABLE plans (
  job    TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
  record TEXT NOT NULL,
  sum    INTEGER NOT NULL
) STRICT;

CREATE TABLE attempts (
  job    TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
  task   INTEGER NOT NULL,
  try    INTEGER NOT NULL,
  live   INTEGER NOT NULL,
  token  TEXT NOT NULL,
  record TEXT NOT NULL,
  sum    INTEGER NOT NULL,
  PRIMARY KEY (job, task, try)
) STRICT;
CREATE INDEX attempts_live ON attempts (job, task, try) WHERE live = 1;

CREATE TABLE events (
  job    TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
  seq    INTEGER NOT NULL,
  record TEXT NOT NULL,
  sum    INTEGER NOT NULL,
  PRIMARY KEY (job, seq)
) STRICT, WITHOUT ROWID;

-- What an item or a task gave, by its key. The blocks are held by the pins of
-- the job that made them, so a memory ends with that job's record.
CREATE TABLE remembered (
  key     TEXT PRIMARY KEY,
  job     TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
  created INTEGER NOT NULL,
  record  TEXT NOT NULL,
  sum     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX remembered_job ON remembered (job);
CREATE INDEX remembered_created ON remembered (created);

CREATE TABLE idempotency (
  tenant TEXT NOT NULL,
  key    TEXT NOT NULL,
  job    TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
  spec   TEXT NOT NULL,
  sum    INTEGER NOT NULL,
  PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_job ON idempotency (job);

CREATE TABLE tokens (
  name TEXT PRIMARY KEY,
  hash TEXT NOT NULL UNIQUE,
  sum  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
