//! How many bits a code has, and what follows from it.

/// Bits of one quantised weight. The checkpoint formats written here pack codes into
/// 32-bit words, so a width must divide 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bits {
    /// 16 levels, 8 codes in a word.
    Four,
    /// 256 levels, 4 codes in a word.
    Eight,
}

impl Bits {
    /// The widths there are, as configurations spell them.
    pub const SUPPORTED: &'static str = "4 or 8";

    /// The width of this number of bits, if it is one of ours.
    pub fn new(bits: u64) -> Option<Self> {
        match bits {
            4 => Some(Self::Four),
            8 => Some(Self::Eight),
            _ => None,
        }
    }

    /// Bits of one code.
    pub fn width(self) -> u32 {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// The highest code.
    pub fn max_code(self) -> u8 {
        match self {
            Self::Four => 15,
            Self::Eight => 255,
        }
    }

    /// The code that stands for 0 in symmetric quantisation.
    pub fn middle(self) -> u8 {
        match self {
            Self::Four => 8,
            Self::Eight => 128,
        }
    }

    /// Codes in one 32-bit word.
    pub fn codes_per_word(self) -> usize {
        (32 / self.width()) as usize
    }
}
