//! The random numbers of numpy's `RandomState`: a Mersenne Twister, and how numpy draws from it.
//!
//! nnU-Net's folds, class locations and intensity samples come from it with fixed seeds, so equal files need equal draws.

const WORDS: usize = 624;
const SHIFT: usize = 397;

/// `numpy.random.RandomState(seed)`.
#[derive(Clone)]
pub struct RandomState {
    words: [u32; WORDS],
    next: usize,
}

impl RandomState {
    /// numpy's initial state for this seed.
    pub fn new(seed: u32) -> RandomState {
        let mut words = [seed; WORDS];
        for i in 1..WORDS {
            let previous = words[i - 1];
            words[i] = 1_812_433_253u32.wrapping_mul(previous ^ previous >> 30).wrapping_add(i as u32);
        }
        RandomState { words, next: WORDS }
    }

    fn twist(&mut self) {
        // Three loops, so that no index needs a remainder.
        let mixed = |high: u32, low: u32| {
            let bits = high & 0x8000_0000 | low & 0x7fff_ffff;
            bits >> 1 ^ (bits & 1).wrapping_neg() & 0x9908_b0df
        };
        let words = &mut self.words;
        for i in 0..WORDS - SHIFT {
            words[i] = words[i + SHIFT] ^ mixed(words[i], words[i + 1]);
        }
        for i in WORDS - SHIFT..WORDS - 1 {
            words[i] = words[i + SHIFT - WORDS] ^ mixed(words[i], words[i + 1]);
        }
        words[WORDS - 1] = words[SHIFT - 1] ^ mixed(words[WORDS - 1], words[0]);
        self.next = 0;
    }

    /// The next 32 bits.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        if self.next == WORDS {
            self.twist();
        }
        self.next += 1;
        tempered(self.words[self.next - 1])
    }

    /// A number from 0 to `most`: `random_interval` for `most` below 2^32, which draws until a number is small enough.
    #[inline]
    pub fn up_to(&mut self, most: u32) -> u32 {
        if most == 0 {
            return 0;
        }
        let mask = u32::MAX >> most.leading_zeros();
        loop {
            let value = self.next_u32() & mask;
            if value <= most {
                return value;
            }
        }
    }

    /// How often each number from 0 to `most` comes in `draws` draws: those of `randint(0, most + 1, draws)`, counted.
    pub fn tally(&mut self, most: u32, draws: u64) -> Vec<u32> {
        if most == 0 {
            return vec![draws as u32];
        }
        let mask = u32::MAX >> most.leading_zeros();
        // Rejected numbers are counted as well, and removed afterwards: a branch on them would cost more than everything else.
        let mut counts = vec![0; mask as usize + 1];
        let mut left = draws;
        while left > 0 {
            if self.next == WORDS {
                self.twist();
            }
            // Each word gives at most one draw.
            let end = self.next + left.min((WORDS - self.next) as u64) as usize;
            for word in &self.words[self.next..end] {
                let value = tempered(*word) & mask;
                counts[value as usize] += 1;
                left -= u64::from(value <= most);
            }
            self.next = end;
        }
        counts.truncate(most as usize + 1);
        counts
    }

    /// `shuffle`, in place.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.up_to(i as u32) as usize);
        }
    }

    /// `choice(count, size, replace=False)`: the first `size` of a permutation.
    pub fn choose(&mut self, count: u32, size: usize) -> Vec<u32> {
        let mut all: Vec<u32> = (0..count).collect();
        self.shuffle(&mut all);
        all.truncate(size);
        all
    }
}

/// The generator's output function.
#[inline]
fn tempered(mut word: u32) -> u32 {
    word ^= word >> 11;
    word ^= word << 7 & 0x9d2c_5680;
    word ^= word << 15 & 0xefc6_0000;
    word ^ word >> 18
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_equal_those_of_numpy() {
        // numpy.random.RandomState(12345): randint(0, 2**32, 3, dtype='uint32'); then permutation(10) of a new one;
        // RandomState(1234).choice(1000, 5, replace=False).
        let mut random = RandomState::new(12345);
        assert_eq!([(); 3].map(|()| random.next_u32()), [3992670690, 3823185381, 1358822685]);
        let mut ten: Vec<u32> = (0..10).collect();
        RandomState::new(12345).shuffle(&mut ten);
        assert_eq!(ten, [0, 7, 3, 9, 6, 4, 1, 8, 5, 2]);
        assert_eq!(RandomState::new(1234).choose(1000, 5), [681, 990, 155, 768, 438]);
    }

    #[test]
    fn a_tally_counts_single_draws() {
        let (mut one, mut other) = (RandomState::new(5), RandomState::new(5));
        for most in [1, 2, 6, 99, 100, 0, 127, 128] {
            let mut counts = vec![0; most as usize + 1];
            (0..1000).for_each(|_| counts[one.up_to(most) as usize] += 1);
            assert_eq!(other.tally(most, 1000), counts, "up to {most}");
        }
        assert_eq!(one.next_u32(), other.next_u32());
    }

    #[test]
    fn nothing_is_drawn_for_a_single_value() {
        let mut random = RandomState::new(1);
        let first = RandomState::new(1).next_u32();
        random.shuffle(&mut [7]);
        assert_eq!(random.next_u32(), first);
    }
}
