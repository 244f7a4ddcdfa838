//! The book says what the code says.

mod book;
mod fuzz;
mod reference;
