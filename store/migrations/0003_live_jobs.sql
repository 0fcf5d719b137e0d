-- Counting a tenant's jobs that have not ended reads this index only.
CREATE INDEX jobs_live_tenant ON jobs (tenant) WHERE live = 1;
