-- Over how many offsets of each partition the generation recognises duplicates. It keeps the window that it began with, so
-- that one rule made all its rows. NULL until it is fed.
ALTER TABLE readcast.generations ADD COLUMN duplicate_window bigint;

-- Pages hold digests, which no compression makes smaller: to try takes longer than to write them.
ALTER TABLE readcast.ledger ALTER COLUMN entries SET STORAGE EXTERNAL;
