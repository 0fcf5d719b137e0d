-- Which other members hold a copy of what this node pins, by the pin's name.
-- A row outlives its pin, and the job it may be of, until every holder has let go.
CREATE TABLE holdings (
  name   TEXT PRIMARY KEY,
  record TEXT NOT NULL,
  sum    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
