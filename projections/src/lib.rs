//! The read models of this deployment: the example shop. Replace them with your own.

mod customer_orders;
mod order;
mod order_summary;
mod product_sales;
pub mod sample;

pub use customer_orders::CustomerOrders;
pub use order_summary::OrderSummary;
pub use product_sales::ProductSales;
use readcast_core::Registry;

/// The projections that the service runs.
pub fn registry() -> Registry {
    Registry::new().register(OrderSummary).register(CustomerOrders).register(ProductSales)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_declaration_is_sound() {
        assert_eq!(super::registry().validate(), Ok(()));
    }
}
