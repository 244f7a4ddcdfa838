//! The integration tests, with real files, SQLite, Postgres, Kafka and the real program. They are one binary, so that
//! they share their servers.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

mod support;

mod bank;
mod book;
mod cases;
mod cli;
mod components;
mod dead_letters_cli;
mod faults;
mod files_to_sqlite;
mod foreign;
mod kafka_log;
mod kafka_to_postgres;
mod members;
mod oracle;
mod poison;
mod projection_files;
mod random_files;
mod rebuild;
mod rest;
mod shop;
mod store_conformance;
mod tidy;
mod upgrade;
