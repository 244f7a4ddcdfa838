-- Why an operator decided so.
ALTER TABLE readcast.amendments ADD COLUMN reason text;
