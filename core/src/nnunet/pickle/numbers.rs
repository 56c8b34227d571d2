//! Integers as Python and as numpy pickle them.

use super::{Global, Node, NodeId, Pickle};

/// Most integers of an array that is read as a list.
const MOST_INTS: usize = 1 << 16;

impl Pickle {
    /// The integer at `id`, which may be one of numpy's.
    pub fn int(&self, id: NodeId) -> Option<i64> {
        match self.get(id) {
            Node::Int(i) => Some(*i),
            Node::Call(Global::NumpyScalar, arguments) => {
                let [number_type, bytes] = *self.items(*arguments)? else { return None };
                let bytes = self.bytes(bytes)?;
                let number_type = self.int_type(number_type)?;
                (bytes.len() == number_type.bytes).then(|| number_type.read(&bytes)).flatten()
            }
            _ => None,
        }
    }

    /// The integers of the tuple, list or numpy array at `id`.
    pub fn ints(&self, id: NodeId) -> Option<Vec<i64>> {
        match self.get(id) {
            Node::Call(Global::NumpyArray, state) => self.array(*state),
            _ => self.items(id)?.iter().map(|id| self.int(*id)).collect(),
        }
    }

    /// The integers of a one-dimensional array of this state.
    fn array(&self, state: NodeId) -> Option<Vec<i64>> {
        let [_version, shape, number_type, _reversed, bytes] = *self.items(state)? else { return None };
        let [count] = *self.items(shape)? else { return None };
        let count = usize::try_from(self.int(count)?).ok().filter(|count| *count <= MOST_INTS)?;
        let (number_type, bytes) = (self.int_type(number_type)?, self.bytes(bytes)?);
        if bytes.len() != count * number_type.bytes {
            return None;
        }
        bytes.chunks_exact(number_type.bytes).map(|bytes| number_type.read(bytes)).collect()
    }

    /// Bytes, or a text of which each character stands for one.
    fn bytes(&self, id: NodeId) -> Option<Vec<u8>> {
        match self.get(id) {
            Node::Bytes(bytes) if bytes.len() <= 8 * MOST_INTS => Some(bytes.to_vec()),
            Node::Call(Global::Encode, arguments) => {
                let [text, encoding, ..] = *self.items(*arguments)? else { return None };
                let text = self.text(text).filter(|text| text.len() <= 16 * MOST_INTS)?;
                let latin1 = matches!(self.text(encoding), Some("latin1" | "latin-1" | "iso-8859-1"));
                if latin1 { text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect() } else { None }
            }
            _ => None,
        }
    }

    /// The integer type that numpy calls `i8`, `u1` ...
    fn int_type(&self, id: NodeId) -> Option<IntType> {
        let Node::Call(Global::NumpyType, arguments) = self.get(id) else { return None };
        let name = self.text(*self.items(*arguments)?.first()?)?;
        let (kind, bytes) = name.trim_start_matches(['<', '=', '|']).split_at_checked(1)?;
        let bytes = bytes.parse().ok().filter(|bytes| matches!(bytes, 1 | 2 | 4 | 8))?;
        match kind {
            "i" => Some(IntType { bytes, signed: true }),
            "u" => Some(IntType { bytes, signed: false }),
            _ => None,
        }
    }
}

/// A little-endian integer.
#[derive(Clone, Copy)]
struct IntType {
    bytes: usize,
    signed: bool,
}

impl IntType {
    /// The integer of [`Self::bytes`] bytes; `None` above the largest of 63 bits.
    fn read(self, bytes: &[u8]) -> Option<i64> {
        let negative = self.signed && bytes.last().is_some_and(|high| high & 0x80 != 0);
        let mut all = [if negative { 0xff } else { 0 }; 8];
        all[..self.bytes].copy_from_slice(bytes);
        let value = i64::from_le_bytes(all);
        (self.signed || value >= 0).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[numpy.int64(0), numpy.int64(-2), numpy.uint8(200)]`, as numpy 2 and protocol 2 write it.
    const SCALARS: &[u8] =
        b"\x80\x02]q\x00(cnumpy._core.multiarray\nscalar\nq\x01cnumpy\ndtype\nq\x02X\x02\x00\x00\x00\
        i8q\x03\x89\x88\x87q\x04Rq\x05(K\x03X\x01\x00\x00\x00<q\x06NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x07b\
        c_codecs\nencode\nq\x08X\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00q\tX\x06\x00\x00\x00latin1q\n\x86q\x0b\
        Rq\x0c\x86q\rRq\x0eh\x01h\x05h\x08X\x10\x00\x00\x00\xc3\xbe\xc3\xbf\xc3\xbf\xc3\xbf\xc3\xbf\xc3\xbf\xc3\xbf\
        \xc3\xbfq\x0fh\n\x86q\x10Rq\x11\x86q\x12Rq\x13h\x01h\x02X\x02\x00\x00\x00u1q\x14\x89\x88\x87q\x15Rq\x16(K\x03\
        X\x01\x00\x00\x00|q\x17NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x18bh\x08X\x02\x00\x00\x00\xc3\x88q\x19h\n\
        \x86q\x1aRq\x1b\x86q\x1cRq\x1de.";
    /// `numpy.array([0, 2], dtype=numpy.int32)`, with protocol 4.
    const ARRAY: &[u8] = b"\x80\x04\x95\x91\x00\x00\x00\x00\x00\x00\x00\x8c\x16numpy._core.multiarray\x94\x8c\x0c\
        _reconstruct\x94\x93\x94\x8c\x05numpy\x94\x8c\x07ndarray\x94\x93\x94K\x00\x85\x94C\x01b\x94\x87\x94R\x94(K\x01\
        K\x02\x85\x94h\x03\x8c\x05dtype\x94\x93\x94\x8c\x02i4\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01<\x94NNNJ\xff\xff\
        \xff\xffJ\xff\xff\xff\xffK\x00t\x94b\x89C\x08\x00\x00\x00\x00\x02\x00\x00\x00\x94t\x94b.";

    fn ints(bytes: &[u8]) -> Option<Vec<i64>> {
        let pickle = Pickle::parse(bytes).unwrap();
        pickle.ints(pickle.root())
    }

    #[test]
    fn integers_of_numpy_are_integers() {
        assert_eq!(ints(SCALARS), Some(vec![0, -2, 200]));
        assert_eq!(ints(ARRAY), Some(vec![0, 2]));
    }

    #[test]
    fn other_numbers_of_numpy_are_none() {
        let changed = |bytes: &[u8], from: &[u8], to: &[u8]| {
            let at = bytes.windows(from.len()).position(|w| w == from).unwrap();
            [&bytes[..at], to, &bytes[at + from.len()..]].concat()
        };
        // Floats, another number of bytes, the other byte order, two axes, another length.
        for bytes in [
            changed(SCALARS, b"i8", b"f8"),
            changed(SCALARS, b"i8", b"i4"),
            changed(SCALARS, b"X\x01\x00\x00\x00<", b"X\x01\x00\x00\x00>"),
            changed(ARRAY, b"i4", b"i8"),
            changed(ARRAY, b"\x8c\x01<", b"\x8c\x01>"),
            changed(ARRAY, b"K\x02\x85", b"K\x01K\x02\x86"),
            changed(ARRAY, b"K\x02\x85", b"K\x03\x85"),
        ] {
            assert_eq!(ints(&bytes), None);
        }
    }
}
