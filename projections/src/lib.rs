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

/// The shop's projections as files: names and texts.
pub const FILES: [(&str, &str); 3] = [
    ("order_summary.toml", include_str!("../shop/order_summary.toml")),
    ("customer_orders.toml", include_str!("../shop/customer_orders.toml")),
    ("product_sales.toml", include_str!("../shop/product_sales.toml")),
];

#[cfg(test)]
mod tests;
