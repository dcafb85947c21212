-- Payloads of old deliveries are removed; the deliveries stay, so that the same event is still known when it comes again.
-- After how many days its headers and all of its body but the length were removed; NULL: it has them.
ALTER TABLE deliveries ADD COLUMN removed_after INTEGER;

-- How far a workspace's deliveries have been looked through. A walk, not an index: an index would cost every webhook.
CREATE TABLE payload_walks (
    workspace_id TEXT PRIMARY KEY,
    next TEXT NOT NULL, -- the first delivery to look at
    held TEXT, -- the first one passed over in this walk, since a run still works on it
    due_at INTEGER NOT NULL
) WITHOUT ROWID;
