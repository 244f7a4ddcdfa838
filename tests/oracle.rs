//! Computes the shop's tables from its log independently: loops over maps, with money in whole cents. It shares no code
//! with the projections, the fold or the stores.

use std::collections::BTreeMap;

use serde_json::Value;

/// The rows of each table as texts, columns separated by `|`, in the order of their keys.
pub(crate) type Tables = BTreeMap<&'static str, Vec<String>>;

#[derive(Default)]
struct Oracle {
    orders: BTreeMap<String, Order>,
    lines: BTreeMap<(String, usize), String>,
    customers: BTreeMap<String, Customer>,
    products: BTreeMap<String, (i64, i64)>,
}

#[derive(Default)]
struct Order {
    customer: String,
    status: &'static str,
    items: i64,
    total: i64,
    refunded: i64,
    placed_at: Option<String>,
    updated_at: String,
}

#[derive(Default)]
struct Customer {
    orders: i64,
    cancelled: i64,
    spent: i64,
    last_order_at: Option<String>,
}

/// The tables after these events. The events of each order must be in order.
pub(crate) fn tables<E: AsRef<str>>(events: impl IntoIterator<Item = E>) -> Tables {
    let mut oracle = Oracle::default();
    for event in events {
        oracle.take(&serde_json::from_str(event.as_ref()).expect("an event is JSON"));
    }
    oracle.tables()
}

impl Oracle {
    fn take(&mut self, event: &Value) {
        let status = match event["type"].as_str().expect("a type") {
            "ORDER_PLACED" => "placed",
            "ORDER_PAID" => "paid",
            "ORDER_SHIPPED" => "shipped",
            "ORDER_CANCELLED" => "cancelled",
            "ORDER_REFUNDED" => "refunded",
            _ => return,
        };
        let data = &event["data"];
        let at = text(&event["timestamp"]);
        let at = if at.contains('.') { at } else { at.replace('Z', ".000000Z") };
        let id = text(&data["order_id"]);
        let items = data["items"].as_array().expect("items");
        let total = cents(&data["total_amount"]);
        let refund = if status == "refunded" { cents(&data["refund_amount"]) } else { 0 };

        let order = self.orders.entry(id.clone()).or_default();
        order.customer = format!("{}|{}", text(&data["customer"]["id"]), text(&data["customer"]["email"]));
        order.status = status;
        order.items = items.iter().map(|item| item["quantity"].as_i64().expect("a quantity")).sum();
        order.total = total;
        order.refunded += refund;
        order.updated_at.clone_from(&at);

        let customer = self.customers.entry(text(&data["customer"]["id"]));
        match status {
            "placed" => {
                order.placed_at = Some(at.clone());
                forget_lines(&mut self.lines, &id);
                for (place, item) in items.iter().enumerate() {
                    let line = format!("{}|{}|{}", text(&item["sku"]), item["quantity"], money(cents(&item["price"])));
                    self.lines.insert((id.clone(), place + 1), line);
                }
                let customer = customer.or_default();
                customer.orders += 1;
                customer.spent += total;
                customer.last_order_at = customer.last_order_at.take().max(Some(at));
                self.sell(items, 1);
            }
            "cancelled" => {
                forget_lines(&mut self.lines, &id);
                let customer = customer.or_default();
                customer.cancelled += 1;
                customer.spent -= total;
                self.sell(items, -1);
            }
            "refunded" => customer.or_default().spent -= refund,
            _ => {}
        }
    }

    fn sell(&mut self, items: &[Value], sign: i64) {
        for item in items {
            let quantity = item["quantity"].as_i64().expect("a quantity");
            let (units, revenue) = self.products.entry(text(&item["sku"])).or_default();
            *units += sign * quantity;
            *revenue += sign * quantity * cents(&item["price"]);
        }
    }

    fn tables(self) -> Tables {
        let null = |value: Option<String>| value.unwrap_or_else(|| "null".into());
        let orders = self.orders.into_iter().map(|(id, order)| {
            let Order { customer, status, items, total, refunded, placed_at, updated_at } = order;
            let (total, refunded) = (money(total), money(refunded));
            format!("{id}|{customer}|{status}|{items}|{total}|{refunded}|{}|{updated_at}", null(placed_at))
        });
        let lines = self.lines.into_iter().map(|((order, number), line)| format!("{order}|{number}|{line}"));
        let customers = self.customers.into_iter().map(|(id, customer)| {
            let Customer { orders, cancelled, spent, last_order_at } = customer;
            format!("{id}|{orders}|{cancelled}|{}|{}", money(spent), null(last_order_at))
        });
        let products =
            self.products.into_iter().map(|(sku, (units, revenue))| format!("{sku}|{units}|{}", money(revenue)));
        let tables = BTreeMap::from([
            ("order_summary", orders.collect::<Vec<_>>()),
            ("order_lines", lines.collect()),
            ("customer_orders", customers.collect()),
            ("product_sales", products.collect()),
        ]);
        tables.into_iter().map(|(table, rows)| (table, sorted(rows))).collect()
    }
}

fn forget_lines(lines: &mut BTreeMap<(String, usize), String>, order: &str) {
    let last = lines.range((order.to_owned(), 0)..).take_while(|((other, _), _)| other == order).count();
    (1..=last).for_each(|line| drop(lines.remove(&(order.to_owned(), line))));
}

/// Sorts rows independently of the database's collation.
pub(crate) fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// The amount in cents. Exact: the error of a 64-bit float is far below half a cent for all amounts of the tests.
pub(crate) fn cents(value: &Value) -> i64 {
    (value.as_f64().expect("a number") * 100.0).round() as i64
}

pub(crate) fn money(cents: i64) -> String {
    format!("{}{}.{:02}", if cents < 0 { "-" } else { "" }, cents.abs() / 100, cents.abs() % 100)
}

/// Checks that two sets of tables are equal. On a difference it prints a few rows instead of millions.
#[track_caller]
pub(crate) fn assert_same(found: &Tables, expected: &Tables) {
    for (table, expected) in expected {
        let found = &found[table];
        let only = |these: &[String], those: &[String]| -> Vec<String> {
            let those: std::collections::BTreeSet<_> = those.iter().collect();
            these.iter().filter(|row| !those.contains(row)).take(5).cloned().collect()
        };
        assert!(
            found == expected,
            "`{table}` has {} rows, expected are {}\nonly found: {:#?}\nonly expected: {:#?}",
            found.len(),
            expected.len(),
            only(found, expected),
            only(expected, found)
        );
    }
}
