-- The file from which the definition of a generation was made, if it is not code: another file can be deployed while the
-- generation is still fed.
ALTER TABLE readcast.generations ADD COLUMN source text;
