-- Over how many offsets of each partition the generation recognises duplicates. It keeps the window that it began with, so
-- that one rule made all its rows. NULL until it is fed.
ALTER TABLE readcast_generations ADD COLUMN duplicate_window integer;
