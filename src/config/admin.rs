//! The section `[admin]`: where the admin server listens, and who may read from it.

use std::net::{Ipv4Addr, SocketAddr};

use super::error::ConfigError;
use super::secret::SecretSource;
use super::setting::Setting;

/// Where the admin server listens, and who may read from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminOptions {
    /// The address; of this machine alone, unless there is a token.
    pub listen: SocketAddr,
    /// What callers must present as a bearer token, probes excepted.
    pub token: Option<SecretSource>,
}

#[derive(Default)]
pub(super) struct AdminDraft {
    /// The address, and where it was written.
    listen: Option<(SocketAddr, String)>,
    token: Option<SecretSource>,
}

impl AdminDraft {
    pub(super) fn set(&mut self, name: &str, setting: &Setting) -> Result<(), ConfigError> {
        match name {
            "listen" => self.listen = Some((address(setting)?, setting.value_at.clone())),
            "token" => self.token = Some(setting.secret()?),
            _ => return Err(setting.unknown(name, ["listen", "token"])),
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<AdminOptions, ConfigError> {
        let token = self.token;
        match self.listen {
            None => Ok(AdminOptions { listen: (Ipv4Addr::LOCALHOST, 8088).into(), token }),
            Some((listen, _)) if listen.ip().is_loopback() || token.is_some() => Ok(AdminOptions { listen, token }),
            Some((listen, place)) => Err(ConfigError::at(
                place,
                format!(
                    "`admin.listen` is `{listen}`, which other machines can reach: set `admin.token`, or listen on \
                     `127.0.0.1:{}`",
                    listen.port()
                ),
            )),
        }
    }
}

fn address(setting: &Setting) -> Result<SocketAddr, ConfigError> {
    setting.text()?.parse().map_err(|_| setting.not("an address and a port, like `127.0.0.1:8088`"))
}
