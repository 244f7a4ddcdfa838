//! What the shop's projections share of an order's events. Each names for itself the fields that it reads, so that a
//! field which is missing is poison only to those that look at it.

use readcast_core::{Decimal, DecimalError};
use serde::Deserialize;

/// The topic of the shop's order events.
pub const TOPIC: &str = "orders";

/// An order was placed.
pub(crate) const PLACED: &str = "ORDER_PLACED";
/// An order was paid.
pub(crate) const PAID: &str = "ORDER_PAID";
/// An order was shipped.
pub(crate) const SHIPPED: &str = "ORDER_SHIPPED";
/// An order was cancelled.
pub(crate) const CANCELLED: &str = "ORDER_CANCELLED";
/// A part of an order, or all of it, was paid back.
pub(crate) const REFUNDED: &str = "ORDER_REFUNDED";

/// One line of an order.
#[derive(Debug, Deserialize)]
pub(crate) struct Item {
    pub(crate) sku: String,
    pub(crate) quantity: i32,
    pub(crate) price: Decimal,
}

/// What an event of type [`REFUNDED`] carries besides the order.
#[derive(Debug, Deserialize)]
pub(crate) struct Refund {
    pub(crate) refund_amount: Decimal,
}

impl Item {
    /// Quantity × price, exactly.
    pub(crate) fn revenue(&self) -> Result<Decimal, DecimalError> {
        self.price.checked_mul(i64::from(self.quantity))
    }
}
