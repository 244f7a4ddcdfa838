//! The exact text of errors, with their places.

use super::*;

#[test]
fn errors_of_the_file_name_line_and_column() {
    let cases = [
        ("[projector]\n\n\n\n\n\nbacth_records = 1", "7:1: unknown key `bacth_records`; did you mean `batch_records`?"),
        ("[sorce]\nkind = 'kafka'", "1:2: unknown section `sorce`; did you mean `source`?"),
        ("store = 'x'", "1:9: `store` must be a section, found `x`"),
        (
            "lanes = 2",
            "1:1: unknown key `lanes`; there are `source`, `store`, `admin`, `registry`, `projector`, `projections`, `topics`",
        ),
        ("[source]\nkind = 'kafak'", "2:8: `source.kind` must be `kafka` or `file` or `url`, found `kafak`"),
        ("[projector]\n  lanes = 0", "2:11: `projector.lanes` must be a whole number of lanes from 1 to 64, found `0`"),
        (
            "[projector]\nlanes = 1.5",
            "2:9: `projector.lanes` must be a whole number of lanes from 1 to 64, found a number with a fraction",
        ),
        (
            "[projector]\nbatch_bytes = '8 M'",
            "2:15: `projector.batch_bytes` must be a number of bytes or a size like `8 MiB`, from 1 KiB to 1 GiB, found \
             `8 M`",
        ),
        (
            "[projector]\nstandby_seconds = 2592001",
            "2:19: `projector.standby_seconds` must be a whole number of seconds from 0 to 2592000, found `2592001`",
        ),
        (
            "[projector]\nswap_lock_timeout_ms = 9",
            "2:24: `projector.swap_lock_timeout_ms` must be a whole number of milliseconds from 10 to 10000, found `9`",
        ),
        (
            "[projector]\nmax_row_loss_percent = 101",
            "2:24: `projector.max_row_loss_percent` must be a whole number of percent from 0 to 100, found `101`",
        ),
        ("[projections.order_sumary]", "1:14: unknown projection `order_sumary`; did you mean `order_summary`?"),
        ("[projections.order_summary]\nlane = 1", "2:1: unknown key `lane`; did you mean `lanes`?"),
        ("[admin]\ntoken = 1234", "2:9: `admin.token` must be a text in quotes, found an integer"),
        ("[admin]\ntoken = ''", "2:9: `admin.token` must not be empty"),
        (
            "[admin]\nlisten = 'localhost'",
            "2:10: `admin.listen` must be an address and a port, like `127.0.0.1:8088`, found `localhost`",
        ),
        ("[store]\nschema = 'a-b'", "2:10: `store.schema` must be a name of letters, digits and `_`, found `a-b`"),
        (
            "[store]\nschema = 'readcast_tables'",
            "2:10: `store.schema` is `readcast_tables`, where readcast keeps tables of its own: name the schema that \
             readers look in, like `public`",
        ),
        ("[store]\nurl = 'hunter2'", "2:7: must be `postgres://…` or `sqlite:PATH`"),
        ("[store]\nurl = 'sqlite::memory:'", "2:7: `sqlite::memory:` keeps nothing; name a file"),
        (
            "[source.properties]\n'plugin.library.paths' = 'x'",
            "2:1: property `plugin.library.paths` is refused: it loads code into the process",
        ),
    ];
    for (file, expected) in cases {
        assert_eq!(Layers::file(file).error(), format!("readcast.toml:{expected}"));
    }
}

#[test]
fn the_schemas_of_readcast_are_refused_for_readers() {
    for (schema, named) in [("readcast", true), ("readcast_tables", true), ("readcast_views", false), ("public", false)]
    {
        let error = Layers::file("").environment([("READCAST_STORE_SCHEMA", schema)]).load().err();
        assert_eq!(error.is_some_and(|error| error.to_string().contains(schema)), named, "{schema}");
    }
    let expected = "readcast.toml:2:10: `store.schema` is `pg_catalog`, where Postgres keeps tables of its own: name the \
                    schema that readers look in, like `public`";
    assert_eq!(Layers::file("[store]\nschema = 'pg_catalog'").error(), expected);
}

#[test]
fn an_address_for_other_machines_needs_a_token() {
    let file = "[admin]\nlisten = '0.0.0.0:9000'";
    let expected = "readcast.toml:2:10: `admin.listen` is `0.0.0.0:9000`, which other machines can reach: \
                    set `admin.token`, or listen on `127.0.0.1:9000`";
    assert_eq!(Layers::file(file).error(), expected);
    assert!(Layers::file(file).environment([("READCAST_ADMIN_TOKEN", "")]).load().is_err());
    assert!(Layers::file(file).environment([("READCAST_ADMIN_TOKEN", "x")]).load().is_ok());
    assert!(Layers::file("[admin]\nlisten = '[::1]:9000'").load().is_ok());
}

#[test]
fn another_machine_is_reached_over_tls_unless_insecure_is_set() {
    let url = "postgres://app:hunter2@db.example/shop";
    let expected = "READCAST_STORE_URL: `db.example` is not this machine: add `sslmode=verify-full` to the URL's \
                    parameters, or write `insecure = true` under `[store]` to send rows and password where others may \
                    read them";
    assert_eq!(Layers::default().environment([("READCAST_STORE_URL", url)]).error(), expected);
    let insecure = Layers::file("[store]\ninsecure = true").environment([("READCAST_STORE_URL", url)]).load().unwrap();
    assert_eq!(store_url(&insecure), "postgres://app:***@db.example/shop");
    assert!(format!("{insecure:?}").contains("postgres://app:***@db.example/shop"));
}

#[test]
fn values_must_suit_one_another() {
    let small = "[projections.order_summary]\nbuffer_bytes = '1 MiB'";
    assert!(
        Layers::file(small).error().starts_with("projection `order_summary`: `buffer_bytes` (1048576) must not be")
    );
    let shared = "[projections.order_summary]\ngroup = 'readcast.product_sales'";
    let expected = "projections `order_summary` and `product_sales` share the group `readcast.product_sales`: ";
    assert!(Layers::file(shared).error().starts_with(expected));
    let nowhere = "`source.kind` is `file`, and `source.path` names no directory";
    assert_eq!(Layers::file("[source]\nkind = 'file'").error(), nowhere);
}

#[test]
fn a_file_that_was_named_must_exist() {
    let named = [("READCAST_CONFIG", "/no/such/readcast.toml")];
    let error = Config::load(&Overrides::default(), &named.into_iter().collect(), &REGISTERED).unwrap_err().to_string();
    assert!(error.starts_with("/no/such/readcast.toml: can't be read: "), "{error}");
    assert!(Config::load(&Overrides::default(), &Environment::default(), &REGISTERED).is_ok());
}
