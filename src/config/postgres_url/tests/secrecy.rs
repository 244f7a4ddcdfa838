//! Passwords and TLS: which password counts, what is never shown, and which connections need a certificate.

use super::*;

#[test]
fn a_password_file_is_read_when_nothing_else_gives_a_password() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join(".pgpass");
    std::fs::write(&path, "h1:1:shop:app:one\n\\:\\:1:2:shop:app:two\nlocalhost:3:*:app:three\n/srv:*:*:app:four\n")
        .unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let environment = [("HOME", home.path().to_str().unwrap())];
    let parameters = "host=h1,::1,/tmp,/srv,other&port=1,2,3,4,5";
    let url = read_in(&format!("postgres://app@/shop?{parameters}"), &environment).unwrap();
    let passwords = |url: &PostgresUrl| -> Vec<Option<String>> {
        let of = |endpoint: &Endpoint| url.password(endpoint, "app").map(|secret| secret.expose().to_owned());
        url.endpoints().iter().map(of).collect()
    };
    assert_eq!(
        passwords(&url),
        ["one", "two", "three", "four", ""].map(|text| Some(text.to_owned()).filter(|text| !text.is_empty()))
    );
    let given = read_in(&format!("postgres://app:x@/shop?{parameters}"), &environment).unwrap();
    assert_eq!(passwords(&given), [const { "x" }; 5].map(|text| Some(text.to_owned())));
    // The file names the server by the host, even if the URL gives its address too.
    let named = read_in("postgres://app@h1:1/shop?hostaddr=192.0.2.1", &environment).unwrap();
    assert_eq!((named.endpoints(), passwords(&named)), (vec![tcp("192.0.2.1", 1)], vec![Some("one".to_owned())]));
}

#[test]
fn a_password_beside_the_url_precedes_the_environment_and_may_not_contradict_the_url() {
    let beside = Secret::new("hunter2");
    let parse = |url: &str, environment: &[(&str, &str)]| {
        PostgresUrl::parse(url, &environment.iter().copied().collect(), Some(&beside))
    };
    let held = |url: &str, environment: &[(&str, &str)]| password(&parse(url, environment).unwrap());
    assert_eq!(held("postgres://app@h/x", &[("PGPASSWORD", "other")]).as_deref(), Some("hunter2"));
    assert_eq!(held("postgres://app:hunter2@h/x", &[]).as_deref(), Some("hunter2"));
    for url in ["postgres://app:other1@h/x", "postgres://app@h/x?password=other1"] {
        let error = parse(url, &[]).unwrap_err();
        assert_eq!(error, "the URL and `store.password` hold different passwords; keep one of them");
    }
}

#[test]
fn the_password_is_hidden_wherever_it_stands() {
    let url =
        "postgres://app:hunter2@db.example:5432/shop?sslmode=verify-full&password=hunter2&sslcert=c&sslkey=hunter2";
    let shown = "postgres://app:***@db.example:5432/shop?sslmode=verify-full&password=***&sslcert=c&sslkey=***";
    let parsed = read(url).unwrap();
    assert_eq!([parsed.to_string(), format!("{parsed:?}")], [shown; 2]);
    assert_eq!(read("postgres://a:hun@ter:2@[::1],h/shop").unwrap().to_string(), "postgres://a:***@[::1],h/shop");
    assert_eq!(read("postgres://?p%61ssword=hunter2").unwrap().to_string(), "postgres://?password=***");
}

#[test]
fn this_machine_needs_no_tls() {
    let urls = [
        "postgres://localhost/shop",
        "postgres://app:x@127.0.0.1:5432/shop",
        "postgres://[::1]:5432/shop",
        "postgres://127.0.0.1:5432,[::1]:5433/shop",
        "postgres://%2Fvar%2Frun%2Fpostgresql/shop",
        "postgres:///shop?host=/var/run/postgresql",
        "postgres:///shop?host=db.example&hostaddr=127.0.0.1",
        "postgres:///shop",
    ];
    assert_eq!(urls.map(|url| tls(url, &[])), urls.map(|_| Ok(())));
}

#[test]
fn another_machine_needs_a_verified_certificate() {
    let modes = ["", "?sslmode=disable", "?sslmode=prefer", "?sslmode=require", "?sslmode=verify-ca"];
    assert!(modes.iter().all(|mode| tls(&format!("postgres://db.example/shop{mode}"), &[]).is_err()));
    assert_eq!(tls("postgres://db.example/shop?sslmode=verify-full", &[]), Ok(()));
    assert_eq!(tls("postgres://db.example/shop?ssl-mode=VERIFY-FULL", &[]), Ok(()));
}

#[test]
fn no_way_of_naming_a_host_escapes_the_rule() {
    let urls = [
        "postgres://localhost/shop?host=db.example",
        "postgres://localhost/shop?%68ostaddr=192.0.2.1",
        "postgres://localhost/shop?host=/tmp,db.example",
        "postgres://localhost@db.example/shop",
        "postgres://127.0.0.1,db.example/shop",
        "postgres://[::1]:1,[2001:db8::1]:2/shop",
        "postgres://[fe80::1%25lo]/shop",
        "postgres://localhost%2Cdb.example/shop",
        "postgres://db.example/shop?sslmode=verify-full&%73slmode=disable",
    ];
    for url in urls {
        assert!(tls(url, &[]).is_err(), "{url}");
    }
    assert!(tls("postgres:///shop", &[("PGHOST", "db.example")]).is_err());
    assert!(tls("postgres:///shop", &[("PGHOST", "/tmp,db.example")]).is_err());
    assert_eq!(tls("postgres:///shop", &[("PGHOST", "db.example"), ("PGSSLMODE", "verify-full")]), Ok(()));
}

#[test]
fn an_error_never_shows_the_url() {
    let broken = [
        "hunter2",
        "mysql://app:hunter2@db/shop",
        "postgres://app:hunter2@db/a b",
        "postgres://app:hunter2",
        "postgres://app:x/hunter2@db/shop",
        "postgres://app:x?hunter2=@db/shop",
        "postgres://app:5/x?hunter2=@db/shop",
        "postgres://app:[hunter2",
        "postgres://db/shop?sslpassword=hunter2",
        "postgres://app:%hunter2@db/shop",
        "postgres://db/shop?password=hunter2&sslmode=hunter2",
    ];
    for url in broken {
        let error = read(url).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
    assert!(!tls("postgres://app:hunter2@db/shop", &[]).unwrap_err().contains("hunter2"));
}
