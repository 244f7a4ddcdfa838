//! Projections and upcasters of readcast that are written as files.

mod datum;
mod expression;
