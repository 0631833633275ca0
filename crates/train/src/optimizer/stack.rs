//! Matrices of one shape side by side, and buffers in slabs.

use tch::Tensor;

/// Scalars that an update works on at a time: its temporaries stay within 16 MB each,
/// whatever the size of the model.
const SLAB: i64 = 1 << 22;

/// Matrices of one shape that lie one after another in the buffer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stack {
    pub(super) start: i64,
    pub(super) count: i64,
    pub(super) rows: i64,
    pub(super) columns: i64,
}

impl Stack {
    /// The fewest stacks of these matrices; padding between two of them parts them.
    pub(super) fn all(parameters: &[Tensor], spans: &[(i64, i64)]) -> Vec<Self> {
        let mut stacks: Vec<Self> = Vec::new();
        for (parameter, &(start, length)) in parameters.iter().zip(spans) {
            let rows = parameter.size()[0];
            let columns = length / rows.max(1);
            match stacks.last_mut() {
                Some(last)
                    if (last.rows, last.columns) == (rows, columns)
                        && last.start + last.count * length == start =>
                {
                    last.count += 1;
                }
                _ => stacks.push(Self { start, count: 1, rows, columns }),
            }
        }
        stacks
    }

    /// The stack cut into parts of no more than a slab, but of one matrix at least, each
    /// with the index of its first matrix.
    pub(super) fn parts(self) -> impl Iterator<Item = (i64, Self)> {
        let size = self.rows * self.columns;
        let most = (SLAB / size.max(1)).max(1);
        (0..self.count).step_by(most as usize).map(move |first| {
            let count = most.min(self.count - first);
            (first, Self { start: self.start + first * size, count, ..self })
        })
    }

    /// Scalars of all matrices.
    pub(super) fn length(self) -> i64 {
        self.count * self.rows * self.columns
    }
}

/// Start and length of each slab of a buffer.
pub(crate) fn slabs(length: i64) -> impl Iterator<Item = (i64, i64)> {
    (0..length).step_by(SLAB as usize).map(move |start| (start, SLAB.min(length - start)))
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn matrices_of_one_shape_are_stacked_unless_padding_parts_them() {
        let of = |rows, columns| Tensor::zeros([rows, columns], (Kind::Float, Device::Cpu));
        let parameters = [of(4, 8), of(4, 8), of(8, 4), of(3, 3), of(3, 3)];
        let stack = |start, count, rows, columns| Stack { start, count, rows, columns };
        assert_eq!(
            Stack::all(&parameters, &[(0, 32), (32, 32), (64, 32), (96, 9), (112, 9)]),
            [stack(0, 2, 4, 8), stack(64, 1, 8, 4), stack(96, 1, 3, 3), stack(112, 1, 3, 3)]
        );
    }

    #[test]
    fn parts_and_slabs_cover_everything_once() {
        let stack = Stack { start: 64, count: 5, rows: 1024, columns: 2048 };
        let parts: Vec<(i64, i64, i64)> =
            stack.parts().map(|(first, part)| (first, part.start - 64, part.count)).collect();
        let size = 1024 * 2048;
        assert_eq!(parts, [(0, 0, 2), (2, 2 * size, 2), (4, 4 * size, 1)]);
        let large = Stack { start: 0, count: 2, rows: 4096, columns: 4096 };
        assert_eq!(large.parts().count(), 2);
        let length = 2 * SLAB + 48;
        assert_eq!(slabs(length).collect::<Vec<_>>(), [(0, SLAB), (SLAB, SLAB), (2 * SLAB, 48)]);
    }
}
