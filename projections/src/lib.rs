//! The read models of two examples: a shop, whose projections the service runs, and a [`bank`]. A team replaces them with
//! its own.

pub mod bank;
mod customer_orders;
mod order;
mod order_summary;
mod product_sales;
pub mod sample;

pub use customer_orders::CustomerOrders;
pub use order_summary::OrderSummary;
pub use product_sales::ProductSales;
use readcast_core::Registry;

/// The registry of the projections that the service runs.
pub fn registry() -> Registry {
    Registry::new().register(OrderSummary).register(CustomerOrders).register(ProductSales)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_declaration_is_valid() {
        assert_eq!(super::registry().validate(), Ok(()));
        assert_eq!(super::bank::registry().validate(), Ok(()));
    }
}
