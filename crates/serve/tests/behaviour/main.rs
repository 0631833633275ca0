//! The server's behaviour, over the network, around an engine without a model. One program, as
//! linking takes longer than all of these tests.

mod chat;
mod completions;
mod endpoints;
mod harness;
mod protection;
mod robustness;
