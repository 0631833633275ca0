//! Names and sizes of the layers that are to be packed.

/// Name and size of a projection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerShape {
    /// The projection.
    pub name: String,
    /// Width of its input.
    pub in_features: i64,
    /// Width of its output.
    pub out_features: i64,
}

impl LayerShape {
    /// Whether the input features make whole groups; -1 = one group.
    pub(crate) fn has_groups_of(&self, group_size: i64) -> bool {
        group_size == -1 || self.in_features % group_size == 0
    }
}
