-- Lanes: messages that join the open run of their lane, runs that wait for a person, leases that end without a word.
CREATE TABLE runs_new (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    work_item_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    agent_version INTEGER NOT NULL,
    conversation_id TEXT NOT NULL,
    integration_id TEXT NOT NULL,
    trust TEXT NOT NULL CHECK (trust IN ('member', 'outsider')), -- whose message began it
    phase TEXT NOT NULL
        CHECK (phase IN ('queued', 'running', 'parked', 'waiting', 'completed', 'failed', 'cancelled')),
    waits TEXT CHECK (waits IN ('paused', 'asked', 'poisoned')), -- what a waiting run wants of a person
    next_seq INTEGER NOT NULL,
    epoch INTEGER NOT NULL DEFAULT 0,
    runner TEXT, -- who holds the lease
    lease_id TEXT, -- the poll that took it
    -- When something must happen to it: queued and parked runs may be leased from then on, running ones lose their lease,
    -- waiting ones are given up.
    due_at INTEGER,
    crashes INTEGER NOT NULL DEFAULT 0, -- leases that ended without a word since it last got further
    turns INTEGER NOT NULL DEFAULT 0,
    cost INTEGER NOT NULL DEFAULT 0,
    tokens INTEGER NOT NULL DEFAULT 0,
    outcome TEXT, -- the reply, or the code of the failure
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO runs_new (id, workspace_id, work_item_id, agent_id, agent_version, conversation_id, integration_id, trust, phase,
    next_seq, epoch, runner, lease_id, due_at, turns, cost, tokens, outcome, created_at, updated_at)
    SELECT id, workspace_id, work_item_id, agent_id, agent_version, conversation_id, integration_id,
    coalesce((SELECT e.body ->> '$.work_item.actor.trust' FROM events e WHERE e.run_id = runs.id AND e.seq = 0), 'outsider'),
    phase, next_seq, epoch, runner, lease_id, due_at, turns, cost, tokens, outcome, created_at, updated_at FROM runs;
DROP TABLE runs;
ALTER TABLE runs_new RENAME TO runs;
CREATE UNIQUE INDEX runs_once ON runs (work_item_id, agent_id);
-- A lane holds at most one active run.
CREATE UNIQUE INDEX runs_active_lane ON runs (agent_id, conversation_id) WHERE phase IN ('running', 'parked');
-- Where a message may join, and what goes before what: open runs are few, however many a lane has had.
CREATE INDEX runs_open_lane ON runs (conversation_id, agent_id, id)
    WHERE phase IN ('queued', 'running', 'parked', 'waiting');
-- What the next run of a lane remembers.
CREATE INDEX runs_ended_lane ON runs (agent_id, conversation_id, id)
    WHERE phase IN ('completed', 'failed', 'cancelled');
-- By agent, so that one agent's many runs don't stand before another's few.
CREATE INDEX runs_due ON runs (workspace_id, agent_id, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX runs_lease ON runs (lease_id) WHERE lease_id IS NOT NULL;
CREATE INDEX runs_ended_badly ON runs (workspace_id, phase, id) WHERE phase IN ('failed', 'cancelled');
CREATE INDEX runs_waiting ON runs (workspace_id, due_at) WHERE phase = 'waiting';
-- No run that goes well ever touches it.
CREATE INDEX runs_crashed ON runs (workspace_id, due_at) WHERE crashes > 0;

ALTER TABLE signals ADD COLUMN kind TEXT NOT NULL DEFAULT 'cancel';

-- Messages that joined a run instead of beginning one.
CREATE TABLE joined (
    work_item_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    PRIMARY KEY (work_item_id, run_id)
) WITHOUT ROWID;
CREATE INDEX joined_run ON joined (run_id);
