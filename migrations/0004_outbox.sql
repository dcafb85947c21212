-- An effect of unknown outcome is looked for in its channel.
ALTER TABLE effects ADD COLUMN tried_at INTEGER; -- when it was first tried: it can't be there before
ALTER TABLE effects ADD COLUMN looks INTEGER NOT NULL DEFAULT 0; -- how often it was looked for since its last attempt
ALTER TABLE effects ADD COLUMN missed INTEGER NOT NULL DEFAULT 0; -- how many of those looks saw that it is not there
-- The attempts before a person had it sent again: what is given up after so many attempts begins to count anew.
ALTER TABLE effects ADD COLUMN replayed_after INTEGER NOT NULL DEFAULT 0;
UPDATE effects SET tried_at = created_at WHERE attempts > 0;
UPDATE effects SET due_at = updated_at WHERE state = 'unknown';
-- What failed or is unknown is rare and is looked for by name. No effect that goes well ever touches this index.
CREATE INDEX effects_dead ON effects (workspace_id, state, id) WHERE state IN ('failed', 'unknown');

-- How sending by an integration fares. No row: nothing has failed yet.
CREATE TABLE senders (
    integration_id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    failures INTEGER NOT NULL, -- in a row
    failing_since INTEGER, -- the first of them
    code TEXT, -- of the last
    reason TEXT,
    paused_at INTEGER -- nothing is sent until a person resumes it
) WITHOUT ROWID;

-- What an integration's channel could not deliver is looked for from time to time.
CREATE TABLE sweeps (
    integration_id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    due_at INTEGER NOT NULL, -- when to sweep next, or to take a sweep over whose edge died
    epoch INTEGER NOT NULL, -- counts up with every take
    since INTEGER NOT NULL, -- what came before this is not looked at, or has been
    progress TEXT, -- a sweep under way: JSON
    report TEXT -- what the last one came to: JSON
) WITHOUT ROWID;
