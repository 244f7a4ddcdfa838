//! Order events of a plausible shop, for demonstrations, tests and benchmarks. A seed gives the same events on every
//! machine.

use std::fmt::Write as _;

use readcast_core::Timestamp;
use readcast_core::testing::SplitMix64;

pub use crate::order::TOPIC;
use crate::order::{CANCELLED, PAID, PLACED, REFUNDED, SHIPPED};

const CUSTOMERS: u64 = 1_000;
const PRODUCTS: u64 = 200;
const MOST_OPEN_ORDERS: u64 = 100;
const MICROS_PER_EVENT: i64 = 1_000_000;
/// The time of the first event: 2024-05-20T00:00:00Z in microseconds.
const FIRST_EVENT_MICROS: i64 = 1_716_163_200_000_000;

/// An endless stream of events, each as its record key (the order's id) and its JSON text.
///
/// Event `n`, from 1, has the id `evt_n` and the timestamp 2024-05-20T00:00:00Z plus `n - 1` seconds. Many orders are
/// open at once and their events interleave. The events of one order are in a valid order.
///
/// ```
/// use readcast_projections::sample::Orders;
///
/// let (key, event) = Orders::new(7).next().expect("endless");
/// assert_eq!(key, "ord_1");
/// assert!(event.starts_with(r#"{"event_id":"evt_1","type":"ORDER_PLACED""#));
/// ```
#[derive(Clone, Debug)]
pub struct Orders {
    random: SplitMix64,
    products: u64,
    events: i64,
    placed: u64,
    open: Vec<Order>,
}

/// An order that may have further events.
#[derive(Clone, Debug)]
struct Order {
    number: u64,
    last: &'static str,
    /// The fields of the event's data, the same in every event of the order.
    data: String,
    total_cents: u64,
}

impl Orders {
    /// The stream of the seed `seed`, from its first event.
    pub fn new(seed: u64) -> Self {
        Self { random: SplitMix64::new(seed), products: PRODUCTS, events: 0, placed: 0, open: Vec::new() }
    }

    /// The same stream with `products` products, at least one, instead of 200. The first products are the most popular.
    #[must_use]
    pub fn products(self, products: u32) -> Self {
        Self { products: products.max(1).into(), ..self }
    }

    /// Chooses the order of the next event: a new one or an open one.
    fn pick(&mut self) -> Order {
        let open = self.open.len() as u64;
        if self.random.below(MOST_OPEN_ORDERS) >= open {
            return self.place();
        }
        let place = self.random.below(open) as usize;
        let mut order = self.open.swap_remove(place);
        order.last = self.happens_after(order.last);
        order
    }

    fn place(&mut self) -> Order {
        self.placed += 1;
        let customer = 1 + self.random.below(CUSTOMERS);
        let mut data = format!(
            r#""order_id":"ord_{}","customer":{{"id":"cust_{customer}","email":"cust_{customer}@example.com"}},"items":["#,
            self.placed
        );
        let total_cents = self.write_items(&mut data);
        let _ = write!(data, r#"],"total_amount":{}"#, money(total_cents));
        Order { number: self.placed, last: PLACED, data, total_cents }
    }

    /// Writes one to four items and returns their total price in cents.
    fn write_items(&mut self, data: &mut String) -> u64 {
        let items = 1 + self.random.below(4);
        let mut total_cents = 0;
        for item in 0..items {
            // The product of two random numbers is mostly small, so the first products are by far the most popular.
            let product = self.random.below(self.products) * self.random.below(self.products) / self.products;
            let (quantity, cents) = (1 + self.random.below(3), price_cents(product));
            let comma = if item == 0 { "" } else { "," };
            let (sku, price) = (product + 1, money(cents));
            let _ = write!(data, r#"{comma}{{"sku":"PROD-{sku:03}","quantity":{quantity},"price":{price}}}"#);
            total_cents += quantity * cents;
        }
        total_cents
    }

    /// The type of the next event. Most orders are paid and shipped, some are cancelled before shipping, some are
    /// refunded after it.
    fn happens_after(&mut self, last: &str) -> &'static str {
        let cancelled = self.random.below(100) < 6;
        match last {
            PLACED if !cancelled => PAID,
            PAID if !cancelled => SHIPPED,
            SHIPPED => REFUNDED,
            _ => CANCELLED,
        }
    }

    fn stays_open(&mut self, order: &Order) -> bool {
        match order.last {
            PLACED | PAID => true,
            SHIPPED => self.random.below(100) < 8,
            _ => false,
        }
    }

    /// The total of the order or a part of it, in cents.
    fn refund_cents(&mut self, order: &Order) -> u64 {
        if self.random.below(2) == 0 { order.total_cents } else { 1 + self.random.below(order.total_cents) }
    }

    fn event(&mut self, order: &Order, time: Timestamp) -> String {
        let Order { number, last, data, .. } = order;
        let mut event = String::with_capacity(data.len() + 200);
        let _ = write!(
            event,
            r#"{{"event_id":"evt_{}","type":"{last}","version":1,"timestamp":"{time}","correlation_id":"c-{number}","data":{{{data}"#,
            self.events
        );
        if *last == REFUNDED {
            let _ = write!(event, r#","refund_amount":{}"#, money(self.refund_cents(order)));
        }
        event.push_str("}}");
        event
    }
}

impl Iterator for Orders {
    type Item = (String, String);

    fn next(&mut self) -> Option<Self::Item> {
        let time = Timestamp::from_micros(FIRST_EVENT_MICROS + self.events * MICROS_PER_EVENT)?;
        self.events += 1;
        let order = self.pick();
        let record = (format!("ord_{}", order.number), self.event(&order, time));
        if self.stays_open(&order) {
            self.open.push(order);
        }
        Some(record)
    }
}

/// The price of a product in cents, from 100 to 9999, always the same for one product.
fn price_cents(product: u64) -> u64 {
    100 + (product * 7_919 + 4_899) % 9_900
}

/// Displays cents as a JSON number with two decimals.
fn money(cents: u64) -> impl std::fmt::Display {
    std::fmt::from_fn(move |f| write!(f, "{}.{:02}", cents / 100, cents % 100))
}

#[cfg(test)]
mod tests;
