//! Runs over time: what was evaluated when, how well it reasoned and what it cost, in a small
//! database that any number of runs add to, and a page with the trends.
//!
//! Reading order: [`entry`] (a row), [`store`] (the database), `table`, `page`.

pub mod entry;
mod page;
pub mod store;
mod table;

pub use entry::Entry;
pub use store::History;
