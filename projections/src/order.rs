//! The parts of order events that the shop's projections share. Each projection declares the fields that it reads, so
//! that a missing field is poison only for the projections that read it.

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
/// An order was refunded, completely or in part.
pub(crate) const REFUNDED: &str = "ORDER_REFUNDED";

/// One line of an order.
#[derive(Debug, Deserialize)]
pub(crate) struct Item {
    pub(crate) sku: String,
    pub(crate) quantity: i32,
    pub(crate) price: Decimal,
}

/// The additional fields of an event of type [`REFUNDED`].
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
