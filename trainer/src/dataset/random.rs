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
    /// The state that numpy begins with for this seed.
    pub fn new(seed: u32) -> RandomState {
        let mut words = [seed; WORDS];
        for i in 1..WORDS {
            let previous = words[i - 1];
            words[i] = 1_812_433_253u32.wrapping_mul(previous ^ previous >> 30).wrapping_add(i as u32);
        }
        RandomState { words, next: WORDS }
    }

    fn twist(&mut self) {
        for i in 0..WORDS {
            let mixed = self.words[i] & 0x8000_0000 | self.words[(i + 1) % WORDS] & 0x7fff_ffff;
            let odd = if mixed & 1 == 1 { 0x9908_b0df } else { 0 };
            self.words[i] = self.words[(i + SHIFT) % WORDS] ^ mixed >> 1 ^ odd;
        }
        self.next = 0;
    }

    /// The next 32 bits.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        if self.next == WORDS {
            self.twist();
        }
        let mut word = self.words[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= word << 7 & 0x9d2c_5680;
        word ^= word << 15 & 0xefc6_0000;
        word ^ word >> 18
    }

    /// A number from 0 to `most`, drawn until one fits under the mask: `random_interval` for `most` below 2^32.
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
    fn nothing_is_drawn_for_a_single_value() {
        let mut random = RandomState::new(1);
        let first = RandomState::new(1).next_u32();
        random.shuffle(&mut [7]);
        assert_eq!(random.next_u32(), first);
    }
}
