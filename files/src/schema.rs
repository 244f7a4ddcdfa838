//! The JSON Schema of projections as files, for editors that complete and check TOML by one.

use serde_json::{Map, Value, json};

use crate::projection::{ACTIONS, OPERATIONS, TYPES};

/// The interface of components, in the language WIT.
pub const WIT: &str = include_str!("../wit/projection.wit");

/// The JSON Schema of `NAME.toml`, in the dialect 2020-12.
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A projection of readcast",
        "type": "object",
        "additionalProperties": false,
        "required": ["topics", "tables"],
        "oneOf": [{ "required": ["on"], "not": { "required": ["events"] } }, { "required": ["wasm", "events"] }],
        "properties": {
            "description": text("What the projection is for."),
            "revision": { "description": "No effect but to make the file declare something else." },
            "topics": texts("The topics that are read; `*` stands for any text."),
            "ignore": texts("Event types that are left out on purpose; `*` for all others."),
            "tables": {
                "description": "The tables, by their names.",
                "type": "object",
                "minProperties": 1,
                "propertyNames": { "pattern": "^[a-z_][a-z0-9_]*$" },
                "additionalProperties": table(),
            },
            "upcast": list_of(upcast()),
            "on": list_of(rule()),
            "events": texts("With `wasm`: the types of events that the component projects."),
            "wasm": wasm(),
        },
    })
}

fn wasm() -> Value {
    let number = |description: &str| json!({ "description": description, "type": "integer", "minimum": 1 });
    json!({
        "description": "A WebAssembly component that projects in place of rules: its file, relative to this one.",
        "anyOf": [
            { "type": "string" },
            {
                "type": "object",
                "additionalProperties": false,
                "required": ["file"],
                "properties": {
                    "file": text("The file of the component."),
                    "fuel_per_event": number("How much an event may compute, in units of about an instruction."),
                    "memory_mib": number("How much memory an instance may have, in MiB."),
                },
            },
        ],
    })
}

fn text(description: &str) -> Value {
    json!({ "description": description, "type": "string" })
}

/// A text, or a list of texts.
fn texts(description: &str) -> Value {
    json!({ "description": description, "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
}

fn list_of(item: Value) -> Value {
    json!({ "anyOf": [item, { "type": "array", "items": item }] })
}

fn expressions(description: &str) -> Value {
    json!({ "description": description, "type": "object", "additionalProperties": { "type": "string" } })
}

fn table() -> Value {
    let types = TYPES.map(|name| name.replace("(2)", r"\([0-9]+\)")).join("|");
    let joins = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["on", "table", "columns"],
        "properties": {
            "on": texts("The columns that hold the key of the other table."),
            "table": text("The other table."),
            "columns": texts("Its columns, `COLUMN` or `COLUMN as NAME`."),
        },
    });
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["key", "columns"],
        "properties": {
            "description": text("What a row stands for."),
            "key": texts("The columns of the key, in their order."),
            "columns": {
                "description": "The columns: `TYPE`, `TYPE null` or `TYPE default VALUE`.",
                "type": "object",
                "additionalProperties": { "type": "string", "pattern": format!(r"^\s*({types})(\s+([nN][uU][lL][lL]|[dD][eE][fF][aA][uU][lL][tT]\s+.+))?\s*$") },
            },
            "indexes": { "description": "Secondary indexes: a column or a list of columns each.", "anyOf": [{ "type": "string" }, { "type": "array" }] },
            "newer_by": { "description": "The two columns that `newer` compares.", "type": "array", "items": { "type": "string" }, "minItems": 2, "maxItems": 2 },
            "storage": { "description": "Storage parameters of Postgres.", "type": "object" },
            "references": list_of(json!({
                "type": "object",
                "additionalProperties": false,
                "required": ["columns", "table", "copy"],
                "properties": {
                    "columns": texts("The columns that hold the key of the other table."),
                    "table": text("The other table, which is declared before this one."),
                    "copy": expressions("The copied columns, each with the column of the other table."),
                },
            })),
            "views": list_of(json!({
                "type": "object",
                "additionalProperties": false,
                "required": ["name", "columns"],
                "properties": {
                    "name": text("The name that readers use."),
                    "columns": texts("Columns of this table, `COLUMN` or `COLUMN as NAME`."),
                    "joins": list_of(joins),
                },
            })),
        },
    })
}

fn rule() -> Value {
    let mut properties = Map::new();
    let mut add = |name: &str, schema: Value| drop(properties.insert(name.to_owned(), schema));
    add("description", text("What the rule is for."));
    add("event", texts("The types of events that the rule is for."));
    add("when", text("A condition: an expression that is true or false."));
    add("foreach", text("A list: the rule is for each `item`, with its number `index` from 0."));
    add("key", texts("The key of the row: an expression for each column of it."));
    add("where", expressions("With `update_where`: the column that selects rows, and its value."));
    for action in ACTIONS {
        add(action, text("The table that is changed."));
    }
    for (operation, _) in OPERATIONS {
        add(operation, expressions("Columns, each with an expression."));
    }
    let one_action: Vec<Value> = ACTIONS.iter().map(|action| json!({ "required": [action] })).collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["event"],
        "oneOf": one_action,
        "properties": properties,
    })
}

fn upcast() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["event", "from"],
        "properties": {
            "description": text("What changed between the versions."),
            "event": text("The type of the events."),
            "from": { "description": "The version from which events are brought to the next one.", "type": "integer", "minimum": 0 },
            "rename": { "description": "Paths of fields, each with the path to which it moves.", "type": "object" },
            "default": { "description": "Fields that get a value if they have none, each with an expression.", "type": "object" },
            "set": { "description": "Fields that get a value, each with an expression.", "type": "object" },
            "remove": texts("Paths of fields that are removed."),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validator() -> jsonschema::Validator {
        jsonschema::validator_for(&schema()).expect("a schema")
    }

    fn as_json(text: &str) -> Value {
        let table: toml::Table = toml::from_str(text).expect("TOML");
        serde_json::to_value(table).expect("JSON")
    }

    #[test]
    fn the_examples_meet_the_schema() {
        let validator = validator();
        for text in [
            include_str!("../../projections/shop/order_summary.toml"),
            include_str!("../../projections/shop/customer_orders.toml"),
            include_str!("../../projections/shop/product_sales.toml"),
            include_str!("../../projections/bank/bank.toml"),
        ] {
            let errors: Vec<String> = validator.iter_errors(&as_json(text)).map(|error| error.to_string()).collect();
            assert_eq!(errors, Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn what_the_loader_refuses_by_its_form_does_not_meet_the_schema() {
        let (validator, valid) = (validator(), include_str!("../../projections/shop/customer_orders.toml"));
        for (part, other) in [
            ("topics = ", "topic = "),
            ("\"i64 default 0\"", "\"int default 0\""),
            ("\"timestamp null\"", "\"timestamp nil\""),
            ("key = \"customer_id\"", ""),
            ("upsert = \"customer_orders\"", "upsert = \"customer_orders\"\ndelete = \"customer_orders\""),
            ("upsert = \"customer_orders\"", ""),
            ("add.orders = \"1\"", "add.orders = 1"),
            ("add.orders", "plus.orders"),
        ] {
            let text = valid.replacen(part, other, 1);
            assert!(text != valid && !validator.is_valid(&as_json(&text)), "{other}");
            assert!(crate::FileProjection::load("customer_orders.toml", &text).is_err(), "{other}");
        }
    }
}
