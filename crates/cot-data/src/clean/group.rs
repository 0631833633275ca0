//! Groups of records, in a few bytes a record.

/// Disjoint sets whose root is their lowest member.
#[derive(Debug)]
pub(crate) struct UnionFind {
    parents: Vec<u32>,
}

impl UnionFind {
    /// Sets of one member each.
    pub(crate) fn new(len: u32) -> Self {
        Self { parents: (0..len).collect() }
    }

    /// The lowest member of the set that a member is in.
    pub(crate) fn find(&mut self, mut member: u32) -> u32 {
        while self.parents[member as usize] != member {
            let grandparent = self.parents[self.parents[member as usize] as usize];
            self.parents[member as usize] = grandparent;
            member = grandparent;
        }
        member
    }

    /// Makes one set of two.
    pub(crate) fn unite(&mut self, first: u32, second: u32) {
        let (first, second) = (self.find(first), self.find(second));
        self.parents[first.max(second) as usize] = first.min(second);
    }
}

/// A bit for each record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bits {
    words: Vec<u64>,
    len: usize,
}

impl Bits {
    /// Adds a bit.
    pub(crate) fn push(&mut self, bit: bool) {
        if self.len.is_multiple_of(64) {
            self.words.push(0);
        }
        self.words[self.len / 64] |= u64::from(bit) << (self.len % 64);
        self.len += 1;
    }

    /// A bit; false past the end.
    pub(crate) fn get(&self, place: usize) -> bool {
        self.words.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    /// Number of bits.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::CounterRng;

    #[test]
    fn the_lowest_member_is_the_root_whatever_the_order() {
        let pairs: Vec<(u32, u32)> = vec![(7, 3), (9, 7), (4, 5), (5, 1), (9, 8)];
        let mut rng = CounterRng::new(3);
        for _ in 0..20 {
            let mut shuffled = pairs.clone();
            rng.shuffle(&mut shuffled);
            let mut groups = UnionFind::new(10);
            for (first, second) in shuffled {
                groups.unite(first, second);
            }
            let roots: Vec<u32> = (0..10).map(|member| groups.find(member)).collect();
            assert_eq!(roots, [0, 1, 2, 3, 1, 1, 6, 3, 3, 3]);
        }
    }

    #[test]
    fn bits_come_back() {
        let mut bits = Bits::default();
        (0..200).for_each(|place| bits.push(place % 3 == 0));
        assert!((0..200).all(|place| bits.get(place) == (place % 3 == 0)));
        assert_eq!((bits.len(), bits.get(200), bits.get(9999)), (200, false, false));
    }
}
