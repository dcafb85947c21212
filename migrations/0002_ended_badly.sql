-- Runs that ended badly are few and are looked for by name. No run that goes well ever touches this index; the runs under way
-- are found by `runs_due`, and completed ones are most of what the primary key lists.
CREATE INDEX runs_ended_badly ON runs (workspace_id, phase, id) WHERE phase IN ('failed', 'cancelled');
