-- Schedules, and every instant at which one ran, or why it did not. `record` is
-- a jobspec.Schedule and a jobspec.Instant. That (schedule, kind, slot) is
-- unique keeps an instant from running twice.
CREATE TABLE schedules (
  id     TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  name   TEXT NOT NULL,
  record TEXT NOT NULL,
  sum    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX schedules_tenant ON schedules (tenant, name);

CREATE TABLE instants (
  schedule TEXT NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
  kind     TEXT NOT NULL,
  slot     INTEGER NOT NULL,
  live     INTEGER NOT NULL,
  record   TEXT NOT NULL,
  sum      INTEGER NOT NULL,
  PRIMARY KEY (schedule, kind, slot)
) STRICT, WITHOUT ROWID;
CREATE INDEX instants_live ON instants (schedule, kind, slot) WHERE live = 1;
