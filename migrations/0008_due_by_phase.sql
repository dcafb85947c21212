-- What an agent's runs wait for lies apart: those that lost their runner are found without a walk over its whole queue, and its
-- queue without a walk over them.
DROP INDEX runs_due;
CREATE INDEX runs_due ON runs (workspace_id, agent_id, phase, due_at) WHERE due_at IS NOT NULL;
