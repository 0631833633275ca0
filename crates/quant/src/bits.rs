//! How many bits a code has, and what follows from it.

/// Bits of one quantised weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bits {
    /// 4 levels.
    Two,
    /// 8 levels.
    Three,
    /// 16 levels.
    Four,
    /// 256 levels.
    Eight,
}

impl Bits {
    /// The widths there are, as configurations spell them.
    pub const SUPPORTED: &'static str = "2, 3, 4 or 8";

    /// All widths, the narrowest first.
    pub const ALL: [Self; 4] = [Self::Two, Self::Three, Self::Four, Self::Eight];

    /// The width of this number of bits, if it is one of ours.
    pub fn new(bits: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|width| u64::from(width.width()) == bits)
    }

    /// Bits of one code.
    pub fn width(self) -> u32 {
        match self {
            Self::Two => 2,
            Self::Three => 3,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// The highest code.
    pub fn max_code(self) -> u8 {
        u8::MAX >> (8 - self.width())
    }

    /// The code that stands for 0 in symmetric quantisation.
    pub fn middle(self) -> u8 {
        1 << (self.width() - 1)
    }

    /// The fewest codes that fill whole 32-bit words.
    pub fn codes_per_unit(self) -> usize {
        match self {
            Self::Three => 32,
            width => (32 / width.width()) as usize,
        }
    }

    /// Words of that many codes.
    pub fn words_per_unit(self) -> usize {
        self.codes_per_unit() * self.width() as usize / 32
    }
}
