//! The sequence in which GPTQ solves a layer's input features.

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::error::Result;

/// How features are ordered before they are solved. Whatever the order, groups are of
/// neighbours in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// As they stand.
    None,
    /// In descending order of their activations. Groups are torn apart, so all grids are
    /// fixed beforehand, from the original weights ("static groups").
    Activation,
    /// Group by group: within a group, and groups by their strongest feature, in descending
    /// order of activations (group-aware reordering, as in `GPTQModel`). A group's grid is
    /// chosen when it is reached, from weights that hold all earlier corrections.
    #[default]
    Groups,
}

impl Order {
    /// The name in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Activation => "activation",
            Self::Groups => "groups",
        }
    }

    /// The order of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::None, Self::Activation, Self::Groups].into_iter().find(|order| order.name() == name)
    }

    /// The feature at each place, for features with these mean squares; `None` where they
    /// keep theirs. Of equal ones the first comes first.
    ///
    /// # Shapes
    /// `diagonal` `[in]`, any dtype.
    ///
    /// # Errors
    /// Groups that do not divide the features; failures of libtorch.
    pub(crate) fn of(self, diagonal: &Tensor, group_size: usize) -> Result<Option<Vec<usize>>> {
        let features = match self {
            Self::None => return Ok(None),
            Self::Activation => diagonal.f_argsort_stable(true, 0, true)?,
            Self::Groups => {
                let group_size = group_size as i64;
                let grouped = diagonal.f_view([-1, group_size])?; // [groups, group]
                let within = grouped.f_argsort_stable(true, 1, true)?;
                let strongest = grouped.f_amax([1], false)?;
                let groups = strongest.f_argsort_stable(true, 0, true)?;
                let first = groups.f_mul_scalar(group_size)?.f_unsqueeze(1)?;
                within.f_index_select(0, &groups)?.f_add(&first)?.f_view([-1])?
            }
        };
        let features = Vec::<i64>::try_from(features.f_to_device(Device::Cpu)?)?;
        Ok(Some(features.into_iter().map(|feature| feature as usize).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stay_together_and_the_strongest_lead() {
        let diagonal = Tensor::from_slice(&[1.0_f32, 3.0, 2.0, 2.0, 0.0, 9.0, 3.0, 3.0]);
        let order = |order: Order| order.of(&diagonal, 2).unwrap();
        assert_eq!(order(Order::None), None);
        assert_eq!(order(Order::Activation), Some(vec![5, 1, 6, 7, 2, 3, 0, 4]));
        assert_eq!(order(Order::Groups), Some(vec![5, 4, 1, 0, 6, 7, 2, 3]));
    }

    #[test]
    fn names_are_those_of_the_configuration() {
        for order in [Order::None, Order::Activation, Order::Groups] {
            assert_eq!(serde_json::to_value(order).unwrap(), order.name());
            assert_eq!(Order::from_name(order.name()), Some(order));
        }
        assert_eq!(Order::from_name("desc"), None);
    }
}
