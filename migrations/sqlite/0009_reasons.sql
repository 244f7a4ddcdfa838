-- Why an operator decided so.
ALTER TABLE readcast_amendments ADD COLUMN reason TEXT;
