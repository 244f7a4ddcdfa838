//! The servers: the lists `host`, `hostaddr` and `port`, combined as libpq combines them.

use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

use super::SslMode;
use super::parameters::Given;

/// The address of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A port of a host.
    Tcp {
        /// The name or address of the host. An IPv6 address has no brackets and may have a zone.
        host: String,
        /// From 1 to 65535.
        port: u16,
    },
    /// A Unix socket.
    Socket {
        /// The directory in which the server made it.
        directory: PathBuf,
        /// The number in the socket's name, `.s.PGSQL.5432`.
        port: u16,
    },
}

/// The directories in which libpq looks for a server's socket, depending on its packager.
const SOCKET_DIRECTORIES: [&str; 3] = ["/var/run/postgresql", "/private/tmp", "/tmp"];
const PORT: u16 = 5432;

/// One entry of the lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Name(String),
    /// The address to connect to, and the name of its host, if given.
    Address(String, Option<String>),
    Directory(PathBuf),
    /// No host was given: a socket of this machine, or else `localhost`.
    Local,
}

impl Place {
    /// The address to connect to. Without a host, it is a socket that exists now, or else `localhost`.
    pub(super) fn endpoint(&self) -> Endpoint {
        let port = self.port;
        match &self.host {
            Host::Name(host) | Host::Address(host, _) => Endpoint::Tcp { host: host.clone(), port },
            Host::Directory(directory) => Endpoint::Socket { directory: directory.clone(), port },
            Host::Local => {
                let socket = format!(".s.PGSQL.{port}");
                let directory = SOCKET_DIRECTORIES.iter().map(Path::new).find(|path| path.join(&socket).exists());
                directory.map_or(Endpoint::Tcp { host: "localhost".into(), port }, |directory| Endpoint::Socket {
                    directory: directory.into(),
                    port,
                })
            }
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The name of the host in a password file.
    pub(super) fn in_passfile(&self) -> String {
        match &self.host {
            Host::Name(host) | Host::Address(_, Some(host)) | Host::Address(host, None) => host.clone(),
            Host::Directory(directory) if !SOCKET_DIRECTORIES.iter().any(|usual| directory == Path::new(usual)) => {
                directory.display().to_string()
            }
            Host::Directory(_) | Host::Local => "localhost".into(),
        }
    }

    /// The host, if it is not this machine.
    pub(super) fn far(&self) -> Option<&str> {
        match &self.host {
            Host::Name(host) | Host::Address(host, _) => Some(host.as_str()).filter(|host| !is_this_machine(host)),
            Host::Directory(_) | Host::Local => None,
        }
    }
}

/// The places to try, in order. There is at least one.
pub(super) fn places(given: &Given, mode: SslMode) -> Result<Vec<Place>, String> {
    let hosts = hosts(given, mode)?;
    let ports: Vec<u16> =
        list(given.get("port")).into_iter().map(|text| port(given, text)).collect::<Result<_, _>>()?;
    let ports = match ports.len() {
        0 => vec![PORT; hosts.len()],
        1 => vec![ports[0]; hosts.len()],
        count if count == hosts.len() => ports,
        count => {
            let problem = format!("holds {count} ports for {} hosts; write one, or one for each host", hosts.len());
            return Err(given.wrong("port", &problem));
        }
    };
    Ok(hosts.into_iter().zip(ports).map(|(host, port)| Place { host, port }).collect())
}

fn hosts(given: &Given, mode: SslMode) -> Result<Vec<Host>, String> {
    let (names, addresses) = (list(given.get("host")), list(given.get("hostaddr")));
    if addresses.is_empty() {
        let names = if names.is_empty() { vec![""] } else { names };
        return names.into_iter().map(|name| named(given, name)).collect();
    }
    if names.is_empty() {
        return addresses.into_iter().map(|text| addressed(given, text, "")).collect();
    }
    if names.len() != addresses.len() {
        let problem = format!("holds {} addresses for {} hosts; write one for each host", addresses.len(), names.len());
        return Err(given.wrong("hostaddr", &problem));
    }
    if given.is_of_environment("hostaddr") && !given.is_of_environment("host") {
        let problem = "would lead away from the host that the URL names; unset it, or write `hostaddr` in the URL";
        return Err(given.wrong("hostaddr", problem));
    }
    if mode == SslMode::VerifyFull {
        let problem = "can't be honoured beside `host`, because the certificate is checked for what readcast connects to: \
                       leave it out, and let the host's name lead to the address, as by a line in /etc/hosts";
        return Err(given.wrong("hostaddr", problem));
    }
    addresses.into_iter().zip(names).map(|(address, name)| addressed(given, address, name)).collect()
}

/// The host of one entry of `host`.
fn named(given: &Given, name: &str) -> Result<Host, String> {
    match name.as_bytes().first() {
        None => Ok(Host::Local),
        Some(b'/') => Ok(Host::Directory(name.into())),
        Some(b'@') => {
            Err(given.wrong("host", "names an abstract socket, which can't be honoured: write its directory"))
        }
        Some(_) => Ok(Host::Name(name.to_owned())),
    }
}

/// The host of one entry of `hostaddr`, and of the entry of `host` beside it.
fn addressed(given: &Given, address: &str, name: &str) -> Result<Host, String> {
    if address.is_empty() {
        return named(given, name);
    }
    if !is_address(address) {
        return Err(given.wrong("hostaddr", "must hold addresses; write a name as `host`"));
    }
    Ok(Host::Address(address.to_owned(), Some(name.to_owned()).filter(|name| !name.is_empty())))
}

fn port(given: &Given, text: &str) -> Result<u16, String> {
    let text = text.trim();
    let number = if text.is_empty() { Some(PORT) } else { text.parse().ok().filter(|port| *port > 0) };
    // The error does not show the text, which can be a password if the URL lacks its `@`.
    number.ok_or_else(|| given.wrong("port", "must be a number from 1 to 65535; write an IPv6 address in brackets"))
}

/// The entries of a list. An entry may be empty. Without a list there are none.
fn list(text: Option<&str>) -> Vec<&str> {
    text.map(|text| text.split(',').collect()).unwrap_or_default()
}

fn is_address(text: &str) -> bool {
    let zoned = |text: &str| text.split_once('%').is_some_and(|(address, _)| address.parse::<Ipv6Addr>().is_ok());
    text.parse::<IpAddr>().is_ok() || zoned(text)
}

fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
