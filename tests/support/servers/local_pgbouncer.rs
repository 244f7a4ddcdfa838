//! A local PgBouncer in front of the Postgres of the tests.

use std::os::unix::fs::chown;
use std::path::Path;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use super::free_port;
use super::local_postgres::unprivileged_account;
use crate::support::eventually::{PATIENCE, eventually};
use crate::support::guard::{Account, Server, ServerGuard};

/// A pooler that runs as long as this value lives.
pub(crate) struct LocalPgBouncer {
    guard: ServerGuard,
    port: u16,
}

impl LocalPgBouncer {
    /// Starts a pooler with this `pool_mode`, to the server of `options`, without passwords.
    pub(crate) async fn start(options: &PgConnectOptions, pool_mode: &str) -> LocalPgBouncer {
        // Debian installs it outside of the PATH of users.
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"];
        let program = program.into_iter().find(|program| Path::new(program).is_file());
        let program = program.expect("a test of poolers needs PgBouncer here: scripts/test installs it");
        let port = free_port();
        let dir =
            tempfile::Builder::new().prefix("readcast-pgbouncer-").tempdir().expect("a temporary directory").keep();
        let account = unprivileged_account(&dir);
        let settings = dir.join("pgbouncer.ini");
        let (host, server_port, user) = (options.get_host(), options.get_port(), options.get_username());
        let text = format!(
            "[databases]\n* = host={host} port={server_port} user={user}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = {pool_mode}\ndefault_pool_size = 20\n"
        );
        std::fs::write(&settings, text).expect("the directory is ours");
        if let Some(Account { uid, gid }) = account {
            chown(&dir, Some(uid), Some(gid)).expect("root gives directories away");
        }
        let command = vec![program.into(), settings.into()];
        let guard = ServerGuard::start(Server { dir, account, stop: "KILL", command });
        let pooler = LocalPgBouncer { guard, port };
        let options = pooler.through(options);
        eventually("PgBouncer accepts connections", PATIENCE, async || {
            let connection = PgConnection::connect_with(&options).await;
            connection.map(drop).map_err(|error| format!("{error}\n{}", pooler.guard.log_tail()))
        })
        .await;
        pooler
    }

    /// The options to connect through the pooler to the database of `options`.
    pub(crate) fn through(&self, options: &PgConnectOptions) -> PgConnectOptions {
        options.clone().host("127.0.0.1").port(self.port).extra_float_digits(None)
    }
}
