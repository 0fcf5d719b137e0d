-- What is done at the end of a job: its result sent somewhere, somebody told.
-- due is when it is tried next, in milliseconds since 1970; 0 = not at all.
CREATE TABLE deliveries (
  job    TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,
  n      INTEGER NOT NULL,
  due    INTEGER NOT NULL,
  record TEXT NOT NULL,
  sum    INTEGER NOT NULL,
  PRIMARY KEY (job, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_due ON deliveries (due) WHERE due > 0;
