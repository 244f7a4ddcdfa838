use std::collections::{BTreeMap, BTreeSet};

use readcast_core::{ChangeSet, Decimal, Definition, Envelope, Model, Position, TopicPartition, Value};
use serde::Deserialize;

use super::{Orders, TOPIC};
use crate::order::{CANCELLED, Item, PAID, PLACED, REFUNDED, SHIPPED};
use crate::registry;

const EVENTS: usize = 10_000;

#[derive(Deserialize)]
struct Order {
    order_id: String,
    customer: Customer,
    items: Vec<Item>,
    total_amount: Decimal,
    refund_amount: Option<Decimal>,
}

#[derive(Deserialize)]
struct Customer {
    id: String,
}

fn position(offset: usize) -> Position {
    TopicPartition::new(TOPIC, 0).at(offset.try_into().expect("a small offset"))
}

fn sample() -> Vec<(String, Envelope<'static>)> {
    let decoded = |(offset, (key, json)): (usize, (String, String))| {
        // Leaks the text, so that the event may borrow it for the whole test.
        let json = json.leak();
        let event = Envelope::from_plain_json(position(offset), None, json.as_bytes());
        (key, event.unwrap_or_else(|error| panic!("{error}: {json}")))
    };
    Orders::new(7).take(EVENTS).enumerate().map(decoded).collect()
}

fn order(event: &Envelope<'_>) -> Order {
    event.data().unwrap_or_else(|error| panic!("{error}: {event:?}"))
}

#[test]
fn one_seed_gives_one_stream() {
    let stream = |seed, skipped| Orders::new(seed).skip(skipped).take(100).collect::<Vec<_>>();
    assert_eq!(stream(7, 50), stream(7, 50));
    assert_eq!(stream(7, 0)[50..], stream(7, 50)[..50]);
    assert_ne!(stream(7, 0), stream(8, 0));
}

#[test]
fn totals_are_the_sums_of_the_items_and_refunds_do_not_exceed_them() {
    for (key, event) in sample() {
        let order = order(&event);
        let add = |sum: Decimal, item: &Item| sum.checked_add(item.revenue().expect("revenue"));
        assert_eq!(order.items.iter().try_fold(Decimal::ZERO, add), Ok(order.total_amount));
        assert!((1..=4).contains(&order.items.len()));
        assert_eq!(order.order_id, key);
        let refund = order.refund_amount;
        assert_eq!(refund.is_some(), event.event_type == REFUNDED);
        assert!(refund.is_none_or(|refund| refund > Decimal::ZERO && refund <= order.total_amount));
    }
}

#[test]
fn ids_are_unique_and_timestamps_increase() {
    let sample = sample();
    let ids: BTreeSet<_> = sample.iter().map(|(_, event)| &event.event_id).collect();
    assert_eq!(ids.len(), EVENTS);
    assert!(sample.windows(2).all(|pair| pair[0].1.timestamp < pair[1].1.timestamp));
    assert_eq!(sample[0].1.timestamp.to_string(), "2024-05-20T00:00:00.000000Z");
}

#[test]
fn every_order_has_a_valid_sequence_of_events_and_many_interleave() {
    let legal = [
        (None, PLACED),
        (Some(PLACED), PAID),
        (Some(PLACED), CANCELLED),
        (Some(PAID), SHIPPED),
        (Some(PAID), CANCELLED),
        (Some(SHIPPED), REFUNDED),
    ];
    let sample = sample();
    let mut last = BTreeMap::<&str, &str>::new();
    let mut counts = BTreeMap::<&str, usize>::new();
    for (key, event) in &sample {
        let step = (last.insert(key, &event.event_type), &*event.event_type);
        assert!(legal.contains(&step), "{key}: {step:?}");
        *counts.entry(step.1).or_default() += 1;
    }
    assert!(counts[PAID] > 5 * counts[CANCELLED] && counts[SHIPPED] > 5 * counts[REFUNDED], "{counts:?}");
    assert!(counts[CANCELLED] > 100 && counts[REFUNDED] > 100, "{counts:?}");
    let switches = sample.windows(2).filter(|pair| pair[0].0 != pair[1].0).count();
    assert!(switches > EVENTS * 9 / 10, "the events of only {switches} pairs interleave");
}

#[test]
fn a_few_products_sell_most_and_nearly_all_customers_order() {
    let mut units = BTreeMap::<String, i32>::new();
    let mut customers = BTreeSet::new();
    for (_, event) in sample() {
        let order = order(&event);
        customers.insert(order.customer.id);
        order.items.into_iter().for_each(|item| *units.entry(item.sku).or_default() += item.quantity);
    }
    let mut sold: Vec<i32> = units.into_values().collect();
    sold.sort_unstable();
    let (few, all): (i32, i32) = (sold.iter().rev().take(20).sum(), sold.iter().sum());
    assert!(sold.len() > 150 && few * 3 > all, "{} products, {few} of {all} units", sold.len());
    assert!(customers.len() > 900);
}

#[test]
fn a_shop_has_the_requested_number_of_products() {
    let skus = |orders: Orders| -> BTreeSet<String> {
        let decoded =
            |(_, json): (String, String)| Envelope::from_plain_json(position(0), None, json.leak().as_bytes());
        let events = orders.take(EVENTS).map(|record| decoded(record).expect("an event"));
        events.flat_map(|event| order(&event).items).map(|item| item.sku).collect()
    };
    assert_eq!(Orders::new(7).products(200).nth(50), Orders::new(7).nth(50), "the default is 200");
    assert_eq!(skus(Orders::new(7).products(1)).len(), 1);
    let thousand = skus(Orders::new(7).products(1_000));
    assert!(thousand.len() > 900 && thousand.len() <= 1_000, "{} products", thousand.len());
}

#[test]
fn every_event_is_projectable_and_the_totals_balance() {
    let tables: Vec<Model> = registry().definitions().iter().map(projected).collect();
    let sum = |model: usize, column: usize| -> Decimal {
        let rows = tables[model].rows(0).values();
        let amounts = rows.map(|row| match row[column] {
            Value::Decimal(amount) => amount,
            _ => panic!("column {column} holds no amounts"),
        });
        amounts.fold(Decimal::ZERO, |sum, amount| sum.checked_add(amount).expect("a small sum"))
    };
    let (refunded, spent, revenue) = (sum(0, 5), sum(1, 2), sum(2, 1));
    assert!(spent > Decimal::ZERO);
    assert_eq!(spent.checked_add(refunded), Ok(revenue));
}

fn projected(definition: &Definition) -> Model {
    let mut changes = ChangeSet::new();
    for (_, event) in sample() {
        if definition.subscribes(&event.event_type) {
            let made = definition.project(&event).unwrap_or_else(|error| panic!("{error}: {event:?}"));
            made.into_iter().for_each(|change| changes.push(change, definition.tables()));
        }
    }
    let mut model = Model::new(definition.tables().to_vec());
    model.apply(&changes).expect("numbers in range");
    model
}
