//! What URLs mean, and which are refused. libpq 15 (`PQconninfoParse`) gave the expected reading of each.

mod secrecy;

use super::*;

fn read_in(url: &str, environment: &[(&str, &str)]) -> Result<PostgresUrl, String> {
    PostgresUrl::parse(url, &environment.iter().copied().collect(), None)
}

fn read(url: &str) -> Result<PostgresUrl, String> {
    read_in(url, &[])
}

fn tcp(host: &str, port: u16) -> Endpoint {
    Endpoint::Tcp { host: host.to_owned(), port }
}

fn socket(directory: &str, port: u16) -> Endpoint {
    Endpoint::Socket { directory: directory.into(), port }
}

fn endpoints(url: &str) -> Vec<Endpoint> {
    read(url).unwrap_or_else(|error| panic!("{url}: {error}")).endpoints()
}

fn tls(url: &str, environment: &[(&str, &str)]) -> Result<(), String> {
    read_in(url, environment).unwrap().check_tls()
}

fn password(url: &PostgresUrl) -> Option<String> {
    url.password(&url.endpoints()[0], "app").map(|secret| secret.expose().to_owned())
}

/// Whether this is the endpoint of a URL without a host, which depends on the machine.
fn is_default(endpoints: &[Endpoint], wanted: u16) -> bool {
    matches!(endpoints, [Endpoint::Tcp { port, .. } | Endpoint::Socket { port, .. }] if *port == wanted)
}

#[test]
fn hosts_and_ports_are_read_as_libpq_reads_them() {
    let cases: &[(&str, &[Endpoint])] = &[
        ("postgres://localhost", &[tcp("localhost", 5432)]),
        ("postgresql://localhost:5433", &[tcp("localhost", 5433)]),
        ("postgres://app@[::1]:1/x", &[tcp("::1", 1)]),
        ("postgres://[::1]/x", &[tcp("::1", 5432)]),
        ("postgres://[2001:db8::1234]", &[tcp("2001:db8::1234", 5432)]),
        ("postgres://[fe80::1%25eth0]:5433/x", &[tcp("fe80::1%eth0", 5433)]),
        ("postgres://app@127.0.0.1:5432,127.0.0.1:5433/shop", &[tcp("127.0.0.1", 5432), tcp("127.0.0.1", 5433)]),
        ("postgres://h1:123,h2:456/db?target_session_attrs=any", &[tcp("h1", 123), tcp("h2", 456)]),
        ("postgres://h1:123,h2/db", &[tcp("h1", 123), tcp("h2", 5432)]),
        ("postgres://h1,h2:456/db", &[tcp("h1", 5432), tcp("h2", 456)]),
        (
            "postgres://h1:5432,[::1]:5433,%2Fvar%2Frun/db",
            &[tcp("h1", 5432), tcp("::1", 5433), socket("/var/run", 5432)],
        ),
        ("postgres:///db?host=h1,h2&port=1,2", &[tcp("h1", 1), tcp("h2", 2)]),
        ("postgres:///db?host=h1,h2&port=7", &[tcp("h1", 7), tcp("h2", 7)]),
        ("postgres:///db?host=h1,::1,/tmp&port=1,,3", &[tcp("h1", 1), tcp("::1", 5432), socket("/tmp", 3)]),
        ("postgres:///db?host=/var/lib/pg", &[socket("/var/lib/pg", 5432)]),
        ("postgres:///db?host=/var/lib/pg&port=6000", &[socket("/var/lib/pg", 6000)]),
        ("postgres://%2Fvar%2Flib%2Fpg/db", &[socket("/var/lib/pg", 5432)]),
        ("postgres://app:x@%2Fvar%2Flib%2Fpg:6000/db", &[socket("/var/lib/pg", 6000)]),
        ("postgres:///db?host=%2Fvar%2Flib%2Fpg", &[socket("/var/lib/pg", 5432)]),
        ("postgres://other:1/db?host=h1", &[tcp("h1", 1)]),
        ("postgres://h1/db?host=h2&host=h3", &[tcp("h3", 5432)]),
        ("postgres:///db?hostaddr=192.0.2.1,::1", &[tcp("192.0.2.1", 5432), tcp("::1", 5432)]),
        ("postgres://h1/db?hostaddr=192.0.2.1", &[tcp("192.0.2.1", 5432)]),
    ];
    for (url, expected) in cases {
        assert_eq!(endpoints(url), *expected, "{url}");
    }
    for url in ["postgres://", "postgres:///", "postgres:///db", "postgres://app@", "postgres:///?host="] {
        assert!(is_default(&endpoints(url), 5432), "{url}");
    }
    assert!(is_default(&endpoints("postgres://:5433/db"), 5433));
}

#[test]
fn who_and_where_to_are_read_as_libpq_reads_them() {
    let seen = |url: &str| {
        let url = read(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        let (user, database) = (url.user().map(str::to_owned), url.database().map(str::to_owned));
        (user, password(&url), database)
    };
    let row = |user: &str, password: &str, database: &str| {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        (some(user), some(password), some(database))
    };
    assert_eq!(seen("postgres://user@localhost"), row("user", "", ""));
    assert_eq!(seen("postgres://user:secret@localhost"), row("user", "secret", ""));
    assert_eq!(
        seen("postgres://other@localhost/otherdb?connect_timeout=10&application_name=myapp"),
        row("other", "", "otherdb")
    );
    assert_eq!(seen("postgres:///mydb?host=localhost&port=5433&user=app&password=x"), row("app", "x", "mydb"));
    assert_eq!(seen("postgres://u%73er:p%40%3A%2f%25@localhost/d%20b"), row("user", "p@:/%", "d b"));
    assert_eq!(seen("postgres://a:b@localhost/c?user=d&password=e&dbname=f&dbname=g"), row("d", "e", "g"));
    assert_eq!(seen("postgres://app:a+b#c@localhost/x?application_name=d+e"), row("app", "a+b#c", "x"));
    assert_eq!(seen("postgres://@localhost"), row("", "", ""));
    assert_eq!(seen("postgres://:x@localhost"), row("", "x", ""));
    // Beyond libpq, which ends the password at the first `@` and finds no host then.
    assert_eq!(seen("postgres://app:hun@ter:2@localhost/shop"), row("app", "hun@ter:2", "shop"));
    assert_eq!(seen("postgres:///?user=me@tenant&password=a=b=="), row("me@tenant", "a=b==", ""));
}

/// What RFC 3986 lets stand unescaped, and everything else escaped.
fn escaped(text: &str, random: &mut fastrand::Rng) -> String {
    let escape = |byte: u8, upper: bool| if upper { format!("%{byte:02X}") } else { format!("%{byte:02x}") };
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' if random.u8(..) > 20 => char::from(byte).to_string(),
        _ => escape(byte, random.bool()),
    };
    text.bytes().map(one).collect()
}

#[test]
fn whatever_is_escaped_is_read_as_it_was_meant() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let letters: Vec<char> = "aZ09-_@:/?#[]&=%+,;. é漢\\'\"\u{1}".chars().collect();
    for _ in 0..5_000 {
        let mut text =
            || -> String { (0..random.usize(1..8)).map(|_| letters[random.usize(0..letters.len())]).collect() };
        let (user, secret, database, name) = (text(), text(), text(), text());
        let ports: Vec<u16> = (0..random.usize(1..4)).map(|_| random.u16(1..)).collect();
        let hosts = ["h.example", "[::1]", "127.0.0.1", "%2Ftmp"];
        let hosts: Vec<&str> = ports.iter().map(|_| hosts[random.usize(0..hosts.len())]).collect();
        let addresses: Vec<String> = hosts.iter().zip(&ports).map(|(host, port)| format!("{host}:{port}")).collect();
        let mut escaped = |text: &str| escaped(text, &mut random);
        let (who, hidden, what, name_written) = (escaped(&user), escaped(&secret), escaped(&database), escaped(&name));
        let in_authority =
            format!("postgres://{who}:{hidden}@{}/{what}?application_name={name_written}", addresses.join(","));
        let plain_hosts: Vec<String> = hosts.iter().map(|host| host.replace(['[', ']'], "")).collect();
        let port_list: Vec<String> = ports.iter().map(u16::to_string).collect();
        let in_parameters = format!(
            "postgres:///?host={}&port={}&user={who}&password={hidden}&dbname={what}&application_name={name_written}",
            plain_hosts.join(","),
            port_list.join(",")
        );
        let expected: Vec<Endpoint> = hosts
            .iter()
            .zip(&ports)
            .map(|(host, port)| match *host {
                "%2Ftmp" => socket("/tmp", *port),
                host => tcp(host.trim_matches(['[', ']']), *port),
            })
            .collect();
        for written in [in_authority, in_parameters] {
            let url = read(&written).unwrap_or_else(|error| panic!("{written}: {error}, seed {seed}"));
            let seen = (url.user(), password(&url), url.database(), url.application_name());
            let meant = (Some(&*user), Some(secret.clone()), Some(&*database), Some(&*name));
            assert_eq!(seen, meant, "{written}, seed {seed}");
            assert_eq!(url.endpoints(), expected, "{written}, seed {seed}");
            assert!(
                written.contains("?host=") || url.to_string().starts_with(&format!("postgres://{who}:***@")),
                "{url}"
            );
            assert!(!written.contains("?host=") || url.to_string().contains("&password=***&"), "{url}");
        }
    }
}

#[test]
fn what_libpq_refuses_is_refused() {
    let cases = [
        ("postgres://[::1/x", "has a `[` without its `]`"),
        ("postgres://[]/x", "has no address between"),
        ("postgres://[::1]x/x", "other than a port behind a `]`"),
        ("postgres://::1/x", "write an IPv6 address in brackets"),
        ("postgres://h:0/x", "from 1 to 65535"),
        ("postgres://h:65536/x", "from 1 to 65535"),
        ("postgres://h:5432x/x", "from 1 to 65535"),
        ("postgres:///x?host=a,b,c&port=1,2", "holds 2 ports for 3 hosts"),
        ("postgres://a:1,b:2/x?host=c", "holds 2 ports for 1 hosts"),
        ("postgres:///x?host=a,b&hostaddr=127.0.0.1", "holds 1 addresses for 2 hosts"),
        ("postgres:///x?hostaddr=db.example", "must hold addresses; write a name as `host`"),
        ("postgres://h/%zz", "a `%` without two hexadecimal digits"),
        ("postgres://h/%4", "a `%` without two hexadecimal digits"),
        ("postgres://h/a%00b", "%00"),
        ("postgres://h/%ff", "is not UTF-8"),
        ("postgres://[fe80::1%eth0]/x", "a `%` without two hexadecimal digits"),
        ("postgres://h/x?connect_timeout", "a parameter without a `=`"),
        ("postgres://h/a b", "%20"),
        ("postgres://h/x?sslmode=verify", "must be `disable`, `allow`"),
        ("postgres://h/x?target_session_attrs=rw", "must be `any`, `read-write` or `primary`"),
        ("postgres://h/x?connect_timeout=10s", "must be a whole number of seconds"),
        ("postgres://h/x?load_balance_hosts=true", "must be `disable` or `random`"),
        ("postgres://h/x?sslmode=require&sslrootcert=system", "must be `verify-full` with `sslrootcert=system`"),
        ("host=localhost dbname=x", "must be `postgres://…`"),
    ];
    for (url, expected) in cases {
        let error = read(url).expect_err(url);
        assert!(error.contains(expected), "{url}: {error}");
    }
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let refused = [
        ("channel_binding=require", "`sslmode=verify-full`"),
        ("gssencmode=require", "`sslmode=verify-full`"),
        ("target_session_attrs=read-only", "`target_session_attrs=read-write`"),
        ("target_session_attrs=standby", "`target_session_attrs=read-write`"),
        ("target_session_attrs=prefer-standby", "`target_session_attrs=read-write`"),
        ("hostaddr=192.0.2.1&sslmode=verify-full", "/etc/hosts"),
        ("host=@abstract", "write its directory"),
        ("sslnegotiation=direct", "leave it out"),
        ("krbsrvname=pg", "a client certificate"),
        ("service=shop", "write into the URL what it says"),
        ("keepalives=0", "leave it out"),
        ("keepalives_idle=30", "leave it out"),
        ("tcp_user_timeout=1000", "leave it out"),
        ("client_encoding=LATIN1", "UTF-8"),
        ("replication=database", "leave it out"),
        ("sslcrl=/x", "leave it out"),
        ("sslpassword=hunter2", "openssl pkey"),
        ("require_auth=scram-sha-256", "pg_hba.conf"),
        ("requirepeer=postgres", "leave it out"),
        ("ssl_min_protocol_version=TLSv1.3", "leave it out"),
        ("ssl_max_protocol_version=TLSv1.2", "leave it out"),
        ("sslcertmode=require", "leave it out"),
        ("sslsni=0", "leave it out"),
        ("ssl=1", "`sslmode=require`"),
        ("sslcert=/c", "needs `sslkey`"),
        ("sslkey=/k", "needs `sslcert`"),
        ("options=-e", "`-c name=value`"),
        ("statement-cache-capacity=many", "a whole number of statements"),
    ];
    for (parameter, instead) in refused {
        let error = read(&format!("postgres://h/x?{parameter}")).expect_err(parameter);
        let name = parameter.split_once('=').unwrap().0;
        assert!(error.contains(&format!("the URL's parameter `{name}` ")) && error.contains(instead), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let error = read("postgres://app:p%40ss@h/x?aplication_name=x").unwrap_err();
    assert_eq!(error, "the URL has an unknown parameter `aplication_name`; did you mean `application_name`?");
}

#[test]
fn what_asks_for_nothing_else_than_is_done_is_taken() {
    let taken = [
        "channel_binding=prefer&gssencmode=disable&sslnegotiation=postgres&sslcompression=0&sslsni=1&keepalives=1",
        "ssl_min_protocol_version=TLSv1.2&ssl_max_protocol_version=TLSv1.3&client_encoding=UTF8&replication=false",
        "service=&require_auth=&krbsrvname=postgres&fallback_application_name=x&passfile=/x&ssl=true",
        "ssl-mode=VERIFY-FULL&ssl-root-cert=/ca&ssl-cert=/c&ssl-key=/k&statement-cache-capacity=7&",
    ];
    for parameters in taken {
        assert!(read(&format!("postgres://h/x?{parameters}")).is_ok(), "{parameters}");
    }
}

#[test]
fn the_settings_of_the_session_are_read() {
    let url = read("postgres://h/x?connect_timeout=20&application_name=a%20b&options=-c%20geqo=off%20--work-mem%3D4MB");
    let url = url.unwrap();
    assert_eq!((url.connect_timeout(), url.application_name()), (Duration::from_secs(20), Some("a b")));
    let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(url.options(), [setting("geqo", "off"), setting("work_mem", "4MB")]);
    let timeout =
        |text: &str| read(&format!("postgres://h/x?connect_timeout={text}")).unwrap().connect_timeout().as_secs();
    assert_eq!(["", "0", "-5", "1", "2", "3600", "%209%20"].map(timeout), [10, 60, 60, 2, 2, 60, 9]);
    let attributes = |text: &str| read(&format!("postgres://h/x?{text}")).unwrap().target_session_attrs();
    use TargetSessionAttrs::{Any, Primary, ReadWrite};
    let texts = ["", "target_session_attrs=any", "target_session_attrs=primary", "target_session_attrs=read-write"];
    assert_eq!(texts.map(attributes), [Any, Any, Primary, ReadWrite]);
    assert!(read("postgres://a,b/x?load_balance_hosts=random").unwrap().load_balance_hosts());
    let fallback = read("postgres://h/x?fallback_application_name=x&application_name=").unwrap();
    assert_eq!(fallback.application_name(), Some("x"));
    assert_eq!(read("postgres://h/x?statement-cache-capacity=7").unwrap().statement_cache_capacity(), 7);
}

#[test]
fn tls_is_read_as_libpq_reads_it() {
    let mode = |parameters: &str| read(&format!("postgres://h/x?{parameters}")).unwrap().tls().mode;
    let written =
        ["", "sslmode=allow", "sslmode=disable", "ssl=true", "sslmode=require&sslrootcert=/ca", "sslrootcert=system"];
    use SslMode::{Disable, Prefer, Require, VerifyCa, VerifyFull};
    assert_eq!(written.map(mode), [Prefer, Prefer, Disable, Require, VerifyCa, VerifyFull]);
    let files = read("postgres://h/x?sslmode=verify-full&sslrootcert=/ca&sslcert=/c&sslkey=/k").unwrap();
    let expected = Tls { mode: VerifyFull, root_cert: Some("/ca".into()), client: Some(("/c".into(), "/k".into())) };
    assert_eq!(*files.tls(), expected);
    assert_eq!(read("postgres://h/x?sslrootcert=system").unwrap().tls().root_cert, None);
}

#[test]
fn variables_fill_in_what_the_url_leaves_out() {
    let environment = [
        ("PGHOST", "h1,h2"),
        ("PGPORT", "1,2"),
        ("PGUSER", "app"),
        ("PGPASSWORD", "x"),
        ("PGDATABASE", "shop"),
        ("PGAPPNAME", "name"),
        ("PGOPTIONS", "-c geqo=off"),
        ("PGCONNECT_TIMEOUT", "5"),
        ("PGTARGETSESSIONATTRS", "read-write"),
        ("PGSSLMODE", "require"),
    ];
    let url = read_in("postgres://", &environment).unwrap();
    assert_eq!(url.endpoints(), [tcp("h1", 1), tcp("h2", 2)]);
    assert_eq!((url.user(), url.database(), url.application_name()), (Some("app"), Some("shop"), Some("name")));
    assert_eq!((password(&url).as_deref(), url.connect_timeout().as_secs(), url.options().len()), (Some("x"), 5, 1));
    assert_eq!((url.target_session_attrs(), url.tls().mode), (TargetSessionAttrs::ReadWrite, SslMode::Require));
    let written =
        "postgres://me:y@h:7/db?application_name=z&options=&connect_timeout=6&target_session_attrs=any&sslmode=disable";
    let url = read_in(written, &environment).unwrap();
    assert_eq!(url.endpoints(), [tcp("h", 7)]);
    assert_eq!((url.user(), url.database(), url.application_name()), (Some("me"), Some("db"), Some("z")));
    assert_eq!((password(&url).as_deref(), url.connect_timeout().as_secs(), url.options().len()), (Some("y"), 6, 0));
    assert_eq!((url.target_session_attrs(), url.tls().mode), (TargetSessionAttrs::Any, SslMode::Disable));
}

#[test]
fn a_variable_that_cannot_be_honoured_is_refused_by_its_name() {
    let refused = [
        ("PGCHANNELBINDING", "require"),
        ("PGSERVICE", "shop"),
        ("PGTARGETSESSIONATTRS", "standby"),
        ("PGCONNECT_TIMEOUT", "soon"),
        ("PGOPTIONS", "-e"),
        ("PGPORT", "5432x"),
        ("PGSSLMODE", "yes"),
    ];
    for (name, value) in refused {
        let error = read_in("postgres://h/x", &[(name, value)]).expect_err(name);
        assert!(error.starts_with(&format!("the variable `{name}` ")), "{error}");
    }
    assert!(read_in("postgres://h/x?channel_binding=prefer", &[("PGCHANNELBINDING", "require")]).is_ok());
    // libpq would go to the address, and 0.1.0 went to the host: neither is chosen in silence.
    let away = read_in("postgres://h/x", &[("PGHOSTADDR", "192.0.2.1")]).unwrap_err();
    assert!(away.starts_with("the variable `PGHOSTADDR` would lead away from the host"), "{away}");
    assert_eq!(read_in("postgres:///x", &[("PGHOSTADDR", "192.0.2.1")]).unwrap().endpoints(), [tcp("192.0.2.1", 5432)]);
}
