-- Datasets of this node's tenants. `record` is a Dataset.
CREATE TABLE datasets (
  tenant TEXT NOT NULL,
  name   TEXT NOT NULL,
  record TEXT NOT NULL,
  sum    INTEGER NOT NULL,
  PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

-- The versions of these, each with the signed record of its head in `record`,
-- a DatasetVersion.
CREATE TABLE dataset_versions (
  tenant  TEXT NOT NULL,
  name    TEXT NOT NULL,
  version INTEGER NOT NULL,
  record  TEXT NOT NULL,
  sum     INTEGER NOT NULL,
  PRIMARY KEY (tenant, name, version),
  FOREIGN KEY (tenant, name) REFERENCES datasets (tenant, name) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- The newest signed head that was seen of each dataset of another member, so
-- that no older one is taken for it.
CREATE TABLE dataset_seen (
  owner  TEXT NOT NULL,
  name   TEXT NOT NULL,
  record TEXT NOT NULL,
  sum    INTEGER NOT NULL,
  PRIMARY KEY (owner, name)
) STRICT, WITHOUT ROWID;

-- The runs of a program over the versions of a dataset are found by this.
CREATE INDEX jobs_dataset ON jobs (tenant, record ->> '$.dataset.program', seq) WHERE record ->> '$.dataset.program' IS NOT NULL;
