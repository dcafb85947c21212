-- The process behind a runner's name, and the connection by which an edge sees that it lives.
ALTER TABLE runners ADD COLUMN process TEXT;
ALTER TABLE runners ADD COLUMN presence TEXT;
