-- The WebAssembly component that projects the events of a generation, if its file names one.
ALTER TABLE readcast_generations ADD COLUMN component BLOB;
