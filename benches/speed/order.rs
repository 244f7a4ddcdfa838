//! Parses the shop's events without readcast.

use std::str::FromStr;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use sqlx::types::chrono::{DateTime, Utc};

#[derive(Deserialize)]
pub(crate) struct Event<'a> {
    #[serde(rename = "type")]
    pub(crate) event_type: &'a str,
    pub(crate) timestamp: DateTime<Utc>,
    #[serde(borrow)]
    pub(crate) data: Order<'a>,
}

#[derive(Deserialize)]
pub(crate) struct Order<'a> {
    pub(crate) order_id: &'a str,
    #[serde(borrow)]
    pub(crate) customer: Customer<'a>,
    #[serde(borrow)]
    pub(crate) items: Vec<Item<'a>>,
    #[serde(deserialize_with = "exact")]
    pub(crate) total_amount: Decimal,
    #[serde(default, deserialize_with = "exact")]
    pub(crate) refund_amount: Decimal,
}

#[derive(Deserialize)]
pub(crate) struct Customer<'a> {
    pub(crate) id: &'a str,
    pub(crate) email: &'a str,
}

#[derive(Deserialize)]
pub(crate) struct Item<'a> {
    pub(crate) sku: &'a str,
    pub(crate) quantity: i32,
    #[serde(deserialize_with = "exact")]
    pub(crate) price: Decimal,
}

impl Event<'_> {
    pub(crate) fn status(&self) -> &'static str {
        match self.event_type {
            "ORDER_PLACED" => "placed",
            "ORDER_PAID" => "paid",
            "ORDER_SHIPPED" => "shipped",
            "ORDER_CANCELLED" => "cancelled",
            "ORDER_REFUNDED" => "refunded",
            other => panic!("`{other}` is no event of an order"),
        }
    }

    pub(crate) fn item_count(&self) -> i64 {
        self.data.items.iter().map(|item| i64::from(item.quantity)).sum()
    }

    /// When the order was placed, if this event places it.
    pub(crate) fn placed_at(&self) -> Option<DateTime<Utc>> {
        (self.event_type == "ORDER_PLACED").then_some(self.timestamp)
    }

    /// Whether this event replaces the lines of the order: placing sets them, cancelling removes them.
    pub(crate) fn lines(&self) -> Option<&[Item<'_>]> {
        match self.event_type {
            "ORDER_PLACED" => Some(&self.data.items),
            "ORDER_CANCELLED" => Some(&[]),
            _ => None,
        }
    }
}

/// Parses a number exactly, never as a float.
fn exact<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    let number = <&RawValue>::deserialize(deserializer)?;
    Decimal::from_str(number.get()).map_err(serde::de::Error::custom)
}
