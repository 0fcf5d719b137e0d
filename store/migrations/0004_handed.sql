-- Jobs that other members of the domain have taken from this node, for its
-- tenants. `job` is the id at the member, "" until the member has answered;
-- `record` is a Handed. `seq` is the order of handing over.
CREATE TABLE handed (
  seq    INTEGER PRIMARY KEY AUTOINCREMENT,
  tenant TEXT NOT NULL,
  key    TEXT NOT NULL,
  job    TEXT NOT NULL,
  name   TEXT NOT NULL,
  live   INTEGER NOT NULL,
  record TEXT NOT NULL,
  sum    INTEGER NOT NULL,
  UNIQUE (tenant, key)
) STRICT;
CREATE INDEX handed_job ON handed (tenant, job);
CREATE INDEX handed_name ON handed (tenant, name, seq);
CREATE INDEX handed_live ON handed (seq) WHERE live = 1;
