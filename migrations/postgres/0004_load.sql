-- A generation that is built from the beginning of the log is loaded first: folded outside of the database, written once.
ALTER TABLE readcast.generations
    DROP CONSTRAINT generations_phase_check,
    ADD CONSTRAINT generations_phase_check CHECK (phase IN ('load', 'replay', 'index', 'catch_up', 'compare'));
