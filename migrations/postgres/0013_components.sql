-- The WebAssembly component that projects the events of a generation, if its file names one.
ALTER TABLE readcast.generations ADD COLUMN component bytea;
