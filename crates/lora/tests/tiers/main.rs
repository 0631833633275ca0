//! Adapters in tiers against the formula, the merged model and each request alone.

mod fixture;
mod live;
mod loading;
mod serving;
