//! The book says what the code says.

mod book;
mod cel;
mod fuzz;
mod reference;
