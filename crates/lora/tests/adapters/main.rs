//! Adapters on a whole decoder: PEFT's files, training, merging, and what is refused.

mod bad_input;
mod combining;
mod fixture;
mod peft_parity;
mod training;
