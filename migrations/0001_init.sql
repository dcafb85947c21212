-- Roost's tables. Every row belongs to one workspace. Ids are ULIDs as text, times are milliseconds since the Unix epoch,
-- money is whole micro-dollars, JSON is text.

CREATE TABLE workspaces (
    id TEXT PRIMARY KEY,
    -- Counts up with every edit of an integration, agent or subscription, so that an edge may keep what it read of
    -- them for as long as a guard finds the same number.
    config_version INTEGER NOT NULL DEFAULT 1,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE integrations (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    name TEXT NOT NULL,
    enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    settings TEXT NOT NULL,
    secrets TEXT NOT NULL, -- sealed
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (workspace_id, name)
) WITHOUT ROWID;

CREATE TABLE agents (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    handle TEXT NOT NULL,
    enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (workspace_id, handle)
) WITHOUT ROWID;

-- Never updated: a run ends on the version it began with.
CREATE TABLE agent_versions (
    agent_id TEXT NOT NULL REFERENCES agents (id),
    version INTEGER NOT NULL,
    workspace_id TEXT NOT NULL,
    spec TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (agent_id, version)
) WITHOUT ROWID;

CREATE TABLE subscriptions (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    agent_id TEXT NOT NULL REFERENCES agents (id),
    integration_id TEXT NOT NULL REFERENCES integrations (id),
    rule TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (agent_id, integration_id, rule)
) WITHOUT ROWID;

CREATE TABLE deliveries (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    integration_id TEXT NOT NULL,
    dedupe_key TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('accepted', 'ignored')),
    reason TEXT, -- why it was ignored
    headers TEXT NOT NULL,
    body BLOB NOT NULL, -- packed: see the edge's ingress
    received_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX deliveries_once ON deliveries (integration_id, dedupe_key);

CREATE TABLE conversations (
    id TEXT PRIMARY KEY, -- derived from integration and key
    workspace_id TEXT NOT NULL,
    integration_id TEXT NOT NULL,
    key TEXT NOT NULL,
    title TEXT NOT NULL,
    url TEXT,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE work_items (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    delivery_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    work_item_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    agent_version INTEGER NOT NULL,
    conversation_id TEXT NOT NULL,
    integration_id TEXT NOT NULL,
    phase TEXT NOT NULL CHECK (phase IN ('queued', 'running', 'parked', 'completed', 'failed', 'cancelled')),
    next_seq INTEGER NOT NULL,
    epoch INTEGER NOT NULL DEFAULT 0,
    runner TEXT, -- who holds the lease
    lease_id TEXT, -- the poll that took it
    -- When something must happen to it: queued and parked runs may be leased from then on, running ones lose their lease.
    due_at INTEGER,
    turns INTEGER NOT NULL DEFAULT 0,
    cost INTEGER NOT NULL DEFAULT 0,
    tokens INTEGER NOT NULL DEFAULT 0,
    outcome TEXT, -- the reply, or the code of the failure
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX runs_once ON runs (work_item_id, agent_id);
-- A lane holds at most one active run.
CREATE UNIQUE INDEX runs_active_lane ON runs (agent_id, conversation_id) WHERE phase IN ('running', 'parked');
CREATE INDEX runs_lane ON runs (agent_id, conversation_id, id);
CREATE INDEX runs_due ON runs (workspace_id, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX runs_lease ON runs (lease_id) WHERE lease_id IS NOT NULL;

CREATE TABLE events (
    run_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    workspace_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    at INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
) WITHOUT ROWID;

CREATE TABLE signals (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX signals_run ON signals (run_id);

CREATE TABLE effects (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    integration_id TEXT NOT NULL,
    run_id TEXT,
    stream TEXT NOT NULL, -- effects of one stream go out one after the other, in the order of their ids
    idempotency_key TEXT NOT NULL,
    effect TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'sending', 'sent', 'failed', 'unknown')),
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at INTEGER, -- when to try (pending) or to give the attempt up (sending)
    external_id TEXT,
    code TEXT, -- why it failed
    reason TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX effects_once ON effects (workspace_id, idempotency_key);
CREATE INDEX effects_due ON effects (workspace_id, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX effects_stream ON effects (stream, id) WHERE due_at IS NOT NULL;
CREATE INDEX effects_run ON effects (run_id);

CREATE TABLE runners (
    workspace_id TEXT NOT NULL,
    name TEXT NOT NULL,
    token_id TEXT NOT NULL,
    doorbell TEXT,
    room INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, name)
) WITHOUT ROWID;

-- Credentials are signed, not stored; here stand those that are no longer good before their time.
CREATE TABLE spent_tokens (
    workspace_id TEXT NOT NULL,
    id TEXT NOT NULL,
    spent_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, id) -- so that no workspace can keep another from revoking a token
) WITHOUT ROWID;
CREATE INDEX spent_tokens_expiry ON spent_tokens (expires_at);
