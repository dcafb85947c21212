-- What is written before a webhook is answered decides how many can be answered; it is counted in pages.
-- Journals lie in the order in which they are written. In the order of their keys a body of more than a kilobyte had a page
-- of its own, and every other one was found in two steps as well.
CREATE TABLE events_new (
    run_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    workspace_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    at INTEGER NOT NULL,
    body TEXT NOT NULL
);
INSERT INTO events_new (run_id, seq, workspace_id, epoch, at, body)
    SELECT run_id, seq, workspace_id, epoch, at, body FROM events ORDER BY run_id, seq;
DROP TABLE events;
ALTER TABLE events_new RENAME TO events;
CREATE UNIQUE INDEX events_once ON events (run_id, seq);

-- Signs of receipt belong to no run.
DROP INDEX effects_run;
CREATE INDEX effects_run ON effects (run_id) WHERE run_id IS NOT NULL;
