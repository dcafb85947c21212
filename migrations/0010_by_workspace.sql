-- What is small in a workspace is not small in a database of ten thousand: of these, too, each workspace reads its own.
CREATE INDEX subscriptions_workspace ON subscriptions (workspace_id, id);
CREATE INDEX senders_workspace ON senders (workspace_id);
CREATE INDEX sweeps_due ON sweeps (workspace_id, due_at);
DROP INDEX spent_tokens_expiry;
CREATE INDEX spent_tokens_expiry ON spent_tokens (workspace_id, expires_at);
