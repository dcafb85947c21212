-- The timers of hosts go round all workspaces; next come those whose turn is longest ago. Turns are counted, not timed: clocks
-- differ, and what one that is ahead wrote would keep a workspace from its turn.
ALTER TABLE workspaces ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
CREATE INDEX workspaces_turn ON workspaces (turn);
