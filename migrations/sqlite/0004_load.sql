-- A generation that is built from the beginning of the log is loaded first: folded outside of the database, written once.
-- A column's check can't be altered, so the column is made anew.
ALTER TABLE readcast_generations RENAME COLUMN phase TO earlier_phase;
ALTER TABLE readcast_generations ADD COLUMN phase TEXT
    CHECK (phase IN ('load', 'replay', 'index', 'catch_up', 'compare'));
UPDATE readcast_generations SET phase = earlier_phase;
ALTER TABLE readcast_generations DROP COLUMN earlier_phase;
